"""The row port: stepping an env so that it writes its outputs at a row of a slab.

Loops (rollouts, collectors, batched envs) never assemble TensorDicts: they bind an env to a pair of slabs once, through
``env._row_port(root, following)``, and then say "reset at row 0", "step row 5". Row ``t`` of the *root* slab
holds what the policy saw and did, row ``t`` of the *following* slab what came of it. The
public port (``_reset`` and ``_step`` on TensorDicts) and the row port carry bit-identical data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from tensordict import TensorDict, TensorDictBase

from envkit.core.masks import Masks
from envkit.core.plan import Plan
from envkit.storage import Slab

if TYPE_CHECKING:
    from envkit.core.env import EnvBase

__all__ = ["RowPort", "TensorDictRows"]


class RowPort(Protocol):
    """An env bound to two slabs."""

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

    def __init__(self, env: EnvBase, plan: Plan, root: Slab, following: Slab) -> None:
        self._env, self._plan = env, plan
        inputs = [*plan.action_keys, *plan.state_keys]
        inputs += [key for key in (*plan.observation_keys, *plan.done_keys) if key not in plan.state_keys]
        first = [*plan.observation_keys, *plan.done_keys]
        self._read_input = root.viewer(inputs)
        self._read_first = root.reader([*first, *plan.kept])
        self._write_first = root.writer(first)
        self._write_states = [(key, root.writer([key])) for key in plan.kept]
        self._write_next = following.writer([*plan.observation_keys, *plan.reward_keys, *plan.done_keys])
        done = [following.arrays[group.done] for group in plan.done_groups]
        # A single flag a row can be read as a scalar.
        self._ended = [array[:, 0] for array in done if array.shape[1:] == (1,)]
        self._done = [array for array in done if array.shape[1:] != (1,)]

    def reset(self, row: int, masks: Masks | None = None, **kwargs: Any) -> None:
        """See :meth:`RowPort.reset`."""
        if masks is None:
            out = self._env.first_of(self._empty(), self._plan, **kwargs)
        else:
            given = self._read_first(row)
            for key, mask in masks.items():
                given.set(key, mask)
            out = self._env.reset(given, **kwargs)
        self._write_first(row, out)
        for key, write in self._write_states:
            if out.get(key, None) is not None:
                write(row, out)

    def _empty(self) -> TensorDictBase | None:
        """What a whole reset is given: for an env that goes by the size of its input, something of that size."""
        return None if self._env.batch_locked else TensorDict({}, self._plan.batch_size, device=self._env.device)

    def step(self, row: int, masks: Masks | None = None) -> bool:
        """See :meth:`RowPort.step`."""
        out = self._env.next_of(self._read_input(row), self._plan, masks)
        self._write_next(row, out)
        for column in self._ended:
            if column[row]:
                return True
        return any(array[row].any() for array in self._done)
