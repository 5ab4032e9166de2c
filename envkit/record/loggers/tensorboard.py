"""Logs for TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from envkit.errors import MissingDependencyError
from envkit.record.loggers.base import Logger, bins_of, flat_hparams

__all__ = ["TensorBoardLogger"]


class TensorBoardLogger(Logger):
    """Writes TensorBoard events to ``log_dir/exp_name``.

    Videos are animated GIFs, which is what TensorBoard shows. :attr:`experiment` is the ``SummaryWriter``.

    Args:
        exp_name: name of the experiment.
        log_dir: the folder for experiments.
        video_fps: frames per second of videos, where nothing else is asked for; at most 50.

    Raises:
        MissingDependencyError: TensorBoard is not installed.
        ValueError: ``exp_name`` leads elsewhere.

    Examples:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> with TensorBoardLogger("demo", log_dir=folder.name) as logger:
        ...     logger.log_scalar("train/reward", 21.5, step=256)
        >>> [file.name.split(".")[0] for file in (Path(folder.name) / "demo").iterdir()]
        ['events']
        >>> folder.cleanup()
    """

    video_format = "gif"

    def __init__(self, exp_name: str, log_dir: str | Path = "tb_logs", video_fps: float = 30) -> None:
        super().__init__(exp_name, log_dir, video_fps)
        try:
            from tensorboard.compat.proto.summary_pb2 import Summary
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingDependencyError(
                "TensorBoardLogger needs TensorBoard: pip install 'envkit[tensorboard]'"
            ) from error
        self._summary: Any = Summary
        self.experiment: Any = SummaryWriter(str(Path(log_dir) / exp_name))

    def log_scalar(self, name: str, value: float, step: int | None = None) -> None:
        """See :meth:`Logger.log_scalar`."""
        self.experiment.add_scalar(name, float(value), self._step_of("scalars", name, step))

    def log_histogram(self, name: str, data: Any, step: int | None = None, bins: int = 30) -> None:
        """See :meth:`Logger.log_histogram`."""
        values = torch.as_tensor(data).detach().cpu().double()
        counts, edges = bins_of(values, bins)
        self.experiment.add_histogram_raw(
            name,
            min=edges[0],
            max=edges[-1],
            num=values.numel(),
            sum=values.sum().item(),
            sum_squares=values.square().sum().item(),
            bucket_limits=edges[1:].tolist(),
            bucket_counts=counts.tolist(),
            global_step=self._step_of("histograms", name, step),
        )

    def log_hparams(self, cfg: Any) -> None:
        """See :meth:`Logger.log_hparams`."""
        self.experiment.add_hparams(flat_hparams(cfg), {}, run_name=".")

    def _keep_video(self, video: Path, name: str, step: int | None) -> None:
        width, height = _gif_size(video)
        picture = self._summary.Image(height=height, width=width, colorspace=3, encoded_image_string=video.read_bytes())
        summary = self._summary(value=[self._summary.Value(tag=name, image=picture)])
        self.experiment.file_writer.add_summary(summary, self._step_of("videos", name, step))

    def close(self) -> None:
        """See :meth:`Logger.close`."""
        self.experiment.close()


def _gif_size(path: Path) -> tuple[int, int]:
    """Width and height, from the header: a signature of six bytes, then two numbers of two bytes each."""
    with path.open("rb") as file:
        header = file.read(10)
    return int.from_bytes(header[6:8], "little"), int.from_bytes(header[8:10], "little")
