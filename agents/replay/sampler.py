"""How a replay buffer chooses what to return."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from tensordict import NestedKey
from torch import Tensor

from agents.replay.storage import Storage

__all__ = ["Sampler"]


class Sampler(ABC):
    """Chooses indices of stored items."""

    needs_order: ClassVar[bool] = False
    """Whether neighbours in the storage have to be steps of one sequence: not every writer keeps them together."""

    @property
    def epoch_ended(self) -> bool | None:
        """Whether the next sample begins an epoch; None if there are no epochs."""
        return None

    def bind(self, storage: Storage) -> None:  # noqa: B027 - most have no use for it
        """Take note of the storage, which may hold items already; a buffer calls this."""

    @abstractmethod
    def sample(self, length: int, batch_size: int, generator: torch.Generator | None = None) -> Tensor:
        """Return indices below ``length``, int64, shape ``[n]`` with ``n`` at most ``batch_size``."""

    def written(self, index: Tensor) -> None:
        """Take note that the items at ``index`` are new."""
        self.refresh()

    @abstractmethod
    def refresh(self) -> None:
        """Forget what was returned so far."""

    def info(self, index: Tensor) -> dict[NestedKey, Tensor]:
        """What there is to tell about the items at ``index``, which :meth:`sample` just returned: ``[n]`` each."""
        return {}

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return what the next choice depends on."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned."""
