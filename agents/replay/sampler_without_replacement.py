"""Choices that visit every item once before any item twice."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from agents.replay.sampler import Sampler

__all__ = ["SamplerWithoutReplacement"]


class SamplerWithoutReplacement(Sampler):
    """Epochs over the stored items: each is returned once per epoch, and a write starts an epoch anew.

    The last batch of an epoch is smaller when the items do not divide evenly.

    Args:
        drop_last: skip the last batch of an epoch if it is smaller than the others.
        shuffle: whether an epoch visits the items in random order.

    Example:
        >>> sampler = SamplerWithoutReplacement(shuffle=False)
        >>> [sampler.sample(length=5, batch_size=2).tolist() for _ in range(4)]
        [[0, 1], [2, 3], [4], [0, 1]]
    """

    def __init__(self, drop_last: bool = False, shuffle: bool = True) -> None:
        self.drop_last = drop_last
        self.shuffle = shuffle
        self._order: Tensor | None = None
        self._position = 0

    @property
    def epoch_ended(self) -> bool:
        """Whether the next sample begins an epoch."""
        return self._order is None

    def sample(self, length: int, batch_size: int, generator: torch.Generator | None = None) -> Tensor:
        """Return the next ``batch_size`` indices of the epoch, fewer at its end.

        Raises:
            ValueError: if ``drop_last`` is set and there are fewer items than ``batch_size``.
        """
        if self.drop_last and length < batch_size:
            raise ValueError(
                f"SamplerWithoutReplacement: drop_last needs at least batch_size={batch_size} items, found {length}"
            )
        if self._order is None or len(self._order) != length:
            self._order = torch.randperm(length, generator=generator) if self.shuffle else torch.arange(length)
            self._position = 0
        chosen = self._order[self._position : self._position + batch_size]
        self._position += batch_size
        left = length - self._position
        if left <= 0 or (self.drop_last and left < batch_size):
            self.refresh()
        return chosen

    def refresh(self) -> None:
        """End the epoch."""
        self._order = None
        self._position = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the order of the epoch and the position in it."""
        order = torch.empty(0, dtype=torch.int64) if self._order is None else self._order
        return {"order": order, "position": self._position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over order and position."""
        order = state["order"]
        self._order = order.clone() if len(order) else None
        self._position = state["position"]
