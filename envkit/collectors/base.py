"""What collectors have in common, wherever they collect."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tensordict import TensorDictBase

from envkit.collectors.options import CollectorOptions
from envkit.collectors.split import split_trajectories

if TYPE_CHECKING:
    from typing import Self

__all__ = ["CollectorBase"]


class CollectorBase(ABC):
    """An iterator over batches of steps.

    Attributes:
        options: the options.
        frames: how many steps were collected.
        postproc: the option of that name, which may be changed.

    Raises:
        TypeError: both ``policy`` and ``policy_factory``.
    """

    def __init__(self, options: CollectorOptions, policy: Any = None, policy_factory: Any = None) -> None:
        if policy is not None and policy_factory is not None:
            raise TypeError("policy and policy_factory: expected at most one of them")
        self.options = options
        self.postproc = options.postproc
        self.frames = 0
        self._same: TensorDictBase | None = None

    @property
    def frames_per_batch(self) -> int:
        """Steps per batch."""
        return self.options.frames_per_batch

    @property
    def total_frames(self) -> int:
        """Steps in all; -1 never ends."""
        return self.options.total_frames

    def __len__(self) -> int:
        """The number of batches from the first one on.

        Raises:
            TypeError: there is no end to them.
        """
        if self.options.batches is None:
            raise TypeError("a collector with total_frames=-1 has no end, and no length")
        return self.options.batches

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[TensorDictBase | Any]:
        while self.total_frames == -1 or self.frames < self.total_frames:
            yield self.next()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()

    @abstractmethod
    def next(self) -> TensorDictBase | Any:
        """The next batch, whether ``total_frames`` are reached or not; None if it went to a replay buffer."""

    @abstractmethod
    def update_policy_weights_(self, policy_weights: Any = None) -> None:
        """Gives the policy that collects new weights, by default those that :attr:`policy` has now."""

    @abstractmethod
    def shutdown(self) -> None:
        """Closes the envs."""

    def _hand_over(self, batch: TensorDictBase) -> TensorDictBase | None:
        """Does to a batch what the options say, once it is whole."""
        options, device = self.options, self.options.device_of("storing")
        if device is not None:
            batch = batch.to(device)
        if options.return_same_td:
            if self._same is None:
                self._same = batch
            else:
                batch = self._same.update(batch, inplace=True)
        if options.split_trajs:
            batch = split_trajectories(batch, prefix="collector")
        if self.postproc is not None:
            batch = self.postproc(batch)
        if options.replay_buffer is None:
            return batch
        options.replay_buffer.extend(batch if options.extend_buffer else batch.transpose(0, -1).reshape(-1))
        return None
