"""Stacks of frames by the places of their frames."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.replay.frame_table import FrameTable
from agents.replay.row_layout import spelled

__all__ = ["FrameStacks"]

HEADROOM = 1.25  # room for frames at first, per item: one, and some for the stacks that episodes begin with


class FrameStacks:
    """The frames of one entry, at the root and under "next"."""

    def __init__(self, root: tuple[str, ...]) -> None:
        self.keys: list[tuple[str, ...]] = [root, ("next", *root)]
        self.capacity = 1
        self.table: FrameTable | None = None
        self.form: tuple[torch.dtype, tuple[int, ...]] | None = None
        self.last: np.ndarray | None = None
        """Where the frames of the newest next observations are, ``[streams, stack]``."""

    def place(self, values: list[Tensor], streams: int, stack: int) -> list[np.ndarray]:
        """Where the frames of stacks are, int32 ``[n, stack]`` for root and next; those that are new are put there."""
        shown = [self._bytes_of(value, stack) for value in values]
        assert self.table is not None
        roots, nexts = shown[0], shown[1] if len(shown) == 2 else None
        out = [np.empty((len(roots), stack), np.int32) for _ in shown]
        last = None if self.last is None or len(self.last) != streams else self.last
        for i, frames in enumerate(roots):
            before = last[i % streams] if i < streams and last is not None else None
            if i >= streams and nexts is not None:
                before = out[1][i - streams]
            if before is not None and np.array_equal(frames, self.table.get(before)):
                places = before
            else:
                places = self._put(frames)
            out[0][i] = places
            if nexts is None:
                continue
            if np.array_equal(nexts[i, :-1], frames[1:]):
                out[1][i, :-1], out[1][i, -1] = places[1:], self.table.put(nexts[i, -1])
            else:
                out[1][i] = self._put(nexts[i])
        if nexts is not None:
            self.last = out[1][-streams:].copy() if len(roots) >= streams else None
        return out

    def _put(self, frames: np.ndarray) -> np.ndarray:
        """Places of a stack of which nothing is stored. Frames that repeat the one before share its place."""
        places = np.empty(len(frames), np.int32)
        for i, frame in enumerate(frames):
            repeated = i and np.array_equal(frame, frames[i - 1])
            places[i] = places[i - 1] if repeated else self.table.put(frame)  # type: ignore[union-attr]
        return places

    def exchange(self, new: list[np.ndarray], old: list[np.ndarray]) -> None:
        """Counts the uses of items that were written, and those no more of items that were overwritten."""
        assert self.table is not None
        for places in new:
            self.table.hold(places)
        for places in old:
            self.table.release(places)

    def stacks(self, places: np.ndarray) -> Tensor:
        """Copies of stacks, ``[n, stack * C, H, W]``, from places ``[n, stack]``."""
        assert self.table is not None
        assert self.form is not None
        dtype, shape = self.form
        return torch.from_numpy(self.table.get(places)).view(dtype).view(len(places), *shape)

    def empty(self) -> None:
        """Forgets all frames."""
        self.last = None
        if self.table is not None:
            self.table.fill(self.table.head()[:0], np.empty(0, np.int32))

    def state_dict(self) -> dict[str, Any]:
        """The frames, in the memory of the table, and their form; empty if there are none yet."""
        if self.table is None or self.form is None:
            return {}
        dtype, shape = self.form
        memory = torch.from_numpy(self.table.head())
        return {"memory": memory, "dtype": str(dtype).split(".")[1], "shape": list(shape)}

    def load_state_dict(self, state: dict[str, Any], capacity: int, used: list[np.ndarray]) -> None:
        """Copies in frames, of which items use the places ``used``."""
        self.last = None
        if not state:
            return
        memory = state["memory"].numpy()
        self.form = (getattr(torch, state["dtype"]), tuple(state["shape"]))
        self.table = FrameTable(memory.shape[1], int(HEADROOM * capacity))
        self.table.fill(memory, np.concatenate([places.reshape(-1) for places in used]))

    def _bytes_of(self, value: Tensor, stack: int) -> np.ndarray:
        """Stacks as bytes, uint8 ``[n, stack, bytes of a frame]``."""
        shape = tuple(value.shape[1:])
        if not shape or shape[0] % stack or not prod(shape):
            raise ValueError(
                f"FrameStackStorage: expected {spelled(self.keys[0])} to have a multiple of {stack} (stack) as its "
                f"first size, found shape {list(shape)}"
            )
        if self.form is None or self.table is None:
            self.form = (value.dtype, shape)
            size = prod(shape) * value.dtype.itemsize // stack
            self.table = FrameTable(size, int(HEADROOM * self.capacity) + 2 * stack)
        if (value.dtype, shape) != self.form:
            raise ValueError(
                f"FrameStackStorage: expected {spelled(self.keys[0])} of shape {list(self.form[1])} and dtype "
                f"{self.form[0]}, as first written; found {list(shape)} and {value.dtype}"
            )
        plain = value.detach().cpu().contiguous()
        return plain.view(len(plain), -1).view(torch.uint8).numpy().reshape(len(plain), stack, self.table.size)
