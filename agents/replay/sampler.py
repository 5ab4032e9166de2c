"""How a replay buffer chooses what to return."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

__all__ = ["Sampler"]


class Sampler(ABC):
    """Chooses indices of stored items."""

    @abstractmethod
    def sample(self, length: int, batch_size: int, generator: torch.Generator | None = None) -> Tensor:
        """Return indices below ``length``, int64, shape ``[n]`` with ``n`` at most ``batch_size``."""

    @abstractmethod
    def refresh(self) -> None:
        """Forget what was returned so far: the buffer was written to."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return what the next choice depends on."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned."""
