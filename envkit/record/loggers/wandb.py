"""Logs for Weights & Biases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from envkit.errors import MissingDependencyError
from envkit.record.loggers.base import Logger, bins_of, flat_hparams

__all__ = ["WandbLogger"]

STEP = "trainer/step"


class WandbLogger(Logger):
    """Logs to a run of Weights & Biases; :attr:`experiment` is the run.

    Steps are entries of their own, ``"trainer/step"``, and the axis of all curves: they may come in any order, which
    the run's own step counter does not allow.

    Args:
        exp_name: name of the run.
        offline: whether the run stays on disk, below ``save_dir``; ``wandb sync`` uploads it later.
        save_dir: the folder for files; the current one by default. ``log_dir`` is another name for it.
        id: the run to go on with; a new one by default.
        project: where the run belongs.
        video_fps: frames per second of videos, where nothing else is asked for.
        **kwargs: passed on to ``wandb.init``.

    Raises:
        MissingDependencyError: wandb is not installed.
        ValueError: ``exp_name`` leads elsewhere, or both ``save_dir`` and ``log_dir`` are given.
    """

    def __init__(
        self,
        exp_name: str,
        offline: bool = False,
        save_dir: str | Path | None = None,
        id: str | None = None,
        project: str | None = None,
        *,
        log_dir: str | Path | None = None,
        video_fps: float = 30,
        **kwargs: Any,
    ) -> None:
        if save_dir is not None and log_dir is not None:
            raise ValueError(f"expected one of save_dir and log_dir, found {str(save_dir)!r} and {str(log_dir)!r}")
        folder = Path(save_dir or log_dir or ".")
        super().__init__(exp_name, folder, video_fps)
        try:
            import wandb
        except ImportError as error:
            raise MissingDependencyError("WandbLogger needs wandb: pip install 'envkit[wandb]'") from error
        folder.mkdir(parents=True, exist_ok=True)
        if offline:
            kwargs["mode"] = "offline"
        self._wandb: Any = wandb
        self.experiment: Any = wandb.init(name=exp_name, dir=str(folder), id=id, project=project, **kwargs)
        self.experiment.define_metric(STEP)
        self.experiment.define_metric("*", step_metric=STEP)

    def _log(self, kind: str, name: str, value: Any, step: int | None) -> None:
        self.experiment.log({name: value, STEP: self._step_of(kind, name, step)})

    def log_scalar(self, name: str, value: float, step: int | None = None) -> None:
        """See :meth:`Logger.log_scalar`."""
        self._log("scalars", name, float(value), step)

    def log_histogram(self, name: str, data: Any, step: int | None = None, bins: int = 30) -> None:
        """See :meth:`Logger.log_histogram`."""
        counts, edges = bins_of(data, bins)
        histogram = self._wandb.Histogram(np_histogram=(counts.astype(np.int64), edges))
        self._log("histograms", name, histogram, step)

    def log_hparams(self, cfg: Any) -> None:
        """See :meth:`Logger.log_hparams`."""
        self.experiment.config.update(flat_hparams(cfg), allow_val_change=True)

    def _keep_video(self, video: Path, name: str, step: int | None) -> None:
        self._log("videos", name, self._wandb.Video(str(video), format=self.video_format), step)

    def close(self) -> None:
        """See :meth:`Logger.close`."""
        self.experiment.finish()
