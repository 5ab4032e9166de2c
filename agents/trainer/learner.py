"""What a trainer trains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agents.trainer.hook import Hook, Metrics

if TYPE_CHECKING:
    from agents.trainer.trainer import Trainer

__all__ = ["Learner"]

POINTS = ("before_batch", "after_batch", "before_update", "after_update")


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
    _trainer: Trainer | None = None
    _hooks: Mapping[str, Sequence[Hook]] = dict.fromkeys(POINTS, ())

    def attend(self, trainer: Trainer | None, hooks: Iterable[Hook] = ()) -> None:
        """Has the hooks of a trainer called from here on; only those that do something at a point are called there."""
        hooks = tuple(hooks)
        self._trainer = trainer
        self._hooks = {point: [hook for hook in hooks if _acts(hook, point)] for point in POINTS}

    @property
    def remaining(self) -> float:
        """Share of the training that is still to come; 1 if its length is unknown."""
        return 1.0 if self.horizon is None else max(0.0, 1.0 - self.steps / self.horizon)

    @abstractmethod
    def step(self) -> Metrics:
        """One iteration; returns what there is to say about it."""

    @property
    @abstractmethod
    def steps_per_iteration(self) -> int:
        """Env steps of one iteration."""

    def _before_batch(self) -> None:
        for hook in self._hooks["before_batch"]:
            hook.before_batch(self._trainer)  # type: ignore[arg-type]

    def _after_batch(self, batch: Any) -> Any:
        for hook in self._hooks["after_batch"]:
            batch = hook.after_batch(self._trainer, batch)  # type: ignore[arg-type]
        return batch

    def _before_update(self, rows: Any) -> Any:
        for hook in self._hooks["before_update"]:
            rows = hook.before_update(self._trainer, rows)  # type: ignore[arg-type]
        return rows

    def _after_update(self, losses: Any) -> None:
        for hook in self._hooks["after_update"]:
            hook.after_update(self._trainer, losses)  # type: ignore[arg-type]


def _acts(hook: Hook, point: str) -> bool:
    return getattr(type(hook), point) is not getattr(Hook, point) or point in vars(hook)
