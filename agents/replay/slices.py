"""What samplers of slices have in common: how long they are, and what is told of their ends."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from tensordict import NestedKey
from torch import Tensor

from agents.replay.sampler import Sampler
from agents.replay.storage import Storage
from agents.replay.trajectories import Trajectories

__all__ = ["Slices"]


class Slices(Sampler):
    """Chooses slices: neighbouring steps of one trajectory, one slice after the other in a flat batch.

    A sampler says by :meth:`_choose` which ones. The last step of a slice is marked as truncated if its trajectory goes
    on, so that nothing is learnt across slices: :class:`~agents.TensorDictReplayBuffer` sets these flags.

    Args:
        num_slices: slices in a batch, whose size is a multiple of it; or
        slice_len: steps of a slice, of which the size of a batch is a multiple.
        end_key: the flag that ends trajectories.
        traj_key: instead of it, numbers of trajectories, of which another begins where they change.
        truncated_key: the flag that marks where a slice ends; None for no marks.
        strict_length: leave out trajectories shorter than a slice. If not, slices may be shorter, and so are batches.

    Raises:
        ValueError: both or none of the first two, or a number below 1; (when sampling) the batch does not divide
            evenly, or no trajectory is long enough.
    """

    needs_order = True

    def __init__(
        self,
        *,
        num_slices: int | None = None,
        slice_len: int | None = None,
        end_key: NestedKey = ("next", "done"),
        traj_key: NestedKey | None = None,
        truncated_key: NestedKey | None = ("next", "truncated"),
        strict_length: bool = True,
    ) -> None:
        name = type(self).__name__
        if (num_slices is None) == (slice_len is None):
            raise ValueError(f"{name}: expected either num_slices or slice_len, found {num_slices} and {slice_len}")
        if (num_slices or slice_len or 0) < 1:
            raise ValueError(f"{name}: expected at least 1, found num_slices={num_slices}, slice_len={slice_len}")
        self.num_slices, self.slice_len = num_slices, slice_len
        self.end_key, self.traj_key, self.truncated_key = end_key, traj_key, truncated_key
        self.strict_length = strict_length
        self._lengths = np.zeros(0, np.int64)

    @abstractmethod
    def _choose(self, count: int, length: int, generator: torch.Generator | None) -> tuple[np.ndarray, ...]:
        """Trajectory, time of the first step, and length of each slice, int64 ``[count]``, of at most ``length``."""

    def bind(self, storage: Storage) -> None:
        """Look up the trajectories that a storage holds already."""
        self._table = Trajectories(storage, self.end_key, self.traj_key)

    def written(self, index: Tensor) -> None:
        """Look up the trajectories of new items."""
        self._table.written(index)

    def sample(self, length: int, batch_size: int, generator: torch.Generator | None = None) -> Tensor:
        """Return the indices of slices of ``batch_size`` steps in all, slice after slice."""
        given = self.num_slices or self.slice_len or 1
        if batch_size % given:
            named = "num_slices" if self.num_slices else "slice_len"
            raise ValueError(
                f"{type(self).__name__}: expected a batch_size that is a multiple of {named}={given}, "
                f"found {batch_size}"
            )
        count, steps = batch_size // given, given
        if self.num_slices:
            count, steps = steps, count
        numbers, first, lengths = self._choose(count, steps, generator)
        self._lengths = lengths
        before = lengths.cumsum() - lengths
        times = np.arange(lengths.sum()) + np.repeat(first - before, lengths)
        return torch.from_numpy(self._table.items(np.repeat(numbers, lengths), times))

    def info(self, index: Tensor) -> dict[NestedKey, Tensor]:
        """Where slices end, and their trajectories do not: bool ``[n]``, as truncated and as done."""
        if self.truncated_key is None:
            return {}
        last = torch.from_numpy(self._lengths.cumsum() - 1)
        cut = torch.zeros(len(index), dtype=torch.bool)
        cut[last] = ~self._table.storage.column(self.end_key, index[last]).cpu().reshape(-1)
        return {self.truncated_key: cut, self.end_key: cut.clone()}

    def refresh(self) -> None:
        """Nothing to forget: the table belongs to the items."""

    def state_dict(self) -> dict[str, Any]:
        """Return the table of trajectories."""
        return {"trajectories": self._table.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the table."""
        self._table.load_state_dict(state["trajectories"])

    # What the three ways of choosing share.

    def _long_enough(self, numbers: np.ndarray, length: int) -> np.ndarray:
        first, stop = self._table.spans(numbers)
        return stop - first >= (length if self.strict_length else 1)

    def _all_long_enough(self, length: int) -> np.ndarray:
        """The numbers of all trajectories that slices may be of."""
        numbers = np.arange(self._table.live, self._table.issued)
        found = numbers[self._long_enough(numbers, length)]
        if not len(found):
            raise ValueError(
                f"{type(self).__name__}: expected a trajectory of at least {length} steps, found none among "
                f"{len(numbers)}; strict_length=False takes shorter ones"
            )
        return found

    def _anywhere(
        self, numbers: np.ndarray, length: int, generator: torch.Generator | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Slices of trajectories that begin at any of their steps from which they are whole."""
        first, stop = self._table.spans(numbers)
        lengths = np.minimum(stop - first, length)
        shares = torch.rand(len(numbers), dtype=torch.float64, generator=generator).numpy()
        return numbers, first + (shares * (stop - first - lengths + 1)).astype(np.int64), lengths
