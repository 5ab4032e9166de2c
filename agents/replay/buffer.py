"""The replay buffer: a storage, a writer and a sampler behind one face."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from os import PathLike
from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase
from torch import Tensor

from agents.replay.dump import dump_state, load_state
from agents.replay.list_storage import ListStorage
from agents.replay.multi_step import MultiStep
from agents.replay.prefetcher import Prefetcher
from agents.replay.random_sampler import RandomSampler
from agents.replay.round_robin_writer import RoundRobinWriter
from agents.replay.sampler import Sampler
from agents.replay.storage import Storage
from agents.replay.writer import Writer
from envkit.transforms.compose import Compose, TransformLike

__all__ = ["ReplayBuffer"]

Info = dict[NestedKey, Tensor]


class ReplayBuffer:
    """Keeps past items and returns batches of them.

    Args:
        storage: where items live, ``ListStorage(1_000)`` by default; a number is the size of a :class:`ListStorage`.
        sampler: how items are chosen, :class:`RandomSampler` by default.
        writer: where items go, :class:`RoundRobinWriter` by default.
        collate_fn: makes a batch of what the storage returns: a list of items for :class:`ListStorage`, a
            TensorDict for :class:`LazyTensorStorage`. By default tensors and TensorDicts in a list are
            stacked, and anything else stays as it is.
        batch_size: how many items a sample has unless it is told otherwise.
        transform: a :class:`~envkit.Transform`, a function, or a list of those, applied to each batch before it is
            returned. The inverse of a transform is applied to what is stored, which then has to be a TensorDict (or
            several).
        multi_step: makes transitions of several steps of the single ones that are stored, as they are sampled.
        prefetch: how many batches are read ahead of time by a thread. Their items are chosen ahead, too: they do not
            know of what is written, or what priorities change, in between. Transforms run when a batch is returned.
        generator: source of randomness of the sampler, torch's global one by default.

    Raises:
        ValueError: a transform is of use in an env only; neighbours are needed that the writer does not keep together.

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> from agents.replay import LazyTensorStorage, SamplerWithoutReplacement
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
        storage: Storage | int | None = None,
        sampler: Sampler | None = None,
        writer: Writer | None = None,
        collate_fn: Callable[[Any], Any] | None = None,
        batch_size: int | None = None,
        transform: TransformLike | None = None,
        multi_step: MultiStep | None = None,
        prefetch: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        if prefetch < 0:
            raise ValueError(f"ReplayBuffer: prefetch: expected at least 0, found {prefetch}")
        if storage is None or isinstance(storage, int):
            storage = ListStorage(1_000 if storage is None else storage)
        self.multi_step = multi_step
        self._ahead = Prefetcher(prefetch, self._read) if prefetch else None
        writer = RoundRobinWriter() if writer is None else writer
        self._check_known(storage, writer)
        self._connect(storage, RandomSampler() if sampler is None else sampler, writer)
        self.batch_size = batch_size
        self._collate = _stack if collate_fn is None else collate_fn
        self.transform = Compose()
        if transform is not None:
            self.append_transform(transform)
        self._generator = generator

    # ------------------------------------------------------------------- parts

    def _connect(self, storage: Storage, sampler: Sampler, writer: Writer) -> None:
        for needs, part in ((sampler.needs_order, sampler), (self.multi_step is not None, self.multi_step)):
            if needs and not writer.in_turn:
                raise ValueError(
                    f"{type(self).__name__}: {type(part).__name__} expects a writer that keeps sequences together, "
                    f"found {type(writer).__name__}"
                )
        sampler.bind(storage)
        self.storage, self.sampler, self.writer = storage, sampler, writer

    def _check_known(self, storage: Storage, writer: Writer) -> None:
        if len(storage) and not writer.in_turn:
            raise ValueError(
                f"{type(self).__name__}: {type(writer).__name__} expects an empty storage, found {len(storage)} items"
            )

    def set_storage(self, storage: Storage) -> None:
        """Go on with the items of another storage.

        Raises:
            ValueError: there are some already, and the writer has to know each of them.
        """
        self._check_known(storage, self.writer)
        self.writer.empty()
        self._connect(storage, self.sampler, self.writer)
        self._drop_ahead()

    def set_sampler(self, sampler: Sampler) -> None:
        """Choose in another way from now on."""
        self._connect(self.storage, sampler, self.writer)
        self._drop_ahead()

    def set_writer(self, writer: Writer) -> None:
        """Write in another way from now on.

        Raises:
            ValueError: there are items already, of which it knows nothing.
        """
        if len(self.storage):
            raise ValueError(
                f"{type(self).__name__}.set_writer: expected an empty buffer, found {len(self.storage)} items"
            )
        self._connect(self.storage, self.sampler, writer)

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

    # ------------------------------------------------------------------ writes

    def add(self, item: Any) -> int | None:
        """Store one item and return its index; None if the writer does not keep it."""
        item = self._inverted(item)
        self._settle()
        index = self.writer.add(self.storage, item)
        if index is not None:
            self.sampler.written(torch.tensor([index]))
        return index

    def extend(self, items: Any) -> Tensor:
        """Store several items, the rows of a TensorDict or the elements of an iterable.

        Returns:
            Indices of the items kept, int64: the last ``max_size`` of them where there are more.
        """
        if self._transforms:
            if isinstance(items, TensorDictBase) or not self.transform.invertible:
                items = self._inverted(items)
            else:
                items = [self._inverted(item) for item in items]
        self._settle()
        index = self.writer.extend(self.storage, items)
        self.sampler.written(index)
        return index

    def update_priority(self, index: int | Tensor | Iterable[int], priority: float | Tensor) -> None:
        """Tell a sampler of priorities how much the items at ``index`` matter, ``[n]``.

        Raises:
            TypeError: the sampler has no priorities.
        """
        update = getattr(self.sampler, "update_priority", None)
        if update is None:
            raise TypeError(
                f"{type(self).__name__}.update_priority: expected a sampler of priorities, such as PrioritizedSampler, "
                f"found {type(self.sampler).__name__}"
            )
        update(index, priority)

    def empty(self) -> None:
        """Drop all items."""
        self._drop_ahead()
        self.storage.empty()
        self.writer.empty()
        self.sampler.bind(self.storage)
        self.sampler.refresh()

    # ------------------------------------------------------------------- reads

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
        if self.sampler.epoch_ended is None:
            raise TypeError(
                "ReplayBuffer: iteration goes over one epoch, which needs a SamplerWithoutReplacement, "
                f"found {type(self.sampler).__name__}"
            )
        return self._epoch()

    def sample(self, batch_size: int | None = None, return_info: bool = False) -> Any:
        """Return a batch, or with ``return_info`` the batch, ``{"index": indices}`` and what the sampler tells of them.

        Raises:
            ValueError: if there is no batch size, here or in the constructor.
            IndexError: if the buffer is empty.
        """
        size = self.batch_size if batch_size is None else batch_size
        if size is None or size < 1:
            raise ValueError(f"ReplayBuffer.sample: expected a batch_size of at least 1, found {size}")
        if not len(self.storage):
            raise IndexError("ReplayBuffer.sample: the buffer is empty")
        if self._ahead is None:
            batch, index, info = self._now(size)
        else:
            batch, index, info = self._ahead.next(size, self._choose)
        batch = self._finished(batch, index, info)
        return (batch, {"index": index, **info}) if return_info else batch

    def _choose(self, size: int) -> tuple[Tensor, Info]:
        index = self.sampler.sample(len(self.storage), size, self._generator)
        return index, self.sampler.info(index)

    def _read(self, index: Tensor) -> Any:
        items = self.storage.get(index) if self.multi_step is None else self.multi_step.read(self.storage, index)
        return self._collate(items)

    def _now(self, size: int) -> tuple[Any, Tensor, Info]:
        index, info = self._choose(size)
        return self._read(index), index, info

    def _finished(self, batch: Any, index: Tensor, info: Info) -> Any:
        """What is returned of a batch that was read."""
        return self.transform(batch) if self._transforms else batch

    # ------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """Return storage, writer, sampler, transforms and generator, nested; tensors share the memory of the buffer."""
        state: dict[str, Any] = {
            "storage": self.storage.state_dict(),
            "writer": self.writer.state_dict(),
            "sampler": self.sampler.state_dict(),
        }
        if transforms := self.transform.state_dict():
            state["transform"] = transforms
        if self._generator is not None:
            state["generator"] = self._generator.get_state()
        if self._ahead is not None:
            state["ahead"] = self._ahead.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned: the same samples follow."""
        self._drop_ahead()
        self.storage.load_state_dict(state["storage"])
        self.writer.load_state_dict(state["writer"])
        self.sampler.bind(self.storage)
        self.sampler.load_state_dict(state["sampler"])
        self.transform.load_state_dict(state.get("transform", {}))
        if self._generator is not None:
            self._generator.set_state(state["generator"])
        if self._ahead is not None:
            self._ahead.load_state_dict(state.get("ahead", []))

    def dumps(self, path: str | PathLike) -> None:
        """Write the state to a folder, of tensors and JSON.

        What was there before stays until the new state is on disk as a whole: a process that is killed on the way
        leaves one or the other.

        Raises:
            TypeError: items are neither tensors, TensorDicts nor plain data.
        """
        dump_state(path, self.state_dict())

    def loads(self, path: str | PathLike) -> None:
        """Take over what :meth:`dumps` wrote, by a buffer of the same parts. Runs no code that it finds there.

        Raises:
            FileNotFoundError: nothing was written there.
            envkit.errors.CheckpointError: it is damaged.
            ValueError: it does not fit this buffer.
        """
        self.load_state_dict(load_state(path))

    # ---------------------------------------------------------------- internal

    def _inverted(self, item: Any) -> Any:
        """What is stored of an item."""
        if not (self._transforms and self.transform.invertible):
            return item
        if not isinstance(item, TensorDictBase):
            raise TypeError(
                f"ReplayBuffer: expected a TensorDict, to invert its transforms, found {type(item).__name__}"
            )
        return self.transform.inv(item)

    def _epoch(self) -> Iterator[Any]:
        self._drop_ahead()
        self.sampler.refresh()
        size = self.batch_size or 1
        yield self._finished(*self._now(size))
        while not self.sampler.epoch_ended:
            yield self._finished(*self._now(size))

    @property
    def _transforms(self) -> Any:
        # Attributes of modules are slow to look up, and this is asked at each step.
        return self.transform._modules["transforms"]._modules  # type: ignore[union-attr]

    def _settle(self) -> None:
        if self._ahead is not None:
            self._ahead.settle()

    def _drop_ahead(self) -> None:
        if self._ahead is not None:
            self._ahead.clear()


def _stack(items: Any) -> Any:
    if isinstance(items, list) and isinstance(items[0], Tensor | TensorDictBase):
        return torch.stack(items)
    return items
