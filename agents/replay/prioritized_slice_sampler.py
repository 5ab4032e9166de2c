"""Slices around steps that are chosen in proportion to priorities."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import torch
from tensordict import NestedKey
from torch import Tensor

from agents.replay.prioritized_sampler import PrioritizedSampler
from agents.replay.slices import Slices
from agents.replay.storage import Storage

__all__ = ["PrioritizedSliceSampler"]

ROUNDS = 8


class PrioritizedSliceSampler(Slices):
    """Slices that begin with steps drawn in proportion to priorities, or as much earlier as makes them whole.

    ``"_weight"`` is that of the step drawn, for all steps of its slice.

    Args:
        max_capacity, alpha, beta, eps, reduction: those of :class:`~agents.PrioritizedSampler`.
        **options: those of :class:`~agents.SliceSampler`.

    Raises:
        ValueError: see there.
    """

    def __init__(
        self,
        max_capacity: int,
        alpha: float,
        beta: float,
        eps: float = 1e-8,
        reduction: Literal["max", "min", "mean", "median"] = "max",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.priorities = PrioritizedSampler(max_capacity, alpha, beta, eps, reduction)

    def bind(self, storage: Storage) -> None:
        """Look up trajectories, and give all items the priority of new ones."""
        super().bind(storage)
        self.priorities.bind(storage)

    def written(self, index: Tensor) -> None:
        """Look up the trajectories of new items, and give these the greatest priority."""
        super().written(index)
        self.priorities.written(index)

    def update_priority(self, index: int | Tensor | Iterable[int], priority: float | Tensor) -> None:
        """Change priorities; see :meth:`PrioritizedSampler.update_priority`."""
        self.priorities.update_priority(index, priority)

    def info(self, index: Tensor) -> dict[NestedKey, Tensor]:
        """``"_weight"``, and where slices end."""
        weight = self.priorities.info(self._drawn)["_weight"]
        return {"_weight": weight.repeat_interleave(torch.from_numpy(self._lengths)), **super().info(index)}

    def state_dict(self) -> dict[str, Any]:
        """Return trajectories and priorities."""
        return super().state_dict() | {"priorities": self.priorities.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over trajectories and priorities."""
        super().load_state_dict(state)
        self.priorities.load_state_dict(state["priorities"])

    def _choose(self, count: int, length: int, generator: torch.Generator | None) -> tuple[np.ndarray, ...]:
        table = self._table
        drawn = np.empty(0, np.int64)
        for attempt in range(ROUNDS):
            wanted = (count - len(drawn)) << attempt
            some = self.priorities.sample(len(table.storage), wanted, generator).numpy()
            drawn = np.concatenate([drawn, some[self._long_enough(table.of(some), length)]])
            if len(drawn) >= count:
                break
        else:
            drawn = self._among_all(count, length, generator)
        self._drawn = torch.from_numpy(drawn[:count])
        numbers = table.of(drawn[:count])
        first, stop = table.spans(numbers)
        lengths = np.minimum(stop - first, length)
        return numbers, np.minimum(table.times(drawn[:count]), stop - lengths), lengths

    def _among_all(self, count: int, length: int, generator: torch.Generator | None) -> np.ndarray:
        """Steps drawn among those of all trajectories that are long enough, listed one by one."""
        self._all_long_enough(length)
        every = np.arange(len(self._table.storage))
        weights = self.priorities.weights.numpy() * self._long_enough(self._table.of(every), length)
        shares = torch.rand(count, dtype=torch.float64, generator=generator).numpy()
        sums = weights.cumsum()
        return np.minimum(sums.searchsorted(shares * sums[-1], "right"), weights.nonzero()[0][-1])
