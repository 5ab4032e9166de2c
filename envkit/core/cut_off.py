"""Steps whose data is of no use, made into the end of the episode."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tensordict import NestedKey, TensorDictBase

from envkit.core.masks import Masks, aligned, blend, mask_of, merge_step
from envkit.core.plan import Plan, path_of
from envkit.core.values import tell_once, wrong_numbers
from envkit.errors import SpecError
from envkit.storage import Slab, peek, put

if TYPE_CHECKING:
    from envkit.core.env import EnvBase
    from envkit.core.rows import RowPort

__all__ = ["CutOffRows", "cut_off", "refuse_to_cut_off", "remember"]


def refuse_to_cut_off(plan: Plan, resets_itself: bool) -> None:
    """Checks that the episodes of an env can be truncated.

    Raises:
        SpecError: they cannot.
    """
    lacking = [group.done for group in plan.done_groups if group.truncated is None]
    if lacking:
        raise SpecError(
            f"nonfinite='truncate': expected a truncated flag beside {lacking[0]!r}, found {plan.done_keys}"
        )
    if resets_itself:
        raise SpecError("nonfinite='truncate': expected an env that leaves resets to others, found auto_reset=True")
    if plan.unequal:
        raise SpecError(f"nonfinite='truncate': expected groups of equal elements, found others in {plan.unequal}")


def cut_off(env: EnvBase, plan: Plan, given: TensorDictBase, out: TensorDictBase) -> TensorDictBase:
    """Truncates the episodes of which ``out``, what a step of ``env`` led to, holds NaN or an infinity within a bound.

    The step counts as not made: it repeats the observations before it and earns 0. That is so for all that belongs to
    the same episode, the outermost done group.

    Args:
        given: the input of the step, whose observations are repeated where the env remembers none.
    """
    wrong = _wrong_groups(env, plan, out)
    if not wrong:
        return out
    given, last = given.copy(), env._runtime.last
    if last is not None:
        for key, value in zip(plan.observation_keys, last, strict=True):
            put(given, key, value)
    for key in plan.done_keys:
        if peek(given, key) is None:
            put(given, key, plan.root_spec[key].zero())
    out = merge_step(plan, given, out, plan.step_masks(wrong))
    for group in plan.done_groups:
        over = next(mask for reset, mask in wrong.items() if _holds(reset, group.reset))
        over = aligned(over, group.shape).expand(group.shape)
        done, _, truncated = group.keys
        for flag in (done, truncated):
            put(out, flag, out.get(flag) | over)
    return out


def remember(env: EnvBase, plan: Plan, out: TensorDictBase, masks: Masks | None = None) -> None:
    """Keeps the observations of ``out``, inside ``masks``, in case that the step from there has to be cut off.

    Transforms may show others under the same names, so that the input of the step is no place to look for them. Only an
    env that goes by the size of its input has to rely on that.
    """
    runtime = env._runtime
    if not env.batch_locked:
        return
    found = [_copied(out.get(key)) for key in plan.observation_keys]
    if masks is not None and runtime.last is not None:
        both = zip(plan.observation_keys, found, runtime.last, strict=True)
        found = [blend(mask_of(key, plan, masks), new, old) for key, new, old in both]
    runtime.last = found


def _wrong_groups(env: EnvBase, plan: Plan, out: TensorDictBase) -> dict[NestedKey, torch.Tensor]:
    """Where something is wrong, for each of the outermost done groups, by reset key; nothing if it is so nowhere."""
    found: dict[NestedKey, torch.Tensor] = {}
    outermost = [
        group
        for group in plan.done_groups
        if not any(other is not group and _holds(other.reset, group.reset) for other in plan.done_groups)
    ]
    for key in (*plan.observation_keys, *plan.reward_keys):
        value = out.get(key)
        wrong = wrong_numbers(plan.next_spec[key], value) if isinstance(value, torch.Tensor) else None
        if wrong is None:
            continue
        tell_once(
            env,
            "nonfinite",
            key,
            f"{key!r} returned by {type(env).__name__}._step: expected finite values, found "
            f"{value[wrong][0].item()}; the episode is truncated",
        )
        around = [group for group in outermost if _holds(group.reset, key)]
        for group in around or outermost:
            lead = len(group.shape[:-1]) if around else plan.batch_dims
            mask = aligned(wrong.unsqueeze(-1).flatten(lead).any(-1, keepdim=True), group.shape).expand(group.shape)
            found[group.reset] = found[group.reset] | mask if group.reset in found else mask
    if found:
        for group in outermost:
            found.setdefault(group.reset, torch.zeros(group.shape, dtype=torch.bool, device=group.device))
    return found


def _holds(reset: NestedKey, key: NestedKey) -> bool:
    """Whether an entry lies at or below the level of a reset mask."""
    level = path_of(reset)[:-1]
    return path_of(key)[: len(level)] == level


class CutOffRows:
    """A row port under which no NaN gets out of an env; see :func:`cut_off`."""

    advance = None

    def __init__(self, env: EnvBase, plan: Plan, port: RowPort, root: Slab, following: Slab) -> None:
        self._env, self._plan, self._port = env, plan, port
        seen = [*plan.observation_keys, *plan.reward_keys]
        floats = [key for key in seen if (dtype := plan.next_spec[key].dtype) is not None and dtype.is_floating_point]
        self._floats: list[Any] = [following.arrays[key] for key in floats]
        self._given = root.reader([*plan.observation_keys, *plan.done_keys])
        written = [*seen, *plan.done_keys]
        self._read, self._write = following.reader(written), following.writer(written)

    def reset(self, row: int, masks: Masks | None = None, **kwargs: Any) -> None:
        """See :meth:`~envkit.core.rows.RowPort.reset`."""
        self._port.reset(row, masks, **kwargs)
        remember(self._env, self._plan, self._given(row), masks)

    def step(self, row: int, masks: Masks | None = None) -> bool:
        """See :meth:`~envkit.core.rows.RowPort.step`."""
        ended = self._port.step(row) if masks is None else self._port.step(row, masks)
        out = self._read(row)
        if not all(_finite(array[row]) for array in self._floats):
            out = cut_off(self._env, self._plan, self._given(row), out)
            self._write(row, out)
            ended = any(bool(out.get(group.done).any()) for group in self._plan.done_groups)
        remember(self._env, self._plan, out)
        return ended


def _copied(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, torch.Tensor) else copy.deepcopy(value)


def _finite(value: Any) -> bool:
    return bool((torch if isinstance(value, torch.Tensor) else np).isfinite(value).all())
