"""Storage for items of any kind."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase
from torch import Tensor

from agents.replay.storage import Storage

__all__ = ["ListStorage"]


class ListStorage(Storage):
    """Items of any kind in a list, one Python object each.

    Args:
        max_size: capacity in items.

    Example:
        >>> import torch
        >>> storage = ListStorage(2)
        >>> storage.extend(["a", "b", "c"])
        tensor([1, 0])
        >>> storage.get(torch.tensor([0, 1]))
        ['c', 'b']
    """

    def __init__(self, max_size: int = 1_000) -> None:
        super().__init__(max_size)
        self._items: list[Any] = []

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: Any) -> int:
        """Write one item in turn and return its index."""
        index = self.count % self.max_size
        self.set(index, item)
        self.count += 1
        return index

    def extend(self, items: Iterable[Any]) -> Tensor:
        """Write the items of an iterable (the rows of a TensorDict) in turn."""
        indices = [self.add(item) for item in items]
        return torch.tensor(indices[-self.max_size :], dtype=torch.int64)

    def set(self, index: int, item: Any) -> None:
        """Write one item to a place that is held already, or to the first one that is not."""
        if index == len(self._items):
            self._items.append(item)
        else:
            self._items[index] = item

    def get(self, index: Tensor) -> list[Any]:
        """Return the items at ``index`` in a list."""
        return [self._items[position] for position in index.tolist()]

    def column(self, key: NestedKey, index: Tensor) -> Tensor:
        """Return the entry ``key`` of the items at ``index``, stacked.

        Raises:
            KeyError: if an item has none.
            TypeError: if an item is no TensorDict.
        """
        items = self.get(index)
        for item in items:
            if not isinstance(item, TensorDictBase):
                raise TypeError(f"ListStorage: expected TensorDicts, to find {key!r}, found {type(item).__name__}")
        return torch.stack([item[key] for item in items])

    def empty(self) -> None:
        """Drop all items."""
        self._items = []
        self.count = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the items and how many were written."""
        return {"items": list(self._items), "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the items of ``state``.

        Raises:
            ValueError: if there are more items than ``max_size``.
        """
        if len(state["items"]) > self.max_size:
            raise ValueError(
                f"ListStorage: expected at most max_size={self.max_size} items, found {len(state['items'])}"
            )
        self._items = list(state["items"])
        self.count = state["count"]
