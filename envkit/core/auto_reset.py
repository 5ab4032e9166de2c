"""Envs that reset themselves.

The observation that such an env returns with a done flag is the first one of the next episode. The runtime moves
it where it belongs, to the root of the next step, and never calls the env's own reset for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase

from envkit.core.masks import aligned, mask_of
from envkit.core.plan import Plan
from envkit.errors import ResetNeededError

__all__ = ["AutoReset"]


@dataclass
class AutoReset:
    """How an env that resets itself is treated.

    Args:
        replace: whether the last observation of an episode, which the env never shows, is replaced by fillers. If
            False the first one of the next episode stands there.
        fill_float: filler of floating-point observations.
        fill_int: filler of integer observations (for unsigned ones it wraps: -1 is the largest value).
        fill_bool: filler of boolean observations.
    """

    replace: bool = True
    fill_float: float = float("nan")
    fill_int: int = -1
    fill_bool: bool = False
    _first: dict[NestedKey, Any] = field(default_factory=dict, repr=False)

    def keep(self, plan: Plan, out: TensorDictBase) -> TensorDictBase:
        """Remembers the first observations of new episodes in a step's output, and puts fillers in their place."""
        flags = [out.get(group.done) for group in plan.done_groups]
        if not any(bool(flag.any()) for flag in flags):
            return out
        self._first = {key: out.get(key) for key in plan.observation_keys}
        if not self.replace:
            return out
        over = {group.reset: flag for group, flag in zip(plan.done_groups, flags, strict=True)}
        for key, value in self._first.items():
            if isinstance(value, torch.Tensor):
                filler = torch.full_like(value, self._filler(value.dtype))
                out.set(key, torch.where(aligned(mask_of(key, plan, over), value.shape), filler, value))
        return out

    def first(self, given: TensorDictBase) -> TensorDictBase:
        """The first data of the episodes that have begun; to be read inside the masks only.

        Raises:
            ResetNeededError: no episode has begun since the last step.
        """
        if not self._first:
            raise ResetNeededError("partial reset of an auto-resetting env: expected one that follows a done step")
        return given.empty().update(self._first)

    def _filler(self, dtype: torch.dtype) -> float | int | bool:
        if dtype is torch.bool:
            return self.fill_bool
        if dtype.is_floating_point or dtype.is_complex:
            return self.fill_float
        return self.fill_int if dtype.is_signed else self.fill_int % (torch.iinfo(dtype).max + 1)
