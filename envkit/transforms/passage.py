"""The way through some transforms to a base env and back, on TensorDicts.

Masks belong to the runtime: they travel beside the data, and only transforms that say so
(:attr:`~envkit.transforms.Transform.sees_masks`) find them in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from tensordict import NestedKey, TensorDictBase

from envkit.core.masks import Masks, has_mask, pop_masks, put_masks, read_masks
from envkit.core.plan import Plan, path_of

if TYPE_CHECKING:
    from envkit.core.env import EnvBase
    from envkit.transforms.base import Transform

__all__ = ["reset_through", "step_through"]


def reset_through(
    base: EnvBase, transforms: Sequence[Transform], tensordict: TensorDictBase | None, kwargs: dict[str, Any]
) -> TensorDictBase:
    """What a reset of ``base`` behind ``transforms`` delivers, innermost first; ``tensordict`` holds the masks."""
    masks: Masks = {}
    if tensordict is not None:
        tensordict, masks = _take(tensordict, base.plan, "_reset")
    given = []
    for transform in reversed(transforms):
        shown = _shown(transform, tensordict, masks)
        given.append(shown)
        prepared = transform._reset_env_preprocess(shown)
        if prepared is not shown:
            tensordict = prepared
            if prepared is not None and masks and transform.sees_masks:
                tensordict, masks = _take(prepared, base.plan, "_reset")
    plan = base.plan if tensordict is None else base.plan_for(tensordict.batch_size)
    if tensordict is not None and masks:
        tensordict = put_masks(tensordict.exclude(*_in_another_form(tensordict, plan)), masks)
    whole = None if tensordict is None else read_masks(tensordict, plan, "_reset")
    out = base.first_of(tensordict, plan, whole, **kwargs)
    for transform, shown in zip(transforms, reversed(given), strict=True):
        out = transform._reset(shown, out)
    return out


def step_through(
    base: EnvBase, transforms: Sequence[Transform], tensordict: TensorDictBase
) -> tuple[TensorDictBase, Masks]:
    """What a step of ``base`` behind ``transforms`` writes under ``"next"``, and all masks if transforms add some."""
    tensordict, masks = _take(tensordict, base.plan, "_step")
    given, added = [], False
    for transform in reversed(transforms):
        shown = _shown(transform, tensordict, masks)
        given.append(shown)
        if not transform.invertible:
            continue
        tensordict, written = _take(transform.inv(shown), base.plan, "_step")
        if transform.sees_masks:
            masks = written
        elif written:
            added = True
            masks = {**masks, **{key: mask & masks[key] if key in masks else mask for key, mask in written.items()}}
    plan, whole = base.plan_for(tensordict.batch_size), None
    if masks:
        tensordict = put_masks(tensordict.exclude(*_in_another_form(tensordict, plan)), masks)
        whole = pop_masks(tensordict, plan, "_step")
    # Entries that transforms hide from the outside are nowhere to be found outside the masks. What stands there instead
    # does not matter: what comes of it is replaced.
    out = base.next_of(tensordict, plan, whole, strict=False)
    for transform, shown in zip(transforms, reversed(given), strict=True):
        out = transform._step(shown, out)
    return out, masks if added else {}


def _shown(transform: Transform, tensordict: Any, masks: Masks) -> Any:
    return put_masks(tensordict, masks) if masks and transform.sees_masks else tensordict


def _take(tensordict: TensorDictBase, plan: Plan, name: str) -> tuple[TensorDictBase, Masks]:
    """A TensorDict without its masks, and those."""
    if not has_mask(tensordict, plan, name):
        return tensordict, {}
    masks = {key: tensordict.get(key) for key in tensordict.keys(True, True) if path_of(key)[-1] == name}
    return tensordict.exclude(*masks), masks


def _in_another_form(tensordict: TensorDictBase, plan: Plan) -> list[NestedKey]:
    """Entries of the base env that transforms show in another shape or dtype under the same name."""
    # What has no shape of its own cannot be told from something else.
    leaves = [(key, plan.root_spec[key]) for key in (*plan.observation_keys, *plan.done_keys)]
    fixed = [(key, leaf) for key, leaf in leaves if leaf.dtype is not None and not leaf.has_dynamic_shape]
    found = [(key, tensordict.get(key, None), leaf) for key, leaf in fixed if not plan.is_ragged(key)]
    return [
        key
        for key, value, leaf in found
        if isinstance(value, torch.Tensor) and (value.shape != leaf.shape or value.dtype is not leaf.dtype)
    ]
