"""Storage for TensorDicts of one layout, on disk."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path

from agents.replay.memmap_file import MemmapFile
from agents.replay.packed_rows import ArrayRows, PackedRows
from agents.replay.packed_storage import PackedStorage
from agents.replay.row_layout import RowLayout

__all__ = ["LazyMemmapStorage"]

NAME = "replay.rows"


class LazyMemmapStorage(PackedStorage):
    """Items in a file that is mapped into memory, laid out for the first data that is written.

    The file is one of rows as :class:`LazyTensorStorage` has them in memory, behind a header that tells their layout
    and how many there are, and its space is reserved as a whole. What a process wrote is there when it is killed.

    Args:
        max_size: capacity in items.
        scratch_dir: the folder of the file; one that goes away with the storage by default.
        ndim: 1 for data ``[items]``, 2 for data ``[sequences, time]``.
        reopen: go on with the items that are in ``scratch_dir``, rather than with none.

    Raises:
        FileExistsError: there are items in ``scratch_dir``, and ``reopen`` is not set.
        FileNotFoundError: there are none, and it is set.
        envkit.errors.CheckpointError: the file there is damaged.
        ValueError: it is of another size; (on a write) keys, shapes or dtypes differ from the first data's.
        OSError: (on the first write) the disk has too little space.

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> folder = tempfile.mkdtemp()
        >>> storage = LazyMemmapStorage(100, folder)
        >>> _ = storage.extend(TensorDict({"a": torch.arange(4)}, [4]))
        >>> LazyMemmapStorage(100, folder, reopen=True).get(torch.tensor([3]))["a"]
        tensor([3])
    """

    def __init__(
        self, max_size: int, scratch_dir: str | os.PathLike | None = None, ndim: int = 1, *, reopen: bool = False
    ) -> None:
        super().__init__(max_size, ndim)
        self._file: MemmapFile | None = None
        if scratch_dir is None:
            scratch_dir = tempfile.mkdtemp(prefix="replay-")
            weakref.finalize(self, shutil.rmtree, scratch_dir, ignore_errors=True)
        self.scratch_dir = Path(scratch_dir)
        self.scratch_dir.mkdir(parents=True, exist_ok=True)
        path = self.scratch_dir / NAME
        if reopen:
            if not path.is_file():
                raise FileNotFoundError(f"LazyMemmapStorage: reopen: expected {path}, found no such file")
            self._resume(MemmapFile.open(path))
        elif path.exists():
            raise FileExistsError(
                f"LazyMemmapStorage: expected a scratch_dir without items, found {path}; reopen=True goes on with them"
            )

    @property
    def generation(self) -> str | None:
        """What tells the file from any other, also from an earlier one of its name; None if there is none yet."""
        return None if self._file is None else self._file.generation

    def _resume(self, file: MemmapFile) -> None:
        count, length, streams = file.counts.tolist()
        streams = max(1, streams)
        if file.max_size != self.max_size - self.max_size % streams or (streams > 1) > (self.ndim == 2):
            raise ValueError(
                f"LazyMemmapStorage: expected a file of max_size={self.max_size} and ndim={self.ndim}, found one of "
                f"{file.max_size} items of {streams} sequences at {file.path}"
            )
        self._file = file
        self.max_size, self.streams, self.count, self._length = file.max_size, streams, count, length
        self._adopt(file.layout)

    def _allocate(self, layout: RowLayout) -> PackedRows:
        if self._file is None:
            self._file = MemmapFile.create(self.scratch_dir / NAME, layout, self.max_size)
        return ArrayRows(layout, self._file.memory)

    def _counted(self) -> None:
        if self._file is not None:
            self._file.counts[:] = self.count, self._length, self.streams
