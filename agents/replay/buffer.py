"""The replay buffer: a storage and a sampler behind one face."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor

from agents.replay.list_storage import ListStorage
from agents.replay.random_sampler import RandomSampler
from agents.replay.sampler import Sampler
from agents.replay.sampler_without_replacement import SamplerWithoutReplacement
from agents.replay.storage import Storage
from envkit.transforms.compose import Compose, TransformLike

__all__ = ["ReplayBuffer"]


class ReplayBuffer:
    """Keeps past items and returns batches of them.

    Args:
        storage: where items live, ``ListStorage(1_000)`` by default.
        sampler: how items are chosen, :class:`RandomSampler` by default.
        collate_fn: makes a batch of what the storage returns: a list of items for :class:`ListStorage`, a
            TensorDict for :class:`LazyTensorStorage`. By default tensors and TensorDicts in a list are
            stacked, and anything else stays as it is.
        batch_size: how many items a sample has unless it is told otherwise.
        transform: a :class:`~envkit.Transform`, a function, or a list of those, applied to each batch before it is
            returned. The inverse of a transform is applied to what is stored, which then has to be a TensorDict (or
            several).
        generator: source of randomness of the sampler, torch's global one by default.

    Raises:
        ValueError: a transform is of use in an env only.

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> from agents.replay import LazyTensorStorage
        >>> buffer = ReplayBuffer(LazyTensorStorage(100), SamplerWithoutReplacement(), batch_size=4)
        >>> buffer.extend(TensorDict({"reward": torch.arange(10.0)}, [10]))
        tensor([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
        >>> [len(batch) for batch in buffer]
        [4, 4, 2]
        >>> plain = ReplayBuffer(collate_fn=lambda items: items)
        >>> plain.add(1)
        0
        >>> plain.sample(2)
        [1, 1]
    """

    def __init__(
        self,
        storage: Storage | None = None,
        sampler: Sampler | None = None,
        collate_fn: Callable[[Any], Any] | None = None,
        batch_size: int | None = None,
        transform: TransformLike | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        # A storage or sampler that is empty is still the one that was asked for.
        self.storage = ListStorage(1_000) if storage is None else storage
        self.sampler = RandomSampler() if sampler is None else sampler
        self.batch_size = batch_size
        self._collate = _stack if collate_fn is None else collate_fn
        self.transform = Compose()
        if transform is not None:
            self.append_transform(transform)
        self._generator = generator

    def __len__(self) -> int:
        return len(self.storage)

    def __iter__(self) -> Iterator[Any]:
        """Return batches until every item was seen once.

        Raises:
            ValueError: if there is no ``batch_size``.
            TypeError: if the sampler has no epochs.
        """
        if self.batch_size is None:
            raise ValueError("ReplayBuffer: iteration needs the batch_size of the constructor, found None")
        if not isinstance(self.sampler, SamplerWithoutReplacement):
            raise TypeError(
                "ReplayBuffer: iteration goes over one epoch, which needs a SamplerWithoutReplacement, "
                f"found {type(self.sampler).__name__}"
            )
        return self._epoch(self.sampler)

    def append_transform(self, transform: TransformLike) -> ReplayBuffer:
        """Add a transform after the others, and return the buffer.

        Raises:
            ValueError: it is of use in an env only.
        """
        chain = Compose(transform)
        for each in chain:
            if each.env_only:
                raise ValueError(f"ReplayBuffer: {each.env_only}")
        self.transform.append(chain)
        return self

    def add(self, item: Any) -> int:
        """Store one item and return its index."""
        index = self.storage.add(self._inverted(item))
        self.sampler.refresh()
        return index

    def extend(self, items: Any) -> Tensor:
        """Store several items, the rows of a TensorDict or the elements of an iterable.

        Returns:
            Indices of the items kept, int64: the last ``max_size`` of them where there are more.
        """
        if not isinstance(items, TensorDictBase) and self.transform.invertible:
            items = [self._inverted(item) for item in items]
        else:
            items = self._inverted(items)
        index = self.storage.extend(items)
        self.sampler.refresh()
        return index

    def sample(self, batch_size: int | None = None, return_info: bool = False) -> Any:
        """Return a batch, or with ``return_info`` the batch and ``{"index": indices}``.

        Raises:
            ValueError: if there is no batch size, here or in the constructor.
            IndexError: if the buffer is empty.
        """
        size = self.batch_size if batch_size is None else batch_size
        if size is None or size < 1:
            raise ValueError(f"ReplayBuffer.sample: expected a batch_size of at least 1, found {size}")
        length = len(self.storage)
        if not length:
            raise IndexError("ReplayBuffer.sample: the buffer is empty")
        index = self.sampler.sample(length, size, self._generator)
        batch = self._collate(self.storage.get(index))
        batch = self.transform(batch)
        return (batch, {"index": index}) if return_info else batch

    def empty(self) -> None:
        """Drop all items."""
        self.storage.empty()
        self.sampler.refresh()

    def state_dict(self) -> dict[str, Any]:
        """Return storage, sampler, transforms and generator, nested; tensors share the memory of the buffer."""
        state: dict[str, Any] = {"storage": self.storage.state_dict(), "sampler": self.sampler.state_dict()}
        if transforms := self.transform.state_dict():
            state["transform"] = transforms
        if self._generator is not None:
            state["generator"] = self._generator.get_state()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned: the same samples follow."""
        self.storage.load_state_dict(state["storage"])
        self.sampler.load_state_dict(state["sampler"])
        self.transform.load_state_dict(state.get("transform", {}))
        if self._generator is not None:
            self._generator.set_state(state["generator"])

    def _inverted(self, item: Any) -> Any:
        """What is stored of an item."""
        if not self.transform.invertible:
            return item
        if not isinstance(item, TensorDictBase):
            raise TypeError(
                f"ReplayBuffer: expected a TensorDict, to invert its transforms, found {type(item).__name__}"
            )
        return self.transform.inv(item)

    def _epoch(self, sampler: SamplerWithoutReplacement) -> Iterator[Any]:
        sampler.refresh()
        yield self.sample()
        while not sampler.epoch_ended:
            yield self.sample()


def _stack(items: Any) -> Any:
    if isinstance(items, list) and isinstance(items[0], Tensor | TensorDictBase):
        return torch.stack(items)
    return items
