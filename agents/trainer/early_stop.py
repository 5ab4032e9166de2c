"""Ending a training when it is good enough, or gets no better."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from agents.trainer.hook import Hook, Metrics

if TYPE_CHECKING:
    from agents.trainer.trainer import Trainer

__all__ = ["EarlyStopHook"]


class EarlyStopHook(Hook):
    """Ends the training at a target, or when a metric has not risen for a while.

    Args:
        metric: name of the metric; iterations that do not have it do not count.
        target: value at which to stop.
        patience: how many values may come without a new best; None for any number.

    Raises:
        ValueError: neither ``target`` nor ``patience``, or a patience below 1.

    Examples:
        >>> from agents import EarlyStopHook
        >>> EarlyStopHook("eval_return_mean", target=475).target
        475
    """

    def __init__(
        self, metric: str = "return_mean", *, target: float | None = None, patience: int | None = None
    ) -> None:
        if target is None and patience is None:
            raise ValueError("EarlyStopHook: expected a target or a patience, found neither")
        if patience is not None and patience < 1:
            raise ValueError(f"patience: expected at least 1, found {patience}")
        self.metric, self.target, self.patience = metric, target, patience

    def start(self, trainer: Trainer) -> None:
        """Begins to count anew."""
        self._best, self._waited = -math.inf, 0

    def after_iteration(self, trainer: Trainer, metrics: Metrics) -> None:
        """Stops if it is time."""
        value = metrics.get(self.metric, math.nan)
        if math.isnan(value):
            return
        self._waited = 0 if value > self._best else self._waited + 1
        self._best = max(self._best, value)
        if self.target is not None and value >= self.target:
            trainer.stop(f"{self.metric} reached {value:g}, the target is {self.target:g}")
        elif self.patience is not None and self._waited >= self.patience:
            trainer.stop(f"{self.metric} has not risen above {self._best:g} for {self._waited} values")
