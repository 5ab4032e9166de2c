"""Storage for stacks of images, of which each image is kept once."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase
from torch import Tensor

from agents.replay.frame_stacks import FrameStacks
from agents.replay.lazy_tensor_storage import LazyTensorStorage
from agents.replay.row_layout import spelled
from agents.replay.storage import Storage
from envkit.core.plan import path_of
from envkit.transforms.keys import Keys, listed

__all__ = ["FrameStackStorage"]

CHUNK = 256  # steps: frames of items that are overwritten are free again after so many


class FrameStackStorage(Storage):
    """Steps in memory whose observations are stacks of the last frames, as :class:`~envkit.CatFrames` makes them.

    A step's stack and that of its next observation have all frames but one in common, and the next observation is where
    the step after begins. Each frame is stored once and items say where theirs are, so that what :meth:`get` returns
    is what was written, bit for bit: at the end of an episode, too, whose last observation is that of no other step.
    That takes little more than one frame an item. What stacks have in common is found by comparing them, whatever is
    flagged; stacks of other frames are stored as well, and take more.

    Args:
        max_size: capacity in items.
        stack: frames in a stack, joined along the first dimension of an entry: ``[stack * C, H, W]``.
        keys: entries that are stacks, at the root and under ``"next"``; ``["pixels"]`` by default.
        ndim: 1 for data ``[items]``, each the step after the one before; 2 for ``[sequences, time]``, such as that of a
            batch of envs.

    Raises:
        ValueError: (on a write) keys, shapes or dtypes differ from the first data's, or an entry is no such stack.
        TypeError: (on a write) something else than a TensorDict.

    References:
        Mnih et al., "Human-level control through deep reinforcement learning", Nature 518, 2015 (the replay memory).

    Example:
        >>> from tensordict import TensorDict
        >>> film = torch.arange(8, dtype=torch.uint8).view(8, 1, 1)
        >>> stacks = torch.stack([film[t : t + 4] for t in range(5)])
        >>> storage = FrameStackStorage(100)
        >>> _ = storage.extend(TensorDict({"pixels": stacks[:-1], "next": {"pixels": stacks[1:]}}, [4]))
        >>> storage.get(torch.tensor([2]))["next", "pixels"].flatten().tolist(), storage.frames
        ([3, 4, 5, 6], 8)
    """

    def __init__(self, max_size: int, stack: int = 4, keys: Keys = None, ndim: int = 1) -> None:
        super().__init__(max_size)
        if stack < 2:
            raise ValueError(f"FrameStackStorage: stack: expected at least 2, found {stack}")
        self.stack = stack
        roots = [path_of(key) for key in (["pixels"] if keys is None else listed(keys))]
        self._kinds = [FrameStacks(root) for root in roots]
        self._items = LazyTensorStorage(max_size, ndim=ndim)

    def __len__(self) -> int:
        return len(self._items)

    @property
    def frames(self) -> int:
        """How many frames are stored."""
        return sum(kind.table.used for kind in self._kinds if kind.table is not None)

    def add(self, item: TensorDictBase) -> int:
        """Write one item in turn and return its index."""
        return int(self.extend(self._checked(item).unsqueeze(0))[0])

    def extend(self, items: TensorDictBase) -> Tensor:
        """Write items in turn, along the first ``ndim`` dimensions, and return the indices of those kept."""
        dim = self._items.ndim - 1
        if self._checked(items).ndim <= dim:
            raise ValueError(
                f"FrameStackStorage.extend: expected {dim + 1} dimensions of items, found batch_size "
                f"{list(items.batch_size)}; use add for single items"
            )
        streams = items.batch_size[0] if dim else 1
        steps = max(1, min(CHUNK, self.max_size // max(1, streams)))
        indices = [self._extend(part, streams) for part in items.split(steps, dim) if part.batch_size.numel()]
        index = torch.cat([torch.empty(0, dtype=torch.int64), *indices])
        return index[-self.max_size :]

    def _extend(self, items: TensorDictBase, streams: int) -> Tensor:
        places, old = {}, {}
        placed = items.copy()
        first = self.count % max(1, self.max_size - self.max_size % streams)
        size = len(items) if items.ndim == 1 or streams == 1 else items.batch_size[:2].numel()
        index = (first + torch.arange(size)) % max(1, self.max_size - self.max_size % streams)
        index = index[index < len(self)]
        lead = self._items.ndim
        for kind in self._kinds:
            there = [key for key in kind.keys if items.get(key, None) is not None]
            places[kind] = kind.place([_in_time(items[key], lead) for key in there], streams, self.stack)
            for key, found in zip(there, places[kind], strict=True):
                value = torch.from_numpy(found)
                placed.set(key, value if lead == 1 else value.view(-1, streams, self.stack).transpose(0, 1))
            old[kind] = [self._items.column(key, index).numpy() for key in there] if len(index) else []
        try:
            written = self._items.extend(placed)
        except ValueError:
            for kind in self._kinds:
                kind.last = None
                kind.exchange(places[kind], places[kind])
            raise
        for kind in self._kinds:
            kind.exchange(places[kind], old[kind])
        self._count()
        return written

    def set(self, index: int, item: TensorDictBase) -> None:
        """Write one item to a place that is held already, or to the first one that is not."""
        placed = self._checked(item).copy()
        exchanged = []
        where = torch.tensor([index])
        for kind in self._kinds:
            there = [key for key in kind.keys if item.get(key, None) is not None]
            kind.last = None
            places = kind.place([item[key].unsqueeze(0) for key in there], 1, self.stack)
            for key, found in zip(there, places, strict=True):
                placed.set(key, torch.from_numpy(found[0]))
            old = [self._items.column(key, where).numpy() for key in there] if index < len(self) else []
            exchanged.append((kind, places, old))
            kind.last = None
        self._items.set(index, placed)
        for kind, places, old in exchanged:
            kind.exchange(places, old)
        self._count()

    def get(self, index: Tensor) -> TensorDictBase:
        """Return copies of the items at ``index``, stacks and all, in a TensorDict of batch size ``[n]``."""
        items = self._items.get(index)
        for kind in self._kinds:
            for key in kind.keys:
                places = items.get(key, None)
                if places is not None:
                    items.set(key, kind.stacks(places.numpy()))
        return items

    def column(self, key: NestedKey, index: Tensor) -> Tensor:
        """Return the entry ``key`` of the items at ``index``, ``[n, *entry]``."""
        value = self._items.column(key, index)
        for kind in self._kinds:
            if path_of(key) in kind.keys:
                return kind.stacks(value.numpy())
        return value

    def empty(self) -> None:
        """Drop all items and frames; memory and layout stay."""
        self._items.empty()
        for kind in self._kinds:
            kind.empty()
        self._count()

    def state_dict(self) -> dict[str, Any]:
        """Return items and frames, in the memory of the storage."""
        return {
            "items": self._items.state_dict(),
            "frames": [kind.state_dict() for kind in self._kinds],
            "stack": self.stack,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Copy in items and frames.

        Raises:
            ValueError: size, layout or stacks differ.
        """
        if state["stack"] != self.stack or len(state["frames"]) != len(self._kinds):
            raise ValueError(
                f"FrameStackStorage: expected a state of {len(self._kinds)} entries of stacks of {self.stack}, found "
                f"{len(state['frames'])} of {state['stack']}"
            )
        self._items.load_state_dict(state["items"])
        self._count()
        every = torch.arange(len(self))
        newest = (self.count - self.streams + torch.arange(self.streams)) % self.max_size
        for kind, each in zip(self._kinds, state["frames"], strict=True):
            there = [key for key in kind.keys if self._has(key)]
            used = [self._items.column(key, every).numpy() for key in there]
            kind.load_state_dict(each, self.max_size, used)
            if len(self) and kind.keys[1] in there:
                kind.last = self._items.column(kind.keys[1], newest).numpy()

    def _has(self, key: tuple[str, ...]) -> bool:
        layout = self._items.layout
        return layout is not None and any(field.key == key for field in layout.fields)

    def _count(self) -> None:
        self.max_size, self.count, self.streams = self._items.max_size, self._items.count, self._items.streams
        for kind in self._kinds:
            kind.capacity = self.max_size

    def _checked(self, items: Any) -> TensorDictBase:
        if not isinstance(items, TensorDictBase):
            raise TypeError(f"FrameStackStorage: expected a TensorDict, found {type(items).__name__}")
        for kind in self._kinds:
            kind.capacity = self.max_size
            if items.get(kind.keys[0], None) is None:
                raise KeyError(
                    f"FrameStackStorage: expected an entry {spelled(kind.keys[0])}, found {list(items.keys())}"
                )
        return items


def _in_time(value: Tensor, dims: int) -> Tensor:
    """Items in the order of time, ``[n, *entry]``, of ``[items, *entry]`` or ``[sequences, time, *entry]``."""
    return value if dims == 1 else value.transpose(0, 1).flatten(0, 1)
