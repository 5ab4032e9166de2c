"""What storages of packed rows have in common: which data fits, and where it goes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from tensordict import NestedKey, TensorDict, TensorDictBase
from torch import Tensor

from agents.replay.packed_rows import PackedRows
from agents.replay.row_layout import RowLayout
from agents.replay.row_tree import RowTree
from agents.replay.storage import Storage

__all__ = ["PackedStorage"]

NOTHING = np.zeros(())


class PackedStorage(Storage):
    """Items of one layout, that of the first data written, each in a row of bytes.

    Data are TensorDicts, or nested mappings of numpy arrays, which come in quicker.

    Args:
        max_size: capacity in items.
        ndim: 1 if data is ``[items]``; 2 if it is ``[sequences, time]``, as collectors of a batch of envs return it.
            Then ``max_size`` is rounded down to a multiple of the number of sequences, and items are in the order of
            time.

    Raises:
        ValueError: another ``ndim``.
    """

    def __init__(self, max_size: int, ndim: int = 1) -> None:
        super().__init__(max_size)
        if ndim not in (1, 2):
            raise ValueError(f"{type(self).__name__}: expected an ndim of 1 or 2, found {ndim}")
        self.ndim = ndim
        self.layout: RowLayout | None = None
        self._length = 0

    @abstractmethod
    def _allocate(self, layout: RowLayout) -> PackedRows:
        """Rows for ``max_size`` items."""

    def __len__(self) -> int:
        return self._length

    # ------------------------------------------------------------------ writes

    def add(self, item: TensorDictBase | Mapping[str, Any]) -> int:
        """Write one item in turn: data without dimensions of items.

        Raises:
            ValueError: keys, shapes or dtypes differ from the first data's; nothing is written.
        """
        if self.ndim == 2:
            raise ValueError(f"{type(self).__name__}.add: expected ndim=1, found 2; use extend")
        index = self.count % self.max_size
        self.set(index, item)
        self._advance(1)
        return index

    def set(self, index: int, item: TensorDictBase | Mapping[str, Any]) -> None:
        """Write one item to a place that is held already, or to the first one that is not."""
        for column, value in self._matched(item, ()):
            column[index] = value
        self._length = max(self._length, index + 1)
        self._counted()

    def extend(self, items: TensorDictBase | Mapping[str, Any]) -> Tensor:
        """Write items in turn: data whose first ``ndim`` dimensions are of items.

        Returns:
            Indices of the items kept, int64 ``[n]``, in the order of time.

        Raises:
            ValueError: keys, shapes or dtypes differ from the first data's, or there are no such dimensions; nothing is
                written.
        """
        lead = self._lead(items)
        matched = self._matched(items, lead)
        total, streams = lead[-1], self.streams
        if self.ndim == 1 or streams == 1 or total == 1:  # rows follow each other as they are
            start = self.count % self.max_size
            stop = start + total * streams
            if stop <= self.max_size:
                for column, value in matched:
                    if self.ndim == 2:
                        value = value[0] if streams == 1 else value[:, 0]
                    column[start:stop] = value
                self._advance(total * streams)
                return torch.from_numpy(np.arange(start, stop))
        return self._extend_around(matched, total, streams)

    def _extend_around(self, matched: list[tuple[Any, Any]], total: int, streams: int) -> Tensor:
        """What :meth:`extend` does with several sequences, and at the end of the storage."""
        steps = self.max_size // streams
        kept = min(total, steps)
        # Items that later ones of the same call would overwrite are skipped, but take their turn.
        first = (self.count // streams + total - kept) % steps
        ahead = min(kept, steps - first)
        for column, value in matched:
            if self.ndim == 2:
                column = column.reshape(steps, streams, *column.shape[1:])
                value = value.swapaxes(0, 1)
            if ahead == total:
                column[first : first + total] = value
                continue
            column[first : first + ahead] = value[total - kept : total - kept + ahead]
            column[: kept - ahead] = value[total - kept + ahead :]
        self._advance(total * streams)
        start, stop = first * streams, (first + kept) * streams
        index = np.arange(start, stop)
        if stop > self.max_size:
            index %= self.max_size
        return torch.from_numpy(index)

    def _advance(self, count: int) -> None:
        self.count += count
        self._length = max(self._length, min(self.count, self.max_size))
        self._counted()

    def _counted(self) -> None:
        """Called when it is known how many items there are, after they were written."""

    def _lead(self, items: TensorDictBase | Mapping[str, Any]) -> tuple[int, ...]:
        """The dimensions of items; the first data fixes how many sequences there are."""
        if isinstance(items, TensorDictBase):
            found = items.batch_size
        else:
            value: Any = items
            while value.__class__ is dict or isinstance(value, Mapping):
                value = next(iter(value.values()), NOTHING)
            found = value.shape
        if len(found) < self.ndim:
            raise ValueError(
                f"{type(self).__name__}.extend: expected {self.ndim} dimensions of items, found batch_size "
                f"{list(found)}; use add for single items"
            )
        lead = tuple(found[: self.ndim])
        if self.ndim == 2 and lead[0] != self.streams:
            if self.layout is not None:
                raise ValueError(
                    f"{type(self).__name__}: expected {self.streams} sequences, as first written; found {lead[0]}"
                )
            if lead[0] > self.max_size:
                raise ValueError(
                    f"{type(self).__name__}: expected a max_size of at least one step of {lead[0]} sequences, found "
                    f"{self.max_size}"
                )
            self.streams = lead[0]
            self.max_size -= self.max_size % self.streams
        return lead

    def _matched(self, data: Any, lead: tuple[int, ...]) -> list[tuple[Any, Any]]:
        """Columns with the values to write there, all of them checked."""
        if self.layout is None:
            self._adopt(RowLayout.of(data, len(lead), type(self).__name__))
        matched: list[tuple[Any, Any]] = []
        self._root.match(data, lead, matched)
        return matched

    def _adopt(self, layout: RowLayout) -> None:
        self._rows = self._allocate(layout)
        self.layout = layout
        self._root = RowTree(type(self).__name__, (), list(enumerate(layout.fields)), self._rows)

    # ------------------------------------------------------------------- reads

    def get(self, index: Tensor) -> TensorDict:
        """Return copies of the items at ``index`` in a TensorDict of batch size ``[n]``.

        Raises:
            IndexError: if nothing was written yet, or an index is none of an item.
        """
        if self.layout is None:
            raise IndexError(f"{type(self).__name__}.get: the storage is empty")
        return self._root.build(self._rows.gather(index), index.shape)

    def column(self, key: NestedKey, index: Tensor) -> Tensor:
        """Return a copy of the entry ``key`` of the items at ``index``, shape ``[n, *entry]``.

        Raises:
            KeyError: if the items have none.
        """
        if self.layout is None:
            raise IndexError(f"{type(self).__name__}.column: the storage is empty")
        return self._rows.take(self.layout.place(key), index)

    # ------------------------------------------------------------------- state

    def empty(self) -> None:
        """Drop all items; memory and layout stay."""
        self._length = self.count = 0
        self._counted()

    def state_dict(self) -> dict[str, Any]:
        """Return the rows in use, in the memory of the storage, their layout, and how many were written."""
        state: dict[str, Any] = {
            "max_size": self.max_size,
            "streams": self.streams,
            "count": self.count,
            "length": self._length,
        }
        if self.layout is not None:
            state |= {"layout": self.layout.plain(), "rows": self._rows.head(self._length)}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Copy in the rows of ``state``.

        Raises:
            ValueError: if ``max_size`` or the layout differ.
        """
        name = type(self).__name__
        streams = state["streams"]
        if state["max_size"] != self.max_size - self.max_size % streams:
            raise ValueError(f"{name}: expected a state of max_size={self.max_size}, found {state['max_size']}")
        if (streams > 1) > (self.ndim == 2):
            raise ValueError(f"{name}: expected a state of ndim=1, found one of {streams} sequences")
        if "layout" in state:
            layout = RowLayout.from_plain(state["layout"])
            if self.layout is not None and (self.layout != layout or self.streams != streams):
                raise ValueError(
                    f"{name}: expected a state of {self.streams} sequences of {self.layout.plain()}, found "
                    f"{streams} of {layout.plain()}"
                )
            self.max_size, self.streams = state["max_size"], streams
            if self.layout is None:
                self._adopt(layout)
            self._rows.head(state["length"]).copy_(state["rows"])
        self.count, self._length = state["count"], state["length"]
        self._counted()
