"""Replay buffers with priorities."""

from __future__ import annotations

from typing import Any, Literal

from tensordict import NestedKey

from agents.replay.buffer import ReplayBuffer
from agents.replay.list_storage import ListStorage
from agents.replay.prioritized_sampler import PrioritizedSampler
from agents.replay.storage import Storage
from agents.replay.tensordict_buffer import TensorDictReplayBuffer

__all__ = ["PrioritizedReplayBuffer", "TensorDictPrioritizedReplayBuffer"]

Reduction = Literal["max", "min", "mean", "median"]


class PrioritizedReplayBuffer(ReplayBuffer):
    """A :class:`~agents.ReplayBuffer` with a :class:`~agents.PrioritizedSampler`.

    Args:
        storage: where items live, or the size of a :class:`~agents.ListStorage`; of 1,000 by default.
        alpha, beta, eps, reduction: those of the sampler.
        **options: those of :class:`~agents.ReplayBuffer`.

    Example:
        >>> buffer = PrioritizedReplayBuffer(100, alpha=0.7, beta=1.1, collate_fn=lambda items: items)
        >>> buffer.add(1)
        0
        >>> buffer.sample(1)
        [1]
        >>> buffer.update_priority(0, 0.5)
    """

    def __init__(
        self,
        storage: Storage | int | None = None,
        *,
        alpha: float,
        beta: float,
        eps: float = 1e-8,
        reduction: Reduction = "max",
        **options: Any,
    ) -> None:
        storage, sampler = _parts(storage, alpha, beta, eps, reduction)
        super().__init__(storage, sampler, **options)


class TensorDictPrioritizedReplayBuffer(TensorDictReplayBuffer):
    """A :class:`~agents.TensorDictReplayBuffer` with a :class:`~agents.PrioritizedSampler`.

    Args:
        storage: where items live, or the size of a :class:`~agents.ListStorage`; of 1,000 by default.
        alpha, beta, eps, reduction: those of the sampler.
        priority_key: where :meth:`update_tensordict_priority` finds priorities.
        **options: those of :class:`~agents.ReplayBuffer`.

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> from agents.replay import LazyTensorStorage
        >>> buffer = TensorDictPrioritizedReplayBuffer(LazyTensorStorage(10), alpha=0.7, beta=0.5, batch_size=2)
        >>> _ = buffer.extend(TensorDict({"a": torch.arange(5)}, [5]))
        >>> batch = buffer.sample()
        >>> sorted(batch.keys())
        ['_weight', 'a', 'index']
        >>> batch["td_error"] = torch.rand(2)
        >>> buffer.update_tensordict_priority(batch)
    """

    def __init__(
        self,
        storage: Storage | int | None = None,
        *,
        alpha: float,
        beta: float,
        eps: float = 1e-8,
        reduction: Reduction = "max",
        priority_key: NestedKey = "td_error",
        **options: Any,
    ) -> None:
        storage, sampler = _parts(storage, alpha, beta, eps, reduction)
        super().__init__(storage, sampler, priority_key=priority_key, **options)


def _parts(
    storage: Storage | int | None, alpha: float, beta: float, eps: float, reduction: Reduction
) -> tuple[Storage, PrioritizedSampler]:
    if not isinstance(storage, Storage):
        storage = ListStorage(1_000 if storage is None else storage)
    return storage, PrioritizedSampler(storage.max_size, alpha, beta, eps, reduction)
