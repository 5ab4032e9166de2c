"""Logs as plain files."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path
from typing import Any

from envkit.record.loggers.base import Logger, bins_of, flat_hparams
from envkit.record.loggers.names import check_log_name
from envkit.record.raw_video import RAW_FORMATS
from envkit.record.video_file import ENCODED_FORMATS

__all__ = ["CSVLogger"]

VIDEO_FORMATS = (*RAW_FORMATS, *ENCODED_FORMATS)


class CSVLogger(Logger):
    """Writes everything to files below ``log_dir/exp_name``, each entry as soon as it comes.

    ================================= ===================================================
    file                              content
    ================================= ===================================================
    ``scalars/{name}.csv``            a line ``step,value`` for each entry
    ``histograms/{name}.csv``         a line ``step,left,right,count`` for each bin
    ``texts/hparams.txt``             a line ``name: value`` for each setting
    ``videos/{name}_{step}.{suffix}`` one video; without a step the first free number
    ================================= ===================================================

    Lines are added to files that exist, so that a run can go on where another one ended;
    :func:`~envkit.generate_exp_name` makes names that are new. A video appears when it is complete.

    Args:
        exp_name: name of the experiment.
        log_dir: the folder for experiments.
        video_format: ``"pt"`` (a tensor for ``torch.load``), ``"memmap"`` (its bytes, for
            ``tensordict.MemoryMappedTensor.from_filename``), or with the extra ``video`` ``"mp4"`` or ``"gif"``.
        video_fps: frames per second of videos, where nothing else is asked for.

    Raises:
        MissingDependencyError: the encoder for ``video_format`` is missing.
        ValueError: ``exp_name`` leads elsewhere, or ``video_format`` is unknown.

    Examples:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> logger = CSVLogger("demo", log_dir=folder.name)
        >>> logger.log_scalar("train/reward", 21.5, step=256)
        >>> (Path(folder.name) / "demo" / "scalars" / "train" / "reward.csv").read_text()
        '256,21.5\\n'
        >>> folder.cleanup()
    """

    def __init__(
        self,
        exp_name: str,
        log_dir: str | Path = "csv_logs",
        video_format: str = "pt",
        video_fps: float = 30,
    ) -> None:
        super().__init__(exp_name, log_dir, video_fps)
        if video_format not in VIDEO_FORMATS:
            raise ValueError(f"video_format: expected one of {list(VIDEO_FORMATS)}, found {video_format!r}")
        self.video_format = video_format
        self.check_video()
        self._folder = Path(log_dir) / exp_name
        for kind in ("scalars", "videos", "texts"):
            (self._folder / kind).mkdir(parents=True, exist_ok=True)

    def log_scalar(self, name: str, value: float, step: int | None = None) -> None:
        """See :meth:`Logger.log_scalar`."""
        step = self._step_of("scalars", name, step)
        self._append("scalars", name, f"{step},{float(value)}\n")

    def log_histogram(self, name: str, data: Any, step: int | None = None, bins: int = 30) -> None:
        """See :meth:`Logger.log_histogram`."""
        counts, edges = bins_of(data, bins)
        step = self._step_of("histograms", name, step)
        rows = zip(edges.tolist(), edges[1:].tolist(), counts.tolist(), strict=False)
        self._append("histograms", name, "".join(f"{step},{left},{right},{number}\n" for left, right, number in rows))

    def log_hparams(self, cfg: Any) -> None:
        """See :meth:`Logger.log_hparams`; replaces what was there."""
        lines = [f"{name}: {value}\n" for name, value in sorted(flat_hparams(cfg).items())]
        (self._folder / "texts" / "hparams.txt").write_text("".join(lines), encoding="utf-8")

    def _append(self, kind: str, name: str, lines: str) -> None:
        path = self._folder / kind / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(lines)

    def _spool(self) -> Path:
        return self._folder / "videos"

    def _keep_video(self, video: Path, name: str, step: int | None) -> None:
        stem = self._spool() / check_log_name(name)
        stem.parent.mkdir(parents=True, exist_ok=True)
        target = _claim(stem, video.suffix) if step is None else _numbered(stem, step, video.suffix)
        for part in video.parent.iterdir():
            os.replace(part, target.with_suffix(part.suffix))


def _numbered(stem: Path, number: int, suffix: str) -> Path:
    return stem.with_name(f"{stem.name}_{number}{suffix}")


def _claim(stem: Path, suffix: str) -> Path:
    """An empty file under the first number that nobody has, workers of a batch that share the folder included."""
    for number in count():
        path = _numbered(stem, number, suffix)
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            continue
        return path
    raise AssertionError("numbers never end")
