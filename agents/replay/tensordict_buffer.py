"""Replay buffers whose samples say where they come from."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase
from torch import Tensor

from agents.replay.buffer import Info, ReplayBuffer
from envkit.storage.carrier import put

__all__ = ["TensorDictReplayBuffer"]


class TensorDictReplayBuffer(ReplayBuffer):
    """A :class:`~agents.ReplayBuffer` of TensorDicts, whose samples hold ``"index"`` and what the sampler tells.

    A flag that the sampler sets (the end of a slice) is set beside those that were stored, not in their place.

    Args:
        priority_key: where :meth:`update_tensordict_priority` finds priorities, in ``[n, *more]``.
        **options: those of :class:`~agents.ReplayBuffer`.

    Raises:
        TypeError: (on a sample) items are no TensorDicts.

    Example:
        >>> from tensordict import TensorDict
        >>> from agents.replay import LazyTensorStorage
        >>> buffer = TensorDictReplayBuffer(LazyTensorStorage(10), batch_size=3)
        >>> _ = buffer.extend(TensorDict({"a": torch.arange(5)}, [5]))
        >>> batch = buffer.sample()
        >>> torch.equal(batch["a"], batch["index"])
        True
    """

    def __init__(self, *args: Any, priority_key: NestedKey = "td_error", **options: Any) -> None:
        super().__init__(*args, **options)
        self.priority_key = priority_key

    def add(self, item: TensorDictBase) -> int | None:
        """Store one item and return its index; None if the writer does not keep it."""
        index = super().add(item)
        if index is not None and self._has_priority(item):
            self.update_priority(index, item[self.priority_key].reshape(1, -1))
        return index

    def extend(self, items: Any) -> Tensor:
        """Store the rows of a TensorDict, with the priorities that stand there, if any.

        Returns:
            Indices of the items kept, int64.
        """
        index = super().extend(items)
        if self._has_priority(items) and len(index):
            if not self.writer.in_turn or items.ndim != 1 or len(items) != len(index):
                raise ValueError(
                    f"{type(self).__name__}.extend: {self.priority_key!r}: expected one priority for each item kept, "
                    f"found items {list(items.batch_size)} of which {len(index)} are"
                )
            self.update_priority(index, items[self.priority_key])
        return index

    def update_tensordict_priority(self, tensordict: TensorDictBase) -> None:
        """Change the priorities of the items of a sample, to what stands in it under ``priority_key``.

        Raises:
            KeyError: it has no priorities, or no ``"index"``.
            TypeError: the sampler has no priorities.
        """
        self.update_priority(tensordict["index"], tensordict[self.priority_key])

    def _has_priority(self, items: Any) -> bool:
        return (
            hasattr(self.sampler, "update_priority")
            and isinstance(items, TensorDictBase)
            and items.get(self.priority_key, None) is not None
        )

    def _finished(self, batch: Any, index: Tensor, info: Info) -> Any:
        if not isinstance(batch, TensorDictBase):
            raise TypeError(f"{type(self).__name__}: expected TensorDicts, found {type(batch).__name__}")
        put(batch, "index", index)
        for key, value in info.items():
            there = batch.get(key, None) if value.dtype is torch.bool else None
            put(batch, key, value if there is None else there | value.reshape(there.shape))
        return super()._finished(batch, index, info)
