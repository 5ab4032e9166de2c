"""Storage for TensorDicts of one layout, in contiguous columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from agents.replay.storage import Storage

__all__ = ["LazyTensorStorage"]


class LazyTensorStorage(Storage):
    """Columns ``[max_size, *entry]``, one per entry, allocated for the layout of the first data.

    Args:
        max_size: capacity in items.
        device: where the columns live.

    Raises:
        ValueError: on a write whose keys, shapes or dtypes differ from the first one; nothing is written.

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> storage = LazyTensorStorage(3)
        >>> storage.extend(TensorDict({"a": torch.arange(4)}, [4]))
        tensor([1, 2, 0])
        >>> storage.get(torch.tensor([0, 1, 2]))["a"]
        tensor([3, 1, 2])
    """

    def __init__(self, max_size: int, device: torch.device | str | int = "cpu") -> None:
        super().__init__(max_size)
        self.device = torch.device(device)
        self._root: _Node | None = None
        self._length = 0
        self._cursor = 0

    def __len__(self) -> int:
        return self._length

    def add(self, item: TensorDictBase) -> int:
        """Write one item, a TensorDict without batch dimensions, or a row of one that has some."""
        index = self._cursor
        for column, value in self._matched(item, leading=0):
            column.write(index, value)
        self._advance(1)
        return index

    def extend(self, items: TensorDictBase) -> Tensor:
        """Write the items along the first batch dimension of a TensorDict.

        Raises:
            ValueError: if there is no batch dimension.
        """
        if not items.ndim:
            raise ValueError("LazyTensorStorage.extend: expected a batch dimension, found batch_size []; use add")
        total = items.batch_size[0]
        kept = min(total, self.max_size)
        # Items that later ones of the same call would overwrite are skipped, but take their turn.
        start = (self._cursor + total - kept) % self.max_size
        ahead = min(kept, self.max_size - start)
        for column, value in self._matched(items, leading=1):
            if ahead == total:
                column.write(slice(start, start + total), value)
                continue
            column.write(slice(start, start + ahead), value[total - kept : total - kept + ahead])
            column.write(slice(0, kept - ahead), value[total - kept + ahead :])
        self._advance(total)
        return torch.arange(start, start + kept).remainder_(self.max_size)

    def get(self, index: Tensor) -> TensorDict:
        """Return copies of the items at ``index`` in a TensorDict of batch size ``[n]``.

        Raises:
            IndexError: if nothing was written yet.
        """
        if self._root is None:
            raise IndexError("LazyTensorStorage.get: the storage is empty")
        index = index.to(self.device)
        return TensorDict(self._root.map(lambda column: column.data.index_select(0, index)), [len(index)])

    def empty(self) -> None:
        """Drop all items; memory and layout stay."""
        self._length = self._cursor = 0

    def state_dict(self) -> dict[str, Any]:
        """Return views of the rows in use, and the place of the next write."""
        data = {} if self._root is None else self._root.map(lambda column: column.data[: self._length])
        return {"data": data, "length": self._length, "cursor": self._cursor, "max_size": self.max_size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Copy in the rows of ``state``.

        Raises:
            ValueError: if ``max_size`` or the layout differ.
        """
        if state["max_size"] != self.max_size:
            raise ValueError(
                f"LazyTensorStorage: expected a state of max_size={self.max_size}, found {state['max_size']}"
            )
        self.empty()
        if state["data"]:
            self.extend(TensorDict(state["data"], [state["length"]]))
        self._length, self._cursor = state["length"], state["cursor"]

    def _advance(self, count: int) -> None:
        self._cursor = (self._cursor + count) % self.max_size
        self._length = min(self._length + count, self.max_size)

    def _matched(self, data: TensorDictBase, leading: int) -> list[tuple[_Column, Tensor]]:
        """Columns with the values to write there, all of them checked."""
        if self._root is None:
            self._root = _allocate(data, (), self.max_size, leading, self.device)
        matched: list[tuple[_Column, Tensor]] = []
        self._root.match(data, leading, matched)
        return matched


@dataclass(frozen=True)
class _Column:
    """One entry of all items."""

    key: tuple[str, ...]
    data: Tensor
    # The same memory for numpy, which writes a row at a fraction of the cost; None where numpy cannot see it.
    rows: np.ndarray | None
    shape: torch.Size
    dtype: torch.dtype

    def write(self, where: int | slice, value: Tensor) -> None:
        if value.requires_grad:
            value = value.detach()
        if self.rows is not None and value.is_cpu:
            self.rows[where] = value.numpy()
        else:
            self.data[where] = value

    def match(self, value: Any, leading: int, matched: list[tuple[_Column, Tensor]]) -> None:
        if not isinstance(value, Tensor) or value.dtype != self.dtype or value.shape[leading:] != self.shape:
            found = type(value).__name__
            if isinstance(value, Tensor):
                found = f"{list(value.shape[leading:])} and {value.dtype}"
            raise ValueError(
                f"LazyTensorStorage: expected {_spelled(self.key)} of shape {list(self.shape)} and dtype "
                f"{self.dtype}, as first written; found {found}"
            )
        matched.append((self, value))


@dataclass(frozen=True)
class _Node:
    """The entries at one level of nesting."""

    key: tuple[str, ...]
    children: dict[str, _Node | _Column]

    def match(self, data: Any, leading: int, matched: list[tuple[_Column, Tensor]]) -> None:
        if not isinstance(data, TensorDictBase) or len(data.keys()) != len(self.children):
            raise self._wrong_keys(data)
        for name, child in self.children.items():
            value = data.get(name, None)
            if value is None:
                raise self._wrong_keys(data)
            child.match(value, leading, matched)

    def map(self, function: Callable[[_Column], Tensor]) -> dict[str, Any]:
        return {
            name: child.map(function) if isinstance(child, _Node) else function(child)
            for name, child in self.children.items()
        }

    def _wrong_keys(self, data: Any) -> ValueError:
        where = f" under {_spelled(self.key)}" if self.key else ""
        expected = sorted(self.children)
        found = sorted(data.keys()) if isinstance(data, TensorDictBase) else type(data).__name__
        return ValueError(f"LazyTensorStorage: expected the keys {expected}{where}, as first written; found {found}")


def _allocate(data: TensorDictBase, key: tuple[str, ...], max_size: int, leading: int, device: torch.device) -> _Node:
    children: dict[str, _Node | _Column] = {}
    for name, value in data.items():
        if isinstance(value, TensorDictBase):
            children[name] = _allocate(value, (*key, name), max_size, leading, device)
        elif isinstance(value, Tensor):
            shape = value.shape[leading:]
            # Not zeroed: pages of a large buffer are claimed as they fill.
            column = torch.empty((max_size, *shape), dtype=value.dtype, device=device)
            rows = column.numpy() if column.is_cpu and value.dtype is not torch.bfloat16 else None
            children[name] = _Column((*key, name), column, rows, shape, value.dtype)
        else:
            raise ValueError(
                f"LazyTensorStorage: expected a tensor at {_spelled((*key, name))}, "
                f"found {type(value).__name__}; ListStorage holds anything"
            )
    return _Node(key, children)


def _spelled(key: tuple[str, ...]) -> str:
    return repr(key[0] if len(key) == 1 else key)
