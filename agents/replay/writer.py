"""How a replay buffer decides where items go."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from agents.replay.storage import Storage

__all__ = ["Writer"]


class Writer(ABC):
    """Puts items into a storage."""

    in_turn: ClassVar[bool]
    """Whether items lie in the order in which they were written, so that neighbours are steps of one sequence."""

    @abstractmethod
    def add(self, storage: Storage, item: Any) -> int | None:
        """Write one item; return its index, or None if it was not kept."""

    @abstractmethod
    def extend(self, storage: Storage, items: Any) -> Tensor:
        """Write several items; return the indices written to, int64 ``[n]``."""

    @abstractmethod
    def empty(self) -> None:
        """Forget what was written."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return what the next write depends on, beside the storage."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned."""
