"""Where the trajectories lie that a storage holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from tensordict import NestedKey
from torch import Tensor

from agents.replay.storage import Storage

__all__ = ["Trajectories"]


class Trajectories:
    """A table of the trajectories in a storage, kept as it is written, at a cost that grows with what is written alone.

    Trajectories are numbered as they begin. Steps are counted by time: that of item ``i`` is its turn, divided by the
    number of sequences that are stored side by side. What is overwritten is cut off, and a trajectory that is longer
    than the storage is continued under another number.

    Args:
        storage: where the items are.
        end_key: the flag of a step that ends a trajectory, one for each step.
        traj_key: instead of it, numbers of trajectories: where they change, another one begins.
    """

    def __init__(self, storage: Storage, end_key: NestedKey, traj_key: NestedKey | None) -> None:
        self.storage, self.end_key, self.traj_key = storage, end_key, traj_key
        self.live = self.issued = 0
        """The numbers of trajectories of which something is held are among ``range(live, issued)``."""
        self._first, self._stop, self._stream = (np.zeros(1024, np.int64) for _ in range(3))
        self._numbers = np.zeros(storage.max_size, np.int64)
        self._current, self._ended = np.zeros(0, np.int64), np.zeros(0, bool)
        self._last_id: np.ndarray | None = None
        self._seen = 0
        if len(storage):
            first = storage.count - len(storage)
            self.written(torch.arange(first, storage.count) % storage.max_size)

    @property
    def oldest(self) -> int:
        """The time of the oldest step held."""
        return (self.storage.count - len(self.storage)) // self.storage.streams

    def spans(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The first time of what is held of trajectories, and the one after the last; equal where that is nothing."""
        places = numbers & (len(self._first) - 1)
        stop = self._stop[places]
        return np.minimum(np.maximum(self._first[places], self.oldest), stop), stop

    def of(self, index: np.ndarray) -> np.ndarray:
        """The numbers of the trajectories of items, int64 ``[n]``."""
        return self._numbers[index]

    def times(self, index: np.ndarray) -> np.ndarray:
        """The times of items, int64 ``[n]``."""
        last = self.storage.count - 1
        return (last - (last - index) % self.storage.max_size) // self.storage.streams

    def items(self, numbers: np.ndarray, times: np.ndarray) -> np.ndarray:
        """The indices of the items of trajectories at some times."""
        stream = self._stream[numbers & (len(self._first) - 1)]
        return (times * self.storage.streams + stream) % self.storage.max_size

    def written(self, index: Tensor) -> None:
        """Take note of items just written, in the order of time."""
        streams, count = self.storage.streams, self.storage.count
        steps = len(index) // streams
        if not steps:
            return
        if len(self._current) != streams or count - len(index) != self._seen:
            self._begin_anew(streams)
        now = count // streams - steps
        begins, ends = self._bounds(index, steps, streams)
        # Numbers are kept for as long as the first step of their trajectory may matter.
        capacity = self.storage.max_size // streams
        begins[0] |= now - self._first[self._current & (len(self._first) - 1)] >= capacity
        fresh = begins.reshape(-1).cumsum() - 1 + self.issued
        numbers = np.where(begins, fresh.reshape(begins.shape), -1)
        numbers[0] = np.where(begins[0], numbers[0], self._current)
        numbers = np.maximum.accumulate(numbers, 0)
        self.issued = int(fresh[-1]) + 1
        self._make_room()
        mask = len(self._first) - 1
        time, stream = np.nonzero(begins)
        self._first[numbers[time, stream] & mask] = time + now
        self._stream[numbers[time, stream] & mask] = stream
        # Later steps come later here, so that the last assignment counts.
        self._stop[numbers.reshape(-1) & mask] = np.repeat(np.arange(now + 1, now + 1 + steps), streams)
        self._numbers[index.numpy()] = numbers.reshape(-1)
        self._current, self._ended, self._seen = numbers[-1], ends, count
        oldest = self.oldest
        while self.live < self.issued and self._stop[self.live & mask] <= oldest:
            self.live += 1

    def _begin_anew(self, streams: int) -> None:
        self._current = np.full(streams, -1)
        self._ended = np.ones(streams, bool)
        self._last_id = None

    def _bounds(self, index: Tensor, steps: int, streams: int) -> tuple[np.ndarray, np.ndarray]:
        """Whether a trajectory begins with each step, ``[steps, streams]``, and ends with the last, ``[streams]``."""
        begins = np.empty((steps, streams), bool)
        begins[0] = self._ended
        if self.traj_key is None:
            done = self._column(self.end_key, index, steps, streams).astype(bool)
            begins[1:] = done[:-1]
            return begins, done[-1]
        ids = self._column(self.traj_key, index, steps, streams)
        if self._last_id is not None:
            begins[0] |= ids[0] != self._last_id
        begins[1:] = ids[1:] != ids[:-1]
        self._last_id = ids[-1]
        return begins, np.zeros(streams, bool)

    def _column(self, key: NestedKey, index: Tensor, steps: int, streams: int) -> np.ndarray:
        value = self.storage.column(key, index).cpu()
        if value.numel() != len(index):
            raise ValueError(
                f"{key!r}: expected one value for each step, found shape {list(value.shape[1:])} for a step; name the "
                f"one that tells trajectories apart"
            )
        return value.reshape(steps, streams).numpy()

    def _make_room(self) -> None:
        size = len(self._first)
        if self.issued - self.live <= size:
            return
        while size < self.issued - self.live:
            size *= 2
        numbers = np.arange(self.live, min(self.issued, self.live + len(self._first)))
        for name in ("_first", "_stop", "_stream"):
            old = getattr(self, name)
            new = np.zeros(size, np.int64)
            new[numbers & (size - 1)] = old[numbers & (len(old) - 1)]
            setattr(self, name, new)

    def state_dict(self) -> dict[str, Any]:
        """The table; tensors may share its memory."""
        numbers = np.arange(self.live, self.issued) & (len(self._first) - 1)
        table = {name: getattr(self, f"_{name}")[numbers] for name in ("first", "stop", "stream")}
        table |= {"numbers": self._numbers[: len(self.storage)], "current": self._current, "ended": self._ended}
        if self._last_id is not None:
            table["last_id"] = self._last_id
        state: dict[str, Any] = {name: torch.from_numpy(value) for name, value in table.items()}
        return state | {"live": self.live, "issued": self.issued, "seen": self._seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over a table, of the items that the storage holds.

        Raises:
            ValueError: it is of more or fewer items.
        """
        if len(state["numbers"]) != len(self.storage):
            raise ValueError(
                f"trajectories: expected a state of {len(self.storage)} items, found {len(state['numbers'])}"
            )
        self.live, self.issued, self._seen = state["live"], state["issued"], state["seen"]
        self._make_room()
        numbers = np.arange(self.live, self.issued) & (len(self._first) - 1)
        for name in ("first", "stop", "stream"):
            getattr(self, f"_{name}")[numbers] = state[name].numpy()
        self._numbers[: len(self.storage)] = state["numbers"].numpy()
        self._current, self._ended = state["current"].numpy().copy(), state["ended"].numpy().copy()
        self._last_id = state["last_id"].numpy().copy() if "last_id" in state else None
