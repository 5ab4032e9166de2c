"""Checks on the values an env returns, beyond their shapes and dtypes."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from tensordict import LazyStackedTensorDict, NestedKey, TensorDictBase

from envkit.core.masks import aligned, mask_of
from envkit.core.plan import Plan
from envkit.errors import EnvDataError, NonFiniteError
from envkit.specs import Bounded, TensorSpec
from envkit.storage import Slab

if TYPE_CHECKING:
    from envkit.core.env import EnvBase

__all__ = ["check_finite", "check_values"]


def check_values(env: EnvBase, out: TensorDictBase, keys: Iterable[NestedKey], method: str) -> None:
    """Compares the first data of an env with its specs.

    A value outside its bounds is a warning: simulators are full of optimistic bounds, and nothing breaks by it.

    Raises:
        NonFiniteError: NaN, or an infinity within finite bounds.
        EnvDataError: non-tensor data where the spec wants a tensor.
    """
    spec = env.plan.next_spec
    if env.plan.unequal or isinstance(out, LazyStackedTensorDict):  # of unequal sizes: the elements were looked at
        keys = [key for key in keys if spec[key].dtype is None or not spec[key].has_dynamic_shape]
    for key in keys:
        leaf, value = spec[key], out.get(key)
        if leaf.dtype is None or leaf.is_in(value):
            continue
        if not isinstance(value, torch.Tensor):
            raise EnvDataError(f"{key!r} returned by {_name(env)}.{method}: expected {leaf}, found {value!r}")
        if _non_finite(leaf, value):
            if env.check_finite:
                raise _error(env, key, leaf, value, method)
            continue
        problem = leaf.violations(value)
        text = f"expected {problem[0].expected}, found {problem[0].found}" if problem else f"not in {leaf}"
        warnings.warn(f"{key!r} returned by {_name(env)}.{method} is out of bounds: {text}", stacklevel=4)


def check_finite(env: EnvBase, root: Slab, following: Slab, rows: int) -> None:
    """Looks for NaN (and infinities within finite bounds) in what an env wrote to the first ``rows`` rows.

    Raises:
        NonFiniteError: names the key and the first row.
    """
    plan = env.plan
    shown = [] if env.hides_last_observations else plan.observation_keys
    for slab, keys in ((following, [*shown, *plan.reward_keys]), (root, plan.observation_keys)):
        for key in keys:
            column, leaf = slab.columns[key], plan.next_spec[key]
            parts = column[:rows] if isinstance(column, list) else [column[:rows]]
            for index, values in enumerate(parts):
                if isinstance(values, torch.Tensor) and _non_finite(leaf, values):
                    row = index if isinstance(column, list) else None
                    if slab is root and env.hides_last_observations:
                        values = _without_fillers(plan, root, key, values, row)
                        if not _non_finite(leaf, values):
                            continue
                    raise _error(env, key, leaf, values, "_step", row)


def _without_fillers(plan: Plan, root: Slab, key: NestedKey, values: torch.Tensor, row: int | None) -> torch.Tensor:
    """``values``, with zeros where an episode is over: what is not stepped any more repeats its last observation."""
    cleared = []
    for index, value in enumerate(values) if row is None else [(row, values)]:
        over = {group.reset: root.columns[group.done][index] for group in plan.done_groups}
        mask = aligned(mask_of(key, plan, over), value.shape)
        cleared.append(torch.where(mask, torch.zeros_like(value), value))
    return torch.stack(cleared) if row is None else cleared[0]


def _non_finite(leaf: TensorSpec, values: torch.Tensor) -> bool:
    if not values.dtype.is_floating_point or bool(torch.isfinite(values.sum())):
        return False
    if bool(values.isnan().any()):
        return True
    return _finite_bounds(leaf) and bool(values.isinf().any())


def _finite_bounds(leaf: TensorSpec) -> bool:
    return isinstance(leaf, Bounded) and bool(
        torch.isfinite(leaf.space.low).all() & torch.isfinite(leaf.space.high).all()
    )


def _error(
    env: EnvBase, key: NestedKey, leaf: TensorSpec, values: torch.Tensor, method: str, row: int | None = None
) -> NonFiniteError:
    bad = (~torch.isfinite(values)).nonzero()
    where: Any = bad[0].tolist()
    if row is not None:
        where = [row, *where]
    found = values[tuple(bad[0])].item()
    return NonFiniteError(
        f"{key!r} returned by {_name(env)}.{method}: expected finite values, found {found} at index {where} "
        f"({len(bad)} in all); set env.check_finite = False to let them through"
    )


def _name(env: EnvBase) -> str:
    return type(env).__name__
