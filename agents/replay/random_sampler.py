"""Independent uniform choices."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from agents.replay.sampler import Sampler

__all__ = ["RandomSampler"]


class RandomSampler(Sampler):
    """Uniform choices with replacement; keeps no state.

    Example:
        >>> RandomSampler().sample(length=1, batch_size=3)
        tensor([0, 0, 0])
    """

    def sample(self, length: int, batch_size: int, generator: torch.Generator | None = None) -> Tensor:
        """Return ``batch_size`` indices below ``length``."""
        return torch.randint(length, (batch_size,), generator=generator)

    def refresh(self) -> None:
        """Nothing to forget."""

    def state_dict(self) -> dict[str, Any]:
        """Return an empty dict."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to take over."""
