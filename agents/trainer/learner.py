"""What a trainer trains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from agents.trainer.hook import Hook, Metrics

if TYPE_CHECKING:
    from agents.trainer.trainer import Trainer

__all__ = ["Learner"]


class Learner(ABC):
    """Something that learns in iterations of collecting and updating.

    A subclass defines :meth:`step` and keeps the counts; in its step it calls ``_before_batch``, ``_after_batch``,
    ``_before_update`` and ``_after_update`` where they belong, which is where the hooks of a trainer are called.

    Attributes:
        iterations: how many were done.
        steps: env steps, summed over the envs of a batch.
        episodes: finished episodes.
        horizon: number of steps after which annealed quantities reach their end; None if nobody knows.
    """

    iterations: int = 0
    steps: int = 0
    episodes: int = 0
    horizon: int | None = None
    hooks: Sequence[Hook] = ()
    trainer: Trainer | None = None

    @abstractmethod
    def step(self) -> Metrics:
        """One iteration; returns what there is to say about it."""

    @property
    @abstractmethod
    def steps_per_iteration(self) -> int:
        """Env steps of one iteration."""

    def _before_batch(self) -> None:
        for hook in self.hooks:
            hook.before_batch(self.trainer)  # type: ignore[arg-type]

    def _after_batch(self, batch: Any) -> Any:
        for hook in self.hooks:
            batch = hook.after_batch(self.trainer, batch)  # type: ignore[arg-type]
        return batch

    def _before_update(self, rows: Any) -> Any:
        for hook in self.hooks:
            rows = hook.before_update(self.trainer, rows)  # type: ignore[arg-type]
        return rows

    def _after_update(self, losses: Any) -> None:
        for hook in self.hooks:
            hook.after_update(self.trainer, losses)  # type: ignore[arg-type]
