"""Telling others how a training goes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agents.trainer.hook import Hook, Metrics
from envkit import Logger

if TYPE_CHECKING:
    from agents.trainer.trainer import Trainer

__all__ = ["CallbackHook", "LoggerHook"]


class CallbackHook(Hook):
    """Calls a function with the metrics of each log.

    Args:
        callback: the function.
    """

    def __init__(self, callback: Callable[[Metrics], Any]) -> None:
        self.callback = callback

    def log(self, trainer: Trainer, metrics: Metrics) -> None:
        """Calls the function."""
        self.callback(metrics)


class LoggerHook(Hook):
    """Hands the metrics of each log to a logger, with the env steps as the axis.

    Args:
        logger: one of :func:`~envkit.get_logger`.
        prefix: put before each name.

    Examples:
        >>> from envkit import CSVLogger
        >>> from agents import LoggerHook
        >>> import tempfile
        >>> hook = LoggerHook(CSVLogger("run", log_dir=tempfile.mkdtemp()))
    """

    def __init__(self, logger: Logger, prefix: str = "train/") -> None:
        self.logger, self.prefix = logger, prefix

    def log(self, trainer: Trainer, metrics: Metrics) -> None:
        """Logs what is finite."""
        for name, value in metrics.items():
            if name != "steps" and math.isfinite(value):
                self.logger.log_scalar(f"{self.prefix}{name}", value, trainer.learner.steps)
