"""Rows of packed entries in memory: written by column, read by row.

A random row of a large buffer costs a cache miss or two wherever it lies, so all entries of an item lie side by side
and one gather reads them. What is returned are views of the gathered rows, one for each entry.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.replay.row_layout import RowLayout

__all__ = ["ArrayRows", "DeviceRows", "PackedRows"]


class PackedRows(ABC):
    """``[rows, layout.size]`` bytes; ``columns`` are views of it, one ``[rows, *shape]`` for each field."""

    columns: list[Any]

    @abstractmethod
    def admit(self, value: Tensor) -> Any:
        """A tensor in the form in which it is assigned to a column."""

    @abstractmethod
    def gather(self, index: Tensor) -> list[Tensor]:
        """Copies of the rows at ``index``, one tensor ``[n, *shape]`` for each field."""

    @abstractmethod
    def take(self, place: int, index: Tensor) -> Tensor:
        """A copy of one field of the rows at ``index``."""

    @abstractmethod
    def head(self, stop: int) -> Tensor:
        """The bytes of the first rows, uint8 ``[stop, size]``, in the same memory."""


class ArrayRows(PackedRows):
    """Rows in the memory of the CPU, moved by numpy, whose calls cost a fraction of torch's.

    Args:
        layout: what a row holds.
        memory: bytes, uint8 ``[rows, layout.size]``, contiguous.
    """

    def __init__(self, layout: RowLayout, memory: np.ndarray) -> None:
        self.memory = memory
        self._record = layout.record
        self._rows = memory.reshape(-1).view(f"V{layout.size}")
        records = self._rows.view(self._record)
        self._names = self._record.names or ()
        self.columns = [records[name] for name in self._names]
        # A field that numpy has no dtype for was moved as integers.
        self._seen = [None if self._same(field.dtype) else field.dtype for field in layout.fields]
        self._plain = not any(self._seen)

    @staticmethod
    def _same(dtype: torch.dtype) -> bool:
        try:
            torch.empty(0, dtype=dtype).numpy()
        except TypeError:
            return False
        return True

    def admit(self, value: Tensor) -> np.ndarray:
        """A numpy array over a tensor, or over a copy of it where that has to be made."""
        value = value.detach().cpu().resolve_conj().resolve_neg()
        if not self._same(value.dtype):
            value = value.contiguous().view(getattr(torch, f"int{8 * value.dtype.itemsize}"))
        return value.numpy()

    def gather(self, index: Tensor) -> list[Tensor]:
        """Copies of the rows at ``index``, one tensor ``[n, *shape]`` for each field."""
        rows = self._rows.take(index.numpy()).view(self._record)
        found = [torch.from_numpy(rows[name]) for name in self._names]
        if not self._plain:
            found = [value if seen is None else value.view(seen) for value, seen in zip(found, self._seen, strict=True)]
        return found

    def take(self, place: int, index: Tensor) -> Tensor:
        """A copy of one field of the rows at ``index``."""
        value = torch.from_numpy(self.columns[place][index.numpy()])
        seen = self._seen[place]
        return value if seen is None else value.view(seen)

    def head(self, stop: int) -> Tensor:
        """The bytes of the first rows, uint8 ``[stop, size]``, in the same memory."""
        return torch.from_numpy(self.memory[:stop])


class DeviceRows(PackedRows):
    """Rows in the memory of an accelerator.

    Args:
        layout: what a row holds.
        memory: bytes, uint8 ``[rows, layout.size]``.
    """

    def __init__(self, layout: RowLayout, memory: Tensor) -> None:
        self.memory = memory
        self._layout = layout
        self.columns = self._views(memory)

    def _views(self, memory: Tensor) -> list[Tensor]:
        views = []
        for field in self._layout.fields:
            size = int(np.prod(field.shape)) * field.dtype.itemsize
            shape = (len(memory), *field.shape)
            if size:
                views.append(memory[:, field.offset : field.offset + size].view(field.dtype).view(shape))
            else:
                views.append(torch.empty(shape, dtype=field.dtype, device=memory.device))
        return views

    def admit(self, value: Tensor) -> Tensor:
        """The tensor on the device of the rows."""
        return value.detach().to(self.memory.device)

    def gather(self, index: Tensor) -> list[Tensor]:
        """Copies of the rows at ``index``, one tensor ``[n, *shape]`` for each field."""
        return self._views(self.memory.index_select(0, index.to(self.memory.device)))

    def take(self, place: int, index: Tensor) -> Tensor:
        """A copy of one field of the rows at ``index``."""
        return self.columns[place][index.to(self.memory.device)]

    def head(self, stop: int) -> Tensor:
        """The bytes of the first rows, uint8 ``[stop, size]``, in the same memory."""
        return self.memory[:stop]
