"""What a replay buffer asks of the place where its items live."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

__all__ = ["Storage"]


class Storage(ABC):
    """Up to ``max_size`` items, written in turn: once full, the oldest item is overwritten first.

    Args:
        max_size: capacity in items.

    Raises:
        ValueError: if ``max_size`` is not positive.
    """

    def __init__(self, max_size: int) -> None:
        if max_size < 1:
            raise ValueError(f"{type(self).__name__}: expected a max_size of at least 1, found {max_size}")
        self.max_size = int(max_size)

    @abstractmethod
    def __len__(self) -> int:
        """Number of items held."""

    @abstractmethod
    def add(self, item: Any) -> int:
        """Write one item and return its index."""

    @abstractmethod
    def extend(self, items: Any) -> Tensor:
        """Write several items and return the indices of those kept: the last ``max_size`` at most."""

    @abstractmethod
    def get(self, index: Tensor) -> Any:
        """Return the items at ``index``, int64, shape ``[n]``."""

    @abstractmethod
    def empty(self) -> None:
        """Drop all items."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return what is held, without copying it, as nested dicts of tensors, numbers and strings."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Copy in what :meth:`state_dict` returned."""
