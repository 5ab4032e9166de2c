"""Partial resets: who is reset, and what stands for those who are not.

Masks belong to the runtime. An env's ``_reset`` may ignore them: whatever it returns outside a mask is replaced
by what the input held there.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from tensordict import NestedKey, TensorDictBase, is_leaf_nontensor

from envkit.core.plan import DoneGroup, Plan, path_of
from envkit.errors import EnvDataError, SpecError

__all__ = ["align", "merge_reset", "pop_masks"]


def pop_masks(tensordict: TensorDictBase, plan: Plan) -> dict[NestedKey, torch.Tensor] | None:
    """Takes the ``"_reset"`` entries out of ``tensordict`` and returns the mask of each done group.

    A mask rules over every level below its own: it replaces the masks there. A level that no mask rules is reset
    as a whole. None stands for "no mask at all".

    Raises:
        SpecError: a mask is no boolean of its done flag's shape, or does not sit beside a done flag.
    """
    found = [key for key in tensordict.keys(True, True) if path_of(key)[-1] == "_reset"]
    if not found:
        return None
    groups = {group.reset: group for group in plan.done_groups}
    given: dict[tuple[str, ...], torch.Tensor] = {}
    for key in found:
        if key not in groups:
            raise SpecError(f"reset mask {key!r}: expected it beside a done flag, at one of {list(groups)}")
        group = groups[key]
        shape = _sized(group, plan, tensordict)
        mask = tensordict.get(key)
        if mask.dtype is not torch.bool or mask.numel() != shape.numel():
            raise SpecError(
                f"reset mask {key!r}: expected a boolean of shape {list(shape)}, found {mask.dtype} {list(mask.shape)}"
            )
        given[path_of(key)[:-1]] = mask.reshape(shape)
    for key in found:
        tensordict.del_(key)
    masks = {}
    for group in plan.done_groups:
        prefix = path_of(group.reset)[:-1]
        shape = _sized(group, plan, tensordict)
        ruler = next((prefix[:depth] for depth in range(len(prefix) + 1) if prefix[:depth] in given), None)
        if ruler is None:
            masks[group.reset] = torch.ones(shape, dtype=torch.bool, device=group.device)
        else:
            masks[group.reset] = align(given[ruler], len(shape)).expand(shape)
    return masks


def merge_reset(
    plan: Plan,
    tensordict: TensorDictBase,
    out: TensorDictBase,
    masks: Mapping[NestedKey, torch.Tensor] | None,
) -> TensorDictBase:
    """Writes a reset's output into its input, inside the masks only, and returns the input.

    Raises:
        EnvDataError: the input has no content for an entry outside the masks.
    """
    if masks is None:
        return tensordict.update(out)
    for key in out.keys(True, True, is_leaf=is_leaf_nontensor):
        if path_of(key)[-1] == "_reset":
            continue
        mask, new, old = _ruling_mask(path_of(key), plan, masks), out.get(key), tensordict.get(key, None)
        if not bool(mask.all()):
            if old is None:
                raise EnvDataError(
                    f"partial reset: {key!r} is missing from the input; expected its last content, which stands "
                    f"outside the mask"
                )
            if not bool(mask.any()):
                continue
            new = torch.where(align(mask, new.ndim), new, old)
        tensordict.set(key, new)
    return tensordict


def align(mask: torch.Tensor, ndim: int) -> torch.Tensor:
    """A mask of shape ``(*batch, 1)`` with as many trailing ones as make ``ndim`` dimensions."""
    lead = mask.shape[:-1]
    return mask.reshape(*lead, *(1,) * (ndim - len(lead)))


def _sized(group: DoneGroup, plan: Plan, tensordict: TensorDictBase) -> torch.Size:
    if plan.batch_locked:
        return group.shape
    return torch.Size((*tensordict.batch_size, *group.shape[plan.batch_dims :]))


def _ruling_mask(path: tuple[str, ...], plan: Plan, masks: Mapping[NestedKey, torch.Tensor]) -> torch.Tensor:
    """The mask of the deepest done group around ``path``; for data above all groups, what any of them says."""
    around = [group for group in plan.done_groups if path[: len(p := path_of(group.reset)[:-1])] == p]
    if around:
        return masks[around[-1].reset]
    lead = plan.batch_dims
    flat = [mask.reshape(*mask.shape[:lead], -1).any(-1, keepdim=True) for mask in masks.values()]
    return torch.stack(flat).any(0)
