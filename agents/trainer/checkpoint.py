"""Checkpoints while training."""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.trainer.hook import Hook, Metrics

if TYPE_CHECKING:
    from agents.trainer.trainer import Trainer

__all__ = ["CheckpointHook"]


class CheckpointHook(Hook):
    """Saves an agent every so often and at the end, also where an exception ends the training between iterations.

    A save that fails for want of space leaves the last file as it was; the training goes on, with
    ``"checkpoint_failed"`` in the metrics, and the next save is tried when it is due.

    Args:
        path: the file.
        every: seconds between saves.
    """

    def __init__(self, path: str | os.PathLike, every: float = 60.0) -> None:
        self.path, self.every = Path(path), every
        self._last = time.monotonic()

    def start(self, trainer: Trainer) -> None:
        """Begins to count the time."""
        self._last = time.monotonic()

    def after_iteration(self, trainer: Trainer, metrics: Metrics) -> None:
        """Saves if it is time."""
        if time.monotonic() - self._last < self.every:
            return
        try:
            self.save(trainer)
        except OSError:
            metrics["checkpoint_failed"] = 1.0
        self._last = time.monotonic()

    def end(self, trainer: Trainer, whole: bool) -> None:
        """Saves, unless an iteration was broken off."""
        if whole:
            try:
                self.save(trainer)
            except OSError as error:
                warnings.warn(f"{self.path}: the last checkpoint could not be written: {error}", stacklevel=3)

    def save(self, trainer: Trainer) -> None:
        """Saves now."""
        agent: Any = trainer.learner
        agent.save(self.path)
