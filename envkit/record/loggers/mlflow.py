"""Logs for MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from envkit.errors import MissingDependencyError
from envkit.record.loggers.base import Logger, bins_of, flat_hparams

__all__ = ["MLflowLogger"]


class MLflowLogger(Logger):
    """Logs to a run of MLflow: numbers as metrics, settings as parameters, videos and histograms as artifacts.

    :attr:`experiment` is the ``MlflowClient``, :attr:`run_id` the run; MLflow's global run is left alone.

    Args:
        exp_name: name of the experiment, made if need be.
        tracking_uri: the server, or a local store.
        tags: tags of the run.
        video_fps: frames per second of videos, where nothing else is asked for.

    Raises:
        MissingDependencyError: MLflow is not installed.
        ValueError: ``exp_name`` leads elsewhere.
    """

    def __init__(
        self, exp_name: str, tracking_uri: str, tags: dict[str, Any] | None = None, *, video_fps: float = 30
    ) -> None:
        super().__init__(exp_name, tracking_uri, video_fps)
        try:
            from mlflow.tracking import MlflowClient
        except ImportError as error:
            raise MissingDependencyError("MLflowLogger needs MLflow: pip install 'envkit[mlflow]'") from error
        self.experiment: Any = MlflowClient(tracking_uri=tracking_uri)
        known = self.experiment.get_experiment_by_name(exp_name)
        place = self.experiment.create_experiment(exp_name) if known is None else known.experiment_id
        self.run_id: str = self.experiment.create_run(place, tags=tags).info.run_id

    def log_scalar(self, name: str, value: float, step: int | None = None) -> None:
        """See :meth:`Logger.log_scalar`."""
        self.experiment.log_metric(self.run_id, name, float(value), step=self._step_of("scalars", name, step))

    def log_histogram(self, name: str, data: Any, step: int | None = None, bins: int = 30) -> None:
        """See :meth:`Logger.log_histogram`."""
        counts, edges = bins_of(data, bins)
        content = {"counts": counts.tolist(), "edges": edges.tolist()}
        step = self._step_of("histograms", name, step)
        self.experiment.log_dict(self.run_id, content, f"histograms/{name}_{step}.json")

    def log_hparams(self, cfg: Any) -> None:
        """See :meth:`Logger.log_hparams`."""
        for name, value in flat_hparams(cfg).items():
            self.experiment.log_param(self.run_id, name, value)

    def _keep_video(self, video: Path, name: str, step: int | None) -> None:
        *folders, last = name.split("/")
        named = video.with_name(f"{last}_{self._step_of('videos', name, step)}{video.suffix}")
        video.rename(named)
        self.experiment.log_artifact(self.run_id, str(named), "/".join(["videos", *folders]))

    def close(self) -> None:
        """See :meth:`Logger.close`."""
        self.experiment.set_terminated(self.run_id)
