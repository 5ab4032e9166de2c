"""What a replay buffer asks of the place where its items live."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from tensordict import NestedKey
from torch import Tensor

__all__ = ["Storage"]


class Storage(ABC):
    """Up to ``max_size`` items. Written in turn, the oldest item is overwritten first once it is full.

    Args:
        max_size: capacity in items.

    Raises:
        ValueError: if ``max_size`` is not positive.
    """

    def __init__(self, max_size: int) -> None:
        if max_size < 1:
            raise ValueError(f"{type(self).__name__}: expected a max_size of at least 1, found {max_size}")
        self.max_size = int(max_size)
        self.count = 0
        """Items written in turn so far, those overwritten since among them: the next goes to ``count % max_size``."""
        self.streams = 1
        """How many sequences are stored side by side: the step after item ``i`` of one is item ``i + streams``."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of items held."""

    @abstractmethod
    def add(self, item: Any) -> int:
        """Write one item in turn and return its index."""

    @abstractmethod
    def extend(self, items: Any) -> Tensor:
        """Write several items in turn and return the indices of those kept: the last ``max_size`` at most."""

    @abstractmethod
    def set(self, index: int, item: Any) -> None:
        """Write one item to a place that is held already, or to the first one that is not."""

    @abstractmethod
    def get(self, index: Tensor) -> Any:
        """Return the items at ``index``, int64, shape ``[n]``."""

    @abstractmethod
    def column(self, key: NestedKey, index: Tensor) -> Tensor:
        """Return the entry ``key`` of the items at ``index``, shape ``[n, *entry]``.

        Raises:
            KeyError: if the items have none.
        """

    @abstractmethod
    def empty(self) -> None:
        """Drop all items."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return what is held, without copying it, as nested dicts of tensors, numbers and strings."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Copy in what :meth:`state_dict` returned."""

    def newer(self, index: Tensor) -> Tensor:
        """How many steps of its own sequence were written after each item, int64 ``[n]``."""
        return torch.remainder(self.count - 1 - index, self.max_size) // self.streams
