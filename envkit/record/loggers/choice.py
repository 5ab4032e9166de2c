"""Loggers by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from envkit.record.loggers.base import Logger
from envkit.record.loggers.csv import CSVLogger
from envkit.record.loggers.mlflow import MLflowLogger
from envkit.record.loggers.tensorboard import TensorBoardLogger
from envkit.record.loggers.wandb import WandbLogger

__all__ = ["LOGGERS", "get_logger"]

LOGGERS: dict[str, type[Logger]] = {
    "csv": CSVLogger,
    "mlflow": MLflowLogger,
    "tensorboard": TensorBoardLogger,
    "wandb": WandbLogger,
}
"""Loggers by the name of their type."""


def get_logger(logger_type: str | None, logger_name: str, experiment_name: str, **kwargs: Any) -> Logger | None:
    """Makes a logger from names, as configs have them.

    Args:
        logger_type: ``"csv"``, ``"mlflow"``, ``"tensorboard"`` or ``"wandb"``; None or ``""`` for no logger.
        logger_name: the folder for experiments; for MLflow, a folder or the URI of a store.
        experiment_name: name of the experiment.
        **kwargs: passed on to the logger. Those for one type alone may come as a dict called ``csv_kwargs`` and so on,
            of which the others take no notice.

    Raises:
        ValueError: there is no such type.
        MissingDependencyError: the package it needs is not installed.

    Examples:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> logger = get_logger("csv", folder.name, "demo", csv_kwargs={"video_fps": 10}, wandb_kwargs={"id": "a"})
        >>> type(logger).__name__, logger.video_fps
        ('CSVLogger', 10)
        >>> folder.cleanup()
    """
    if not logger_type:
        return None
    if logger_type not in LOGGERS:
        raise ValueError(f"logger_type: expected one of {sorted(LOGGERS)}, None or '', found {logger_type!r}")
    own = {kind: kwargs.pop(f"{kind}_kwargs", None) or {} for kind in LOGGERS}[logger_type]
    if logger_type == "mlflow":
        place = {"tracking_uri": logger_name if "://" in logger_name else Path(logger_name).resolve().as_uri()}
    else:
        place = {"log_dir": logger_name}
    return LOGGERS[logger_type](experiment_name, **{**place, **kwargs, **own})
