"""Checks on the values an env returns, beyond their shapes and dtypes: whether they are within what the specs allow."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
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

__all__ = ["MODES", "check_rows", "check_values", "judge", "tell_once", "wrong_numbers"]

MODES = ("error", "truncate", "warn", "allow")
"""What becomes of a NaN, the strictest first; see :attr:`EnvBase.nonfinite <envkit.EnvBase.nonfinite>`."""


def check_values(env: EnvBase, out: TensorDictBase, keys: Iterable[NestedKey], method: str) -> None:
    """Compares data of an env with its specs.

    A value outside its bounds is a warning, once for each key: simulators are full of optimistic bounds, and nothing
    breaks by it.

    Raises:
        NonFiniteError: NaN, or an infinity where there is a bound.
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
        wrong = wrong_numbers(leaf, value)
        if wrong is None:
            _tell_of_bounds(env, leaf, key, value, method)
        elif env.nonfinite != "allow":
            _report(env, key, method, value, wrong)


def check_rows(env: EnvBase, root: Slab, following: Slab, rows: int) -> None:
    """Looks for NaN, and infinities where there is a bound, in what an env wrote to the first ``rows`` rows.

    Rows of the env's first steps are also held to their bounds, as :func:`check_values` does.

    Raises:
        NonFiniteError: names the key, the step and the env.
    """
    runtime = env._runtime
    if env.nonfinite != "allow":
        for key, leaf, method, row, values in _parts(env, root, following, rows):
            wrong = wrong_numbers(leaf, values)
            if wrong is not None:
                _report(env, key, method, values, wrong, row, stacked=row is None)
    if runtime.watched:
        count = min(rows, runtime.watched)
        for key, leaf, method, _, values in _parts(env, root, following, count):
            if not leaf.is_in(values) and wrong_numbers(leaf, values) is None:
                _tell_of_bounds(env, leaf, key, values, method)
        runtime.watched -= count


def _parts(
    env: EnvBase, root: Slab, following: Slab, rows: int
) -> Iterator[tuple[NestedKey, TensorSpec, str, int | None, torch.Tensor]]:
    """Key, spec, method, row (None for all of them) and values of what an env wrote, the next entries first.

    What it hides is left out: fillers that stand for last observations. So root rows then tell of steps as well.
    """
    plan, hides = env.plan, env.hides_last_observations
    nexts = [*([] if hides else plan.observation_keys), *plan.reward_keys]
    for slab, keys in ((following, nexts), (root, plan.observation_keys)):
        method = "_step" if slab is following or hides else "_reset"
        for key in keys:
            column, leaf = slab.columns[key], plan.next_spec[key]
            for row, values in enumerate(column[:rows]) if isinstance(column, list) else [(None, column[:rows])]:
                if isinstance(values, torch.Tensor):
                    if slab is root and hides and wrong_numbers(leaf, values) is not None:
                        values = _without_fillers(plan, root, key, values, row)
                    yield key, leaf, method, row, values


def _without_fillers(plan: Plan, root: Slab, key: NestedKey, values: torch.Tensor, row: int | None) -> torch.Tensor:
    """``values``, with zeros where an episode is over: what is not stepped any more repeats its last observation."""
    cleared = []
    for index, value in enumerate(values) if row is None else [(row, values)]:
        over = {group.reset: root.columns[group.done][index] for group in plan.done_groups}
        mask = aligned(mask_of(key, plan, over), value.shape)
        cleared.append(torch.where(mask, torch.zeros_like(value), value))
    return torch.stack(cleared) if row is None else cleared[0]


def wrong_numbers(leaf: TensorSpec, values: torch.Tensor) -> torch.Tensor | None:
    """Where ``values``, of the shape of ``leaf`` or with more dimensions before it, are NaN or infinite within a bound.

    None if they are so nowhere.
    """
    if not values.dtype.is_floating_point or bool(torch.isfinite(values.sum())):
        return None
    wrong = values.isnan()
    if isinstance(leaf, Bounded):
        low, high = (bound.to(values.device).isfinite() for bound in (leaf.space.low, leaf.space.high))
        wrong |= (values.isposinf() & high) | (values.isneginf() & low)
    return wrong if bool(wrong.any()) else None


def judge(env: EnvBase, key: Any, text: str) -> None:
    """Raises what is said of a NaN at a key, or warns of it once.

    Raises:
        NonFiniteError: unless the env is content with a warning.
    """
    if env.nonfinite != "warn":
        raise NonFiniteError(f"{text}; set env.nonfinite to 'truncate', 'warn' or 'allow' to go on")
    tell_once(env, "nonfinite", key, text)


def _report(
    env: EnvBase,
    key: NestedKey,
    method: str,
    values: torch.Tensor,
    wrong: torch.Tensor,
    row: int | None = None,
    *,
    stacked: bool = False,
) -> None:
    """Judges what :func:`wrong_numbers` has found in data of one step, ``row``, or of one stacked upon the other."""
    count, index = int(wrong.sum()), wrong.nonzero()[0].tolist()
    found = values[tuple(index)].item()
    if stacked:
        row, *index = index
    step = "" if row is None else f" at step {row},"
    where = env._describe_element(index)
    text = f"{key!r} returned by {_name(env)}.{method}: expected finite values, found {found}{step} at {where}"
    judge(env, key, f"{text} ({count} in all)")


def _tell_of_bounds(env: EnvBase, leaf: TensorSpec, key: NestedKey, values: torch.Tensor, method: str) -> None:
    problem = leaf.violations(values)
    text = f"expected {problem[0].expected}, found {problem[0].found}" if problem else f"not in {leaf}"
    tell_once(env, "bounds", key, f"{key!r} returned by {_name(env)}.{method} is out of bounds: {text}")


def tell_once(env: EnvBase, kind: str, key: Any, text: str) -> None:
    """Warns, the first time that there is something of that kind to be said of a key of an env."""
    told = env._runtime.told
    if (kind, key) not in told:
        told.add((kind, key))
        warnings.warn(text, stacklevel=6)


def _name(env: EnvBase) -> str:
    return type(env).__name__
