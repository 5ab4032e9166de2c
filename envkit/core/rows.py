"""The row port: stepping an env so that it writes its outputs at a row of a slab.

Loops (rollouts, collectors, batched envs) never assemble TensorDicts: they bind an env to a pair of slabs once, through
``env._row_port(root, following)``, and then say "reset at row 0", "step row 5". Row ``t`` of the *root* slab
holds what the policy saw and did, row ``t`` of the *following* slab what came of it. The
public port (``_reset`` and ``_step`` on TensorDicts) and the row port carry bit-identical data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import torch
from tensordict import NestedKey

from envkit.storage import Slab

if TYPE_CHECKING:
    from envkit.core.env import EnvBase

__all__ = ["Masks", "RowPort", "TensorDictRows"]

Masks = Mapping[NestedKey, torch.Tensor]


class RowPort(Protocol):
    """An env bound to two slabs."""

    def reset(self, row: int, masks: Masks | None = None, **kwargs: Any) -> None:
        """Starts new episodes and writes their first data to root row ``row``.

        ``masks`` maps reset keys to booleans shaped like the done flags; without it everything is reset. Outside
        the masks the row already holds what was carried over and stays as it is. ``kwargs`` go to the simulator.
        """

    def step(self, row: int) -> bool:
        """Executes the action of root row ``row``, writes following row ``row``, returns whether any flag is done."""


class TensorDictRows:
    """The row port of any env, on top of its public one."""

    def __init__(self, env: EnvBase, root: Slab, following: Slab) -> None:
        plan = env.plan
        self._env, self._root, self._following = env, root, following
        inputs = [*plan.action_keys, *plan.state_keys]
        inputs += [key for key in (*plan.observation_keys, *plan.done_keys) if key not in plan.state_keys]
        self._first = [*plan.observation_keys, *plan.done_keys]
        self._states = plan.kept
        self._outputs = [*plan.observation_keys, *plan.reward_keys, *plan.done_keys]
        self._done = [following.columns[group.done] for group in plan.done_groups]
        self._read_input = root.reader(inputs)
        self._read_first = root.reader([*self._first, *self._states])

    def reset(self, row: int, masks: Masks | None = None, **kwargs: Any) -> None:
        """See :meth:`RowPort.reset`."""
        if masks is None:
            out = self._env.reset(**kwargs)
        else:
            given = self._read_first(row)
            for key, mask in masks.items():
                given.set(key, mask)
            out = self._env.reset(given, **kwargs)
        self._root.write(row, out, self._first)
        self._root.write(row, out, [key for key in self._states if out.get(key, None) is not None])

    def step(self, row: int) -> bool:
        """See :meth:`RowPort.step`."""
        out = self._env.next_of(self._read_input(row))
        self._following.write(row, out, self._outputs)
        return any(bool(column[row].any()) for column in self._done)
