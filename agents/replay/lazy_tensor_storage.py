"""Storage for TensorDicts of one layout, in memory."""

from __future__ import annotations

import os

import numpy as np
import torch

from agents.replay.packed_rows import ArrayRows, DeviceRows, PackedRows
from agents.replay.packed_storage import PackedStorage
from agents.replay.row_layout import RowLayout

__all__ = ["LazyTensorStorage"]

LINE = 64  # bytes of a line of a processor's cache


class LazyTensorStorage(PackedStorage):
    """Items in memory, laid out for the first data that is written.

    All entries of an item lie side by side, and :meth:`get` returns views of the rows it gathers: they are no copies of
    each other, but not contiguous either. Pages of a large storage are claimed as they fill.

    Args:
        max_size: capacity in items.
        device: where they live.
        ndim: 1 for data ``[items]``, 2 for data ``[sequences, time]``; see :class:`PackedStorage`.

    Raises:
        ValueError: on a write whose keys, shapes or dtypes differ from the first one; nothing is written.
        MemoryError: on the first write, if the machine has less memory than all items take.

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> storage = LazyTensorStorage(3)
        >>> storage.extend(TensorDict({"a": torch.arange(4)}, [4]))
        tensor([1, 2, 0])
        >>> storage.get(torch.tensor([0, 1, 2]))["a"]
        tensor([3, 1, 2])
    """

    def __init__(self, max_size: int, device: torch.device | str | int = "cpu", ndim: int = 1) -> None:
        super().__init__(max_size, ndim)
        self.device = torch.device(device)

    def _allocate(self, layout: RowLayout) -> PackedRows:
        size = self.max_size * layout.size
        if self.device.type != "cpu":
            return DeviceRows(layout, torch.zeros((self.max_size, layout.size), dtype=torch.uint8, device=self.device))
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if size > there:
            raise MemoryError(
                f"LazyTensorStorage: expected {size / 2**30:,.1f} GiB for {self.max_size:,} items of {layout.size:,} "
                f"bytes, found a machine of {there / 2**30:,.1f} GiB; LazyMemmapStorage keeps them on disk"
            )
        # numpy asks for large pages, where torch does not: a random row is found without walking page tables.
        memory = np.zeros(size + LINE, np.uint8)
        start = -memory.ctypes.data % LINE
        return ArrayRows(layout, memory[start : start + size].reshape(self.max_size, layout.size))
