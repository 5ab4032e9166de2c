"""The row port of a transformed env whose transforms all have rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tensordict import NestedKey

from envkit.core.masks import Masks
from envkit.core.plan import Plan
from envkit.core.rows import RowPort, TensorDictRows
from envkit.core.values import check_values
from envkit.storage import Slab
from envkit.transforms.layers import FOLLOWING, ROOT, Layout
from envkit.transforms.rows import Columns, RowForm, Sides, binds_rows

if TYPE_CHECKING:
    from envkit.core.env import EnvBase
    from envkit.transforms.env import TransformedEnv

__all__ = ["Chain"]


class Chain:
    """A transformed env's chain on rows: what follows from its specs, worked out once.

    Args:
        env: the transformed env.
        plan: its plan.
    """

    def __init__(self, env: TransformedEnv, plan: Plan) -> None:
        self._env, self._plan = env, plan
        base, levels = env.base_env, env.levels
        self._transforms = list(env.transform)
        inputs = [transform.in_keys_inv for transform in self._transforms]
        self._root = Layout(levels, ROOT, inputs, base.plan.root_spec)
        self._following = Layout(levels, FOLLOWING, [()] * len(inputs), base.plan.next_spec)
        alike = base.device == env.device and base.batch_size == env.batch_size
        # Flags that are derived from what transforms return are none of theirs.
        told = set(plan.done_keys) == set(levels[-1]["done"].keys(True, True)) and base.reset_keys == plan.reset_keys
        self._binds = alike and told and all(map(binds_rows, self._transforms))
        written = {key for transform in self._transforms for key in transform.out_keys}
        seen = [*plan.observation_keys, *plan.done_keys]
        self._changed = [key for key in seen if key in written or key not in self._root.passed]

    def slabs(self, rows: int, device: torch.device | None) -> tuple[Slab, Slab] | None:
        """Slabs around those that the base env makes, whose columns they share; None if the chain has no rows."""
        if not self._binds:
            return None
        root, following = self._env.base_env._slabs(self._env.base_env.plan, rows, device)
        return self._root.around(self._plan.root_spec, root), self._following.around(self._plan.next_spec, following)

    def bind(self, root: Slab, following: Slab) -> RowPort | None:
        """The chain bound to slabs, transform by transform; None if it, or the base env, has no such way.

        The base env may read observations and flags from the row it steps. It finds there what it would find in the
        TensorDict, if those columns are the loop's own.
        """
        base = self._env.base_env
        plan = base.plan
        reads = [] if base.keeps_state else [*plan.observation_keys, *plan.done_keys]
        if not self._binds or not self._root.passed.issuperset([*reads, *plan.state_keys]):
            return None
        if any(slab.device not in (None, torch.device("cpu")) for slab in (root, following)):
            return None
        if not all(isinstance(root.arrays[key], np.ndarray) for key in self._changed):
            return None
        before, after = self._root.bind(root), self._following.bind(following)
        forms = []
        for i, transform in enumerate(self._transforms):
            first, then = (Sides(layers.arrays[i], layers.arrays[i + 1]) for layers in (before, after))
            form = transform._bind_rows(Columns(first, then, root.arrays))
            if form is None:
                return None
            forms.append(form)
        inner = before.inner, after.inner
        port = base._row_port(plan, *inner)
        return ChainRows(self._env, self._plan, (root, following), port, inner, forms, self._changed)


class ChainRows:
    """A base env and the transforms around it, bound to slabs."""

    def __init__(
        self,
        env: TransformedEnv,
        plan: Plan,
        slabs: tuple[Slab, Slab],
        port: RowPort,
        inner: tuple[Slab, Slab],
        forms: Sequence[RowForm],
        changed: Sequence[NestedKey],
    ) -> None:
        self._env, self._port, self._inner = env, port, inner
        self._plan, self._slabs = plan, slabs
        self._step = _stepper(env.base_env, port, inner[1], forms)
        self._resets = [form.reset for form in forms if form.reset is not None]
        lead, groups = tuple(plan.batch_size), plan.done_groups
        root, following = slabs[0].arrays, slabs[1].arrays
        # Root columns to which resets write everywhere, with the shape of a mask that broadcasts to their rows, and
        # with what a step hands on to them: flags are handed on as False.
        self._changed = [
            (
                root[key],
                (*lead, *(1,) * (root[key].ndim - 1 - len(lead))),
                following[key] if key in plan.carried else None,
            )
            for key in changed
        ]
        self._by_root = [group.reset for group in groups] == ["_reset"] and groups[0].shape == (*lead, 1)
        self._carry = [(root[key], following[key]) for key in plan.carried]
        self._done: dict[NestedKey, Any] = {group.reset: slabs[1].columns[group.done] for group in groups}
        self._able = self._by_root and not plan.kept

    @cached_property
    def _by_tensordicts(self) -> TensorDictRows:
        """For steps of some elements, and resets by the masks of several groups."""
        return TensorDictRows(self._env, self._plan, *self._slabs)

    @property
    def advance(self) -> Callable[[int, int], None] | None:
        """See :attr:`~envkit.core.rows.RowPort.advance`."""
        return self._advance if self._able else None  # not kept: a port that refers to itself outlives its use

    def _advance(self, start: int, stop: int) -> None:
        for row in range(start, stop):
            following = row + 1
            ended = self._step(row)
            for destination, source in self._carry:
                destination[following] = source[row]
            if ended:
                masks = {key: column[row] for key, column in self._done.items()}
                self._port.reset(following, masks)
                for reset in self._resets:
                    reset(following, masks)
                outside = ~masks["_reset"].numpy()
                for array, shape, handed_on in self._changed:
                    old = False if handed_on is None else handed_on[row]
                    np.copyto(array[following, ...], old, where=outside.reshape(shape))

    def step(self, row: int, masks: Masks | None = None) -> bool:
        """See :meth:`~envkit.core.rows.RowPort.step`."""
        return self._step(row) if masks is None else self._by_tensordicts.step(row, masks)

    def reset(self, row: int, masks: Masks | None = None, **kwargs: Any) -> None:
        """See :meth:`~envkit.core.rows.RowPort.reset`."""
        if masks is not None and not self._by_root:
            self._by_tensordicts.reset(row, masks, **kwargs)
            return
        env, base = self._env, self._env.base_env
        base.assert_open()
        kept = [] if masks is None else [array[row].copy() for array, _, _ in self._changed]
        self._port.reset(row, masks, **kwargs)
        env._runtime.started = base._runtime.started = True
        if masks is None and not base._runtime.checked_reset:
            keys = base.plan.observation_keys
            check_values(base, self._inner[0].reader(keys)(row), keys, "_reset")
            base._runtime.checked_reset = True
        for reset in self._resets:
            reset(row, masks)
        if masks is not None:
            outside = ~masks["_reset"].numpy()
            for (array, shape, _), old in zip(self._changed, kept, strict=True):
                np.copyto(array[row, ...], old, where=outside.reshape(shape))


def _stepper(base: EnvBase, port: RowPort, following: Slab, forms: Sequence[RowForm]) -> Callable[[int], bool]:
    """The step of a whole chain."""
    inverses = [form.inv for form in reversed(forms) if form.inv is not None]
    changes = [form.step for form in forms if form.step is not None]
    inner, unchecked = port.step, not base._runtime.checked_step

    def step(row: int) -> bool:
        nonlocal unchecked
        for inverse in inverses:
            inverse(row)
        ended = inner(row)
        if unchecked:
            unchecked = False
            keys = [*base.plan.observation_keys, *base.plan.reward_keys]
            check_values(base, following.reader(keys)(row), keys, "_step")
            base._runtime.checked_step = True
        for change in changes:
            if change(row):
                ended = True
        return ended

    return step
