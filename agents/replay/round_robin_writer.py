"""Writing in turn."""

from __future__ import annotations

from typing import Any

from tensordict import TensorDictBase
from torch import Tensor

from agents.replay.storage import Storage
from agents.replay.writer import Writer

__all__ = ["RoundRobinWriter", "TensorDictRoundRobinWriter"]


class RoundRobinWriter(Writer):
    """Items go to one place after the other, and over the oldest ones when the storage is full.

    Example:
        >>> from agents.replay import ListStorage
        >>> storage, writer = ListStorage(2), RoundRobinWriter()
        >>> [writer.add(storage, item) for item in "abc"]
        [0, 1, 0]
    """

    in_turn = True

    def add(self, storage: Storage, item: Any) -> int:
        """Write one item and return its index."""
        return storage.add(item)

    def extend(self, storage: Storage, items: Any) -> Tensor:
        """Write several items and return the indices of those kept, int64 ``[n]``."""
        return storage.extend(items)

    def empty(self) -> None:
        """Nothing to forget."""

    def state_dict(self) -> dict[str, Any]:
        """Return an empty dict: the storage counts."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to take over."""


class TensorDictRoundRobinWriter(RoundRobinWriter):
    """As :class:`RoundRobinWriter`, for TensorDicts alone.

    Raises:
        TypeError: on a write of something else.
    """

    def add(self, storage: Storage, item: Any) -> int:
        """Write one TensorDict and return its index."""
        return super().add(storage, _checked(item))

    def extend(self, storage: Storage, items: Any) -> Tensor:
        """Write the rows of a TensorDict and return the indices of those kept, int64 ``[n]``."""
        return super().extend(storage, _checked(items))


def _checked(items: Any) -> TensorDictBase:
    if not isinstance(items, TensorDictBase):
        raise TypeError(f"TensorDictRoundRobinWriter: expected a TensorDict, found {type(items).__name__}")
    return items
