"""Partial resets and partial steps: who takes part, and what stands for those who do not.

A mask is a boolean at ``"_reset"`` or ``"_step"``, at the root or in a nested TensorDict, for what stands beside and
below it. Masks belong to the runtime: an env's ``_reset`` and ``_step`` may look at them and may ignore them, for
whatever they return outside a mask is replaced by what was there before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from tensordict import (
    LazyStackedTensorDict,
    NestedKey,
    NonTensorStack,
    TensorDictBase,
    is_leaf_nontensor,
    is_non_tensor,
    is_tensor_collection,
)

from envkit.core.plan import Plan, path_of
from envkit.errors import EnvDataError, SpecError
from envkit.storage import entries

__all__ = [
    "Masks",
    "aligned",
    "any_true",
    "blend",
    "has_mask",
    "mask_of",
    "merge_reset",
    "merge_step",
    "pop_masks",
    "put_masks",
    "read_masks",
    "refuse_gaps",
]

Masks = Mapping[NestedKey, torch.Tensor]
"""Masks by their keys, each of the shape of its level's done flag: ``[*batch, 1]`` at the root."""


def has_mask(tensordict: TensorDictBase, plan: Plan, name: str) -> bool:
    """Whether there is an entry called ``name`` at the root or at a level that the specs know."""
    if plan.unequal or isinstance(tensordict, LazyStackedTensorDict):
        return any(path_of(key)[-1] == name for key in tensordict.keys(True, True))
    flat = entries(tensordict)
    if name in flat:
        return True
    for path in plan.levels:
        level: Any = flat
        for part in path:
            inner = level.get(part)
            if not isinstance(inner, TensorDictBase):
                break
            level = entries(inner)
        else:
            if name in level:
                return True
    return False


def pop_masks(tensordict: TensorDictBase, plan: Plan, name: str) -> dict[NestedKey, torch.Tensor] | None:
    """Takes the entries called ``name`` out of ``tensordict`` and returns a mask for every level that has a say.

    A mask rules over every level below its own: it replaces the masks there. A level that no mask rules takes part
    as a whole. None stands for "no mask at all".

    Raises:
        SpecError: a mask is no boolean of its level's shape, or stands where it has no meaning: a ``"_reset"`` that
            is not beside a done flag.
    """
    found = [key for key in tensordict.keys(True, True) if path_of(key)[-1] == name]
    if not found:
        return None
    levels = [path_of(key)[:-1] for key in plan.reset_keys]
    given: dict[tuple[str, ...], torch.Tensor] = {}
    for key in found:
        prefix = path_of(key)[:-1]
        shape = plan.level_shape(prefix)
        if shape is None or (name == "_reset" and prefix not in levels):
            where = "beside a done flag" if name == "_reset" else "at a level of the env's specs"
            raise SpecError(
                f"{_kind(name)} mask {key!r}: expected it {where}, at one of {[_key(*p, name) for p in levels]}"
            )
        mask = tensordict.get(key)
        if mask.dtype is not torch.bool or mask.numel() != shape.numel():
            raise SpecError(
                f"{_kind(name)} mask {key!r}: expected a boolean of shape {list(shape)}, found {mask.dtype} "
                f"{list(mask.shape)}"
            )
        given[prefix] = mask.reshape(shape)
    for key in found:
        tensordict.del_(key)
    masks = {}
    for prefix in [*levels, *(prefix for prefix in given if prefix not in levels)]:
        shape = plan.level_shape(prefix) or torch.Size()
        ruler = next((prefix[:depth] for depth in range(len(prefix) + 1) if prefix[:depth] in given), None)
        if ruler is None:
            mask = torch.ones(shape, dtype=torch.bool, device=next(iter(given.values())).device)
        else:
            mask = aligned(given[ruler], shape).expand(shape)
        masks[_key(*prefix, name)] = mask
    return masks


def put_masks(tensordict: TensorDictBase, masks: Masks) -> TensorDictBase:
    """A shallow copy of ``tensordict`` that carries the masks, for an env to look at."""
    out = tensordict.copy()
    for key, mask in masks.items():
        out.set(key, mask)
    return out


def read_masks(tensordict: TensorDictBase, plan: Plan, name: str) -> dict[NestedKey, torch.Tensor] | None:
    """The masks that :func:`put_masks` left in ``tensordict``; None if there are none."""
    if not has_mask(tensordict, plan, name):
        return None
    keys = [_key(*prefix, name) for prefix in [(), *plan.levels]]
    return {key: mask for key in keys if (mask := tensordict.get(key, None)) is not None}


def any_true(masks: Masks) -> bool:
    """Whether anything takes part at all."""
    return any(bool(mask.any()) for mask in masks.values())


def merge_reset(plan: Plan, tensordict: TensorDictBase, out: TensorDictBase, masks: Masks) -> TensorDictBase:
    """Writes a reset's output into its input, inside the masks only, and returns the input.

    An entry without a spec that the input lacks is left out, unless everything is reset.

    Raises:
        EnvDataError: the input has no content for an entry outside the masks.
    """
    if isinstance(tensordict, LazyStackedTensorDict):
        for before, after, own in _elements(tensordict, out, masks):
            if any_true(own):
                merge_reset(plan, before, after, own)
        return tensordict
    declared = {*plan.observation_keys, *plan.done_keys, *plan.state_keys}
    for key in _leaves(out):
        if plan.unequal and (group := _group_of(key, plan)) is not None:
            if key == group:
                _merge_group(plan, group, out.get(group), tensordict.get(group, None), masks, into_old=True)
            continue
        mask = mask_of(key, plan, masks)
        new, old = out.get(key), tensordict.get(key, None)
        if old is None and not bool(mask.all()):
            if key not in declared:
                continue
            raise _nothing_there("reset", key)
        tensordict.set(key, new if old is None else blend(mask, new, old))
    return tensordict


def refuse_gaps(plan: Plan, tensordict: TensorDictBase) -> None:
    """Checks that the input of a reset of nothing has what a reset delivers.

    Raises:
        EnvDataError: an entry is missing.
    """
    found = set(tensordict.keys(True, True))
    for key in (*plan.observation_keys, *plan.done_keys):
        if key not in found:
            raise _nothing_there("reset", key)


def merge_step(
    plan: Plan, tensordict: TensorDictBase, out: TensorDictBase | None, masks: Masks, *, strict: bool = True
) -> TensorDictBase:
    """What a step hands out where only the elements inside the masks were stepped.

    Outside the masks observations and done flags are what the input holds, and rewards are 0: nothing was done, so
    nothing was earned. ``out`` is what the env returned; None if nothing was stepped at all.

    Raises:
        EnvDataError: the input has no content for an entry outside the masks, and ``strict`` is set; otherwise what
            the env returned stands there.
    """
    if isinstance(tensordict, LazyStackedTensorDict):
        zero = plan.next_spec.zero() if out is None else out
        parts = [
            merge_step(plan, before, after, own, strict=strict)
            for before, after, own in _elements(tensordict, zero, masks)
        ]
        return LazyStackedTensorDict.lazy_stack(parts, tensordict.stack_dim)
    if out is None:
        out = plan.next_spec.zero()
    for key in (*plan.observation_keys, *plan.done_keys, *plan.reward_keys):
        mask = mask_of(key, plan, masks)
        if bool(mask.all()) or (plan.unequal and _group_of(key, plan) is not None):
            continue
        new = out.get(key)
        old = torch.zeros_like(new) if key in plan.reward_keys else tensordict.get(key, None)
        if old is None:
            if strict:
                raise _nothing_there("step", key)
            continue
        out.set(key, blend(mask, new, old))
    for group in plan.unequal:
        _merge_group(plan, group, out.get(group), tensordict.get(group, None), masks)
    return out


def _elements(
    tensordict: LazyStackedTensorDict, out: TensorDictBase, masks: Masks
) -> Iterator[tuple[TensorDictBase, TensorDictBase, Masks]]:
    """Input, output and masks of each element of a batch that no tensor can hold."""
    dim = tensordict.stack_dim
    for index, pair in enumerate(zip(tensordict.unbind(dim), out.unbind(dim), strict=True)):
        yield *pair, {key: mask.select(dim, index) for key, mask in masks.items()}


def _group_of(key: NestedKey, plan: Plan) -> NestedKey | None:
    """The group of unequal elements that an entry belongs to."""
    path = path_of(key)
    return next((group for group in plan.unequal if path[: len(path_of(group))] == path_of(group)), None)


def _merge_group(plan: Plan, group: NestedKey, new: Any, old: Any, masks: Masks, *, into_old: bool = False) -> None:
    """The same for a group of unequal elements: blends ``new`` with ``old``, within ``new`` or within ``old``."""
    what = "reset" if into_old else "step"
    if old is None:
        raise _nothing_there(what, group)
    lead = torch.Size((*new.batch_size, 1))
    mask = aligned(mask_of((*path_of(group), ""), plan, masks), lead).expand(lead)
    dim = new.stack_dim
    for inside, element, before in zip(mask.unbind(dim), new.unbind(dim), old.unbind(dim), strict=True):
        for key in list(element.keys(True, True)):
            value, last = element.get(key), before.get(key, None)
            if last is None:
                if (*path_of(group), *path_of(key)) not in plan.reward_keys:
                    raise _nothing_there(what, (*path_of(group), *path_of(key)))
                last = torch.zeros_like(value)
            (before if into_old else element).set(key, blend(inside, value, last))


def _nothing_there(what: str, key: NestedKey) -> EnvDataError:
    return EnvDataError(
        f"partial {what}: {key!r} is missing from the input; expected its last content, which stands outside the mask"
    )


def blend(mask: torch.Tensor, new: Any, old: Any) -> Any:
    """``new`` where ``mask`` is True, ``old`` elsewhere; ``mask`` has the leading dimensions of both and a last 1."""
    if isinstance(new, LazyStackedTensorDict):
        dim = new.stack_dim
        mask = aligned(mask, torch.Size((*new.batch_size, 1))).expand(*new.batch_size, 1)
        parts = zip(mask.unbind(dim), new.unbind(dim), old.unbind(dim), strict=True)
        return LazyStackedTensorDict.lazy_stack([blend(*part) for part in parts], dim)
    if is_non_tensor(new):
        return _blend_data(mask, new, old)
    if is_tensor_collection(new):
        for key, value in new.items():
            new = new.set(key, blend(mask, value, old.get(key)))
        return new
    if isinstance(new, torch.Tensor) and new.shape == old.shape:
        return torch.where(aligned(mask, new.shape), new, old)
    # Sizes that change from step to step: there is no tensor that holds some of each.
    return _whole(mask, new, old)


def _blend_data(mask: torch.Tensor, new: Any, old: Any) -> Any:
    """The same for non-tensor data, element by element of the batch."""
    if not new.batch_size:
        return _whole(mask, new, old)
    mask = aligned(mask, torch.Size((*new.batch_size, 1))).expand(*new.batch_size, 1)
    parts = zip(mask.unbind(0), new.unbind(0), old.unbind(0), strict=True)
    return NonTensorStack(*(_blend_data(*part) for part in parts))


def _whole(mask: torch.Tensor, new: Any, old: Any) -> Any:
    inside = bool(mask.any())
    if inside and not bool(mask.all()):
        raise EnvDataError(
            "partial reset or step: found data whose size has changed, which cannot be kept for some elements of a "
            "batch and replaced for others; expected one size, or a mask that is the same for all"
        )
    return new if inside else old


def aligned(mask: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """A mask of shape ``[*lead, 1]``, reduced to the dimensions that ``shape`` begins with and padded with ones."""
    lead = mask.shape[:-1]
    common = 0
    while common < min(len(lead), len(shape)) and lead[common] == shape[common]:
        common += 1
    if common < len(lead):
        # Data above a group takes part if anything of the group does.
        mask = mask.reshape(*lead[:common], -1).any(-1, keepdim=True)
    return mask.reshape((*lead[:common], *(1,) * (len(shape) - common)))


def mask_of(key: NestedKey, plan: Plan, masks: Masks) -> torch.Tensor:
    """The mask of the deepest level around ``key``.

    Data above all masks takes part where anything below it does; data beside them, where anything at all does.
    """
    path = path_of(key)
    around = [key for key in masks if path[: len(p := path_of(key)[:-1])] == p]
    if around:
        return masks[max(around, key=lambda key: len(path_of(key)))]
    prefix, shape = path[:-1], torch.Size((*plan.batch_size, 1))
    below = [mask for key, mask in masks.items() if path_of(key)[: len(prefix)] == prefix]
    if below and prefix:
        shape = plan.level_shape(prefix) or shape
    return torch.stack([aligned(mask, shape).expand(shape) for mask in below or masks.values()]).any(0)


def _leaves(tensordict: TensorDictBase) -> list[NestedKey]:
    """Keys of everything that is no plain nested TensorDict, masks excluded."""

    def is_leaf(cls: type) -> bool:
        return is_leaf_nontensor(cls) or issubclass(cls, LazyStackedTensorDict)

    return [key for key in tensordict.keys(True, True, is_leaf=is_leaf) if path_of(key)[-1] not in ("_reset", "_step")]


def _kind(name: str) -> str:
    return name.removeprefix("_")


def _key(*path: str) -> NestedKey:
    return path[0] if len(path) == 1 else path
