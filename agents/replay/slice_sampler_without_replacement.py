"""Slices of trajectories, each trajectory once."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.replay.sampler_without_replacement import SamplerWithoutReplacement
from agents.replay.slices import Slices

__all__ = ["SliceSamplerWithoutReplacement"]


class SliceSamplerWithoutReplacement(Slices):
    """Epochs over the trajectories: one slice of each per epoch, and a write starts an epoch anew.

    The last batch of an epoch has fewer slices where the trajectories do not divide evenly.

    Args:
        drop_last: skip the last batch of an epoch if it is smaller than the others.
        shuffle: whether an epoch visits the trajectories in random order.
        **options: those of :class:`~agents.SliceSampler`.

    Raises:
        ValueError: see there.
    """

    def __init__(self, *, drop_last: bool = False, shuffle: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self._epoch = SamplerWithoutReplacement(drop_last, shuffle)
        self._eligible = np.zeros(0, np.int64)

    @property
    def epoch_ended(self) -> bool:
        """Whether the next sample begins an epoch."""
        return self._epoch.epoch_ended

    def written(self, index: Tensor) -> None:
        """Look up the trajectories of new items, and end the epoch."""
        super().written(index)
        self.refresh()

    def refresh(self) -> None:
        """End the epoch."""
        self._epoch.refresh()

    def state_dict(self) -> dict[str, Any]:
        """Return the table of trajectories, and the epoch."""
        eligible = torch.from_numpy(self._eligible)
        return super().state_dict() | {"epoch": self._epoch.state_dict(), "eligible": eligible}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over table and epoch."""
        super().load_state_dict(state)
        self._epoch.load_state_dict(state["epoch"])
        self._eligible = state["eligible"].numpy().copy()

    def _choose(self, count: int, length: int, generator: torch.Generator | None) -> tuple[np.ndarray, ...]:
        if self._epoch.epoch_ended:
            self._eligible = self._all_long_enough(length)
        places = self._epoch.sample(len(self._eligible), count, generator).numpy()
        return self._anywhere(self._eligible[places], length, generator)
