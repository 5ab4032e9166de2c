"""Images that are stored once, however many stacks they are in."""

from __future__ import annotations

import numpy as np

__all__ = ["FrameTable"]


class FrameTable:
    """Places for frames, each counted as often as it is used, and used anew when that is never.

    Args:
        size: bytes of a frame.
        frames: for how many there is room at first; it doubles where that is not enough. Memory is claimed as frames
            are put in.

    Example:
        >>> table = FrameTable(size=2, frames=4)
        >>> place = table.put(np.array([7, 8], np.uint8))
        >>> table.hold(np.array([place]))
        >>> table.get(np.array([place])).tolist()
        [[7, 8]]
        >>> table.release(np.array([place]))
        >>> table.used
        0
    """

    def __init__(self, size: int, frames: int) -> None:
        self.size = size
        self._memory = np.zeros((max(1, frames), size), np.uint8)
        self._holds = np.zeros(len(self._memory), np.int32)
        self._free: list[int] = []
        self._top = 0

    @property
    def used(self) -> int:
        """How many frames are in use."""
        return self._top - len(self._free)

    def put(self, frame: np.ndarray) -> int:
        """Copies in the bytes of a frame, uint8 ``[size]``, that nobody holds yet, and returns its place."""
        if self._free:
            place = self._free.pop()
        else:
            if self._top == len(self._memory):
                self._grow()
            place, self._top = self._top, self._top + 1
        self._memory[place] = frame
        return place

    def hold(self, places: np.ndarray) -> None:
        """Counts one more use of each place, as often as it is named."""
        np.add.at(self._holds, places.reshape(-1), 1)

    def release(self, places: np.ndarray) -> None:
        """Counts one use less; after the last one a place is free."""
        np.subtract.at(self._holds, places.reshape(-1), 1)
        named = np.unique(places)
        self._free.extend(named[self._holds[named] == 0].tolist())

    def get(self, places: np.ndarray) -> np.ndarray:
        """Copies of frames, uint8 ``[*places.shape, size]``."""
        return self._memory.take(places, 0)

    def head(self) -> np.ndarray:
        """The bytes of all places that were ever used, uint8 ``[n, size]``, in the memory of the table."""
        return self._memory[: self._top]

    def fill(self, memory: np.ndarray, places: np.ndarray) -> None:
        """Replaces all frames; ``places`` names each place as often as it is used."""
        while len(memory) > len(self._memory):
            self._grow()
        self._top = len(memory)
        self._memory[: self._top] = memory
        self._holds[:] = 0
        np.add.at(self._holds, places.reshape(-1), 1)
        self._free = np.flatnonzero(self._holds[: self._top] == 0)[::-1].tolist()

    def _grow(self) -> None:
        for name in ("_memory", "_holds"):
            old = getattr(self, name)
            new = np.zeros((2 * len(old), *old.shape[1:]), old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)
