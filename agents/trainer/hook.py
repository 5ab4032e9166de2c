"""Hooks: what is done at set points of a training, without being part of the algorithm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.trainer.trainer import Trainer

__all__ = ["Hook", "Metrics"]

Metrics = dict[str, float]


class Hook:
    """Base of hooks; each method is a point of the training, and does nothing unless a subclass says so.

    Examples:
        >>> class Rewards(Hook):
        ...     def after_batch(self, trainer, batch):
        ...         batch["next", "reward"].mul_(0.1)
        ...         return batch
    """

    def start(self, trainer: Trainer) -> None:
        """Before the first iteration."""

    def before_batch(self, trainer: Trainer) -> None:
        """Before steps are collected."""

    def after_batch(self, trainer: Trainer, batch: Any) -> Any:
        """After steps were collected; returns the batch to learn from."""
        return batch

    def before_update(self, trainer: Trainer, rows: Any) -> Any:
        """Before an update; returns the rows to compute the loss of."""
        return rows

    def after_update(self, trainer: Trainer, losses: Any) -> None:
        """After an update, with what was minimised."""

    def after_iteration(self, trainer: Trainer, metrics: Metrics) -> None:
        """After an iteration, before anything is logged; may add to the metrics, or stop the training."""

    def log(self, trainer: Trainer, metrics: Metrics) -> None:
        """When there is something to report: every ``log_freq`` iterations, and whenever a hook asked for it."""

    def end(self, trainer: Trainer, whole: bool) -> None:
        """After the last iteration.

        Args:
            trainer: the trainer.
            whole: False if an exception came amid an iteration, so that what is learnt may be half updated, or before
                the first one, so that there is nothing to keep.
        """
