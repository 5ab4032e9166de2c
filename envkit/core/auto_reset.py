"""Envs that reset themselves.

The observation that such an env returns with a done flag is the first one of the next episode. The runtime moves
it where it belongs, to the root of the next step, and never calls the env's own reset for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase

from envkit.core.masks import Masks, aligned, any_true, blend, mask_of
from envkit.core.plan import Plan

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
    # Episodes that have begun and were not asked for yet: where (by reset key), and their first observations.
    _begun: dict[NestedKey, torch.Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)
    _first: dict[NestedKey, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def forget(self) -> None:
        """After a reset of everything: no episode has begun by itself."""
        self._begun, self._first = {}, {}

    def keep(self, plan: Plan, out: TensorDictBase, masks: Masks | None = None) -> TensorDictBase:
        """Remembers the first observations of new episodes in a step's output, and puts fillers in their place.

        Args:
            plan: the plan of the step.
            out: what the step hands out.
            masks: what was stepped, by step key. A done flag elsewhere is an old one, repeated.
        """
        new = {group.reset: out.get(group.done) for group in plan.done_groups}
        first = {key: out.get(key) for key in plan.observation_keys}
        if masks is not None:
            stepped = {key: aligned(mask_of(key, plan, masks), done.shape) for key, done in new.items()}
            new = {key: done & stepped[key] for key, done in new.items()}
        begun = new
        if masks is not None and any_true(waiting := self._waiting(new)):
            begun = {key: done | waiting[key] & ~stepped[key] for key, done in new.items()}
            first = {key: blend(mask_of(key, plan, new), value, self._first[key]) for key, value in first.items()}
        self._begun, self._first = begun, first
        if self.replace and any_true(new):
            for key in plan.observation_keys:
                value = out.get(key)
                if isinstance(value, torch.Tensor):
                    filler = torch.full_like(value, self._filler(value.dtype))
                    out.set(key, torch.where(aligned(mask_of(key, plan, new), value.shape), filler, value))
        return out

    def split(self, masks: Masks) -> tuple[Masks, Masks]:
        """Two parts of what is to be reset: where an episode has begun by itself, and where none has."""
        waiting = self._waiting(masks)
        begun = {key: mask & waiting[key] for key, mask in masks.items()}
        return begun, {key: mask & ~begun[key] for key, mask in masks.items()}

    def _waiting(self, like: Masks) -> Masks:
        """Where episodes have begun, in data of the batch size of ``like``: that of a batch-unlocked env may change."""
        kept = {key: self._begun.get(key) for key in like}
        fit = {key: flag is not None and flag.shape == like[key].shape for key, flag in kept.items()}
        return {key: kept[key] if fit[key] else torch.zeros_like(mask) for key, mask in like.items()}  # type: ignore[misc]

    def first(self, plan: Plan, given: TensorDictBase, begun: Masks, out: TensorDictBase | None) -> TensorDictBase:
        """The first data of episodes that have begun, handed out once.

        Args:
            plan: the plan of the reset.
            given: the input of the reset, for its batch size and device.
            begun: where to take them.
            out: the data of the other elements; None if only ``begun`` will be read.
        """
        if out is None:
            out = given.empty().update(self._first)
        else:
            for key, value in self._first.items():
                out.set(key, blend(mask_of(key, plan, begun), value, out.get(key)))
        self._begun = {key: flag & ~begun[key] if key in begun else flag for key, flag in self._begun.items()}
        return out

    def _filler(self, dtype: torch.dtype) -> float | int | bool:
        if dtype is torch.bool:
            return self.fill_bool
        if dtype.is_floating_point or dtype.is_complex:
            return self.fill_float
        return self.fill_int if dtype.is_signed else self.fill_int % (torch.iinfo(dtype).max + 1)
