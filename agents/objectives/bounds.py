"""Bounds of actions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from envkit import Bounded

__all__ = ["bounds_of"]


def bounds_of(
    owner: str, spec: Any = None, bounds: tuple[float | Tensor, float | Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Lower and upper bound, from a :class:`envkit.Bounded` spec or given as numbers or tensors.

    The spec of a batch of envs has the bounds of each; they broadcast to batches of actions only where all have the
    same, so those of one env are returned.

    Raises:
        ValueError: if not exactly one of the two is given, or a spec is not bounded, or its envs have different bounds.
    """
    if (spec is None) == (bounds is None):
        raise ValueError(f"{owner}: expected exactly one of action_spec and bounds")
    if bounds is not None:
        low, high = (torch.as_tensor(bound, dtype=torch.get_default_dtype()) for bound in bounds)
        return low, high
    if not isinstance(spec, Bounded):
        raise ValueError(f"{owner}: expected a bounded action_spec, found {spec}")
    low, high = spec.space.low, spec.space.high
    while low.ndim > 1:
        if not (torch.equal(low, low[:1].expand_as(low)) and torch.equal(high, high[:1].expand_as(high))):
            raise ValueError(f"{owner}: expected equal bounds for all of a batch of actions, found {spec}")
        low, high = low[0], high[0]
    return low.clone(), high.clone()
