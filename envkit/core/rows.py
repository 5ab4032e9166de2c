"""The row port: stepping an env so that it writes its outputs at a row of a slab.

Loops (rollouts, collectors, batched envs) never assemble TensorDicts: they bind an env to a pair of slabs once, through
``env._row_port(root, following)``, and then say "reset at row 0", "step row 5". Row ``t`` of the *root* slab
holds what the policy saw and did, row ``t`` of the *following* slab what came of it. The
public port (``_reset`` and ``_step`` on TensorDicts) and the row port carry bit-identical data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from tensordict import NestedKey, TensorDict, TensorDictBase

from envkit.core.exact import ExactEntries, ExactStep
from envkit.core.masks import Masks, aligned, any_true, mask_of
from envkit.core.plan import Plan, path_of
from envkit.storage import Slab, peek, put

if TYPE_CHECKING:
    from envkit.core.env import EnvBase

__all__ = ["RowPort", "TensorDictRows"]

# Of at least so many elements fewer than one in so many are faster copied by their numbers.
MANY, FEW = 64, 4


class RowPort(Protocol):
    """An env bound to two slabs."""

    @property
    def advance(self) -> Callable[[int, int], None] | None:
        """``advance(row, stop)`` steps rows up to ``stop``, whose actions are all there.

        After each it hands on what it leads to to the next root row, and starts anew there what is done: that is
        ``step`` and a ``reset`` under the masks of what is done, in one. None where an env has no quicker way.
        """

    def reset(self, row: int, masks: Masks | None = None, **kwargs: Any) -> None:
        """Starts new episodes and writes their first data to root row ``row``.

        ``masks`` maps reset keys to booleans shaped like the done flags; without it everything is reset. Outside
        the masks the row already holds what was carried over and stays as it is. ``kwargs`` go to the simulator.
        """

    def step(self, row: int, masks: Masks | None = None) -> bool:
        """Executes the action of root row ``row``, writes following row ``row``, returns whether any flag is done.

        ``masks`` maps step keys to booleans shaped like the done flags; outside them nothing is stepped, and what root
        row ``row`` holds is repeated. An env without batch is never handed masks.
        """


class TensorDictRows:
    """The row port of any env, on top of its public one."""

    advance = None

    def __init__(self, env: EnvBase, plan: Plan, root: Slab, following: Slab) -> None:
        self._env, self._plan = env, plan
        inputs = [*plan.action_keys, *plan.state_keys]
        inputs += [key for key in (*plan.observation_keys, *plan.done_keys) if key not in plan.state_keys]
        first = [*plan.observation_keys, *plan.done_keys]
        self._read_input, self._read_first = root.viewers(inputs, [*first, *plan.kept])
        self._write_first = root.writer(first)
        self._write_states = [(key, root.writer([key])) for key in plan.kept]
        fixed = all(isinstance(root.columns[key], torch.Tensor) for key in (*first, *plan.kept))
        self._partial = _PartialReset(plan, root, env.allow_done_after_reset) if fixed else None
        self._write_next = following.writer([*plan.observation_keys, *plan.reward_keys, *plan.done_keys])
        self._done = [following.columns[group.done] for group in plan.done_groups]
        self._exact = ExactStep(plan, following) if ExactStep.suits(plan, following) else None

    def reset(self, row: int, masks: Masks | None = None, **kwargs: Any) -> None:
        """See :meth:`RowPort.reset`."""
        if masks is not None and self._partial is not None:
            self._reset_some(row, self._partial, masks, kwargs)
            return
        if masks is None:
            out = self._env.first_of(self._empty(), self._plan, **kwargs)
        else:
            out = self._env.reset(self._with_masks(row, masks), **kwargs)
        self._write_first(row, out)
        for key, write in self._write_states:
            if out.get(key, None) is not None:
                write(row, out)

    def _reset_some(self, row: int, partial: _PartialReset, masks: Masks, kwargs: dict[str, Any]) -> None:
        """Resets inside the masks, of which something is True, and writes there and nowhere else."""
        env, plan, runtime = self._env, self._plan, self._env._runtime
        masks = partial.spread(masks)
        if not plan.groups_apart and not any_true(masks):
            return  # what is done lies below groups that are not
        given = self._with_masks(row, masks)
        proven = runtime.started and runtime.checked_reset and runtime.auto_reset is None
        if not proven or partial.exact is None:
            partial.write(row, env.first_of(given, plan, masks, partial.needs_no_flags, **kwargs), masks)
            return
        env.assert_open()
        begin: Any = env._reset
        out = begin(given, **kwargs)
        values = None if out is given else partial.exact.read(out)
        if values is None:
            partial.write(row, env._complete_first(given, out, plan, masks, bare=partial.needs_no_flags), masks)
        else:
            partial.copy(row, values, masks)

    def _with_masks(self, row: int, masks: Masks) -> TensorDictBase:
        """The content of a root row, masks included."""
        given = self._read_first(row)
        for key, mask in masks.items():
            put(given, key, mask)
        return given

    def _empty(self) -> TensorDictBase | None:
        """What a whole reset is given: for an env that goes by the size of its input, something of that size."""
        return None if self._env.batch_locked else TensorDict({}, self._plan.batch_size, device=self._env.device)

    def step(self, row: int, masks: Masks | None = None) -> bool:
        """See :meth:`RowPort.step`."""
        env, runtime, given = self._env, self._env._runtime, self._read_input(row)
        proven = runtime.started and runtime.checked_step and runtime.auto_reset is None
        if proven and masks is None and self._exact is not None:
            out: Any = env._step(given)
            ended = None if out is given else self._exact.write(row, out)
            if ended is not None:
                return ended
            out = env._complete_next(given, out, self._plan)
        else:
            out = env.next_of(given, self._plan, masks)
        self._write_next(row, out)
        return any(bool(column[row].any()) for column in self._done)


class _PartialReset:
    """What :func:`~envkit.core.masks.merge_reset` does, on the columns of a slab.

    Who is ruled by which mask follows from the plan, and is worked out once.
    """

    def __init__(self, plan: Plan, root: Slab, may_start_done: bool) -> None:
        self._plan = plan
        levels = [path_of(key)[:-1] for key in plan.reset_keys]
        self._rulers: list[tuple[NestedKey, NestedKey, torch.Size]] = []
        for group, level in zip(plan.done_groups, levels, strict=True):
            first = next(depth for depth in range(len(level) + 1) if level[:depth] in levels)
            self._rulers.append((group.reset, plan.reset_keys[levels.index(level[:first])], group.shape))
        # No flag of a row to step from is up, and a reset puts none up.
        self.needs_no_flags = plan.groups_apart and not may_start_done
        self._keys = [*plan.observation_keys, *([] if self.needs_no_flags else plan.done_keys), *plan.kept]
        self.exact: ExactEntries | None = None
        if self.needs_no_flags and all(root.arrays[key].__class__ is np.ndarray for key in self._keys):
            self.exact = ExactEntries(root, plan.observation_keys, plan.kept, [*plan.done_keys, *plan.reward_keys])
            self._keys = self.exact.keys
        # Entries of one level and shape, of which there are several, have one mask.
        kinds: dict[tuple, list[tuple[int, Any]]] = {}
        for place, key in enumerate(self._keys):
            kind = (path_of(key)[:-1], root.columns[key].shape[1:])  # type: ignore[union-attr]
            kinds.setdefault(kind, []).append((place, root.arrays[key]))
        self._kinds = [(self._mask_for(*kind), columns) for kind, columns in kinds.items()]

    def _mask_for(self, prefix: tuple[str, ...], shape: torch.Size) -> Callable[[Masks], torch.Tensor]:
        """A function from the masks to that of the entries of a level that have a shape."""
        plan, key = self._plan, (*prefix, "")
        example: Masks = {group.reset: torch.zeros(group.shape, dtype=torch.bool) for group in plan.done_groups}
        mask = mask_of(key, plan, example)
        like = aligned(mask, shape).shape
        ruler = next((name for name, other in example.items() if other is mask), None)
        if ruler is None or like.numel() != mask.numel():
            return lambda masks: aligned(mask_of(key, plan, masks), shape)
        if like == mask.shape:
            return lambda masks: masks[ruler]
        return lambda masks: masks[ruler].reshape(like)

    def spread(self, masks: Masks) -> Masks:
        """The masks of all levels, where one above others replaces them."""
        if self._plan.groups_apart:
            return masks
        return {
            key: masks[key] if key == ruler else aligned(masks[ruler], shape).expand(shape)
            for key, ruler, shape in self._rulers
        }

    def write(self, row: int, out: TensorDictBase, masks: Masks) -> None:
        """Writes a reset's completed output into a root row, inside the masks only."""
        values = [peek(out, key) for key in self._keys]
        self.copy(row, [None if value is None else value.detach() for value in values], masks)

    def copy(self, row: int, values: list[Any], masks: Masks) -> None:
        """The same for the values of all keys, tensors or arrays, None where there is none."""
        for mask_for, columns in self._kinds:
            mask: Any = mask_for(masks)
            for place, array in columns:
                new = values[place]
                if new is None:
                    continue
                if array.__class__ is not np.ndarray:
                    old = array[row]
                    torch.where(mask, new.to(old), old, out=old)
                    continue
                if mask.__class__ is not np.ndarray:
                    mask = mask.cpu().numpy()
                if new.__class__ is not np.ndarray:
                    new = new.cpu().numpy()
                _copy_some(array[row, ...], new, mask)


def _copy_some(old: np.ndarray, new: np.ndarray, mask: np.ndarray) -> None:
    """Copies ``new`` to ``old`` where ``mask``, which broadcasts to them, is True."""
    if mask.size > MANY and len(mask) == mask.size and np.count_nonzero(mask) < mask.size // FEW:
        rows = np.flatnonzero(mask)
        old[rows] = new.take(rows, 0)  # at a fifth of what new[rows] costs
    else:
        np.copyto(old, new, where=mask)
