"""The env inside a transform, for transforms that step it more often than they are stepped."""

from __future__ import annotations

from collections.abc import Iterable

from tensordict import NestedKey, TensorDictBase

from envkit.core.env import EnvBase
from envkit.transforms.base import Transform
from envkit.transforms.rows import Arrays, Columns

__all__ = ["InnerRows", "env_inside", "no_op"]


def env_inside(transform: Transform) -> EnvBase:
    """The env as a transform sees it.

    Raises:
        RuntimeError: the transform is in none.
    """
    env = transform.parent
    if env is None:
        raise RuntimeError(f"{type(transform).__name__}: expected a transform of an env, found one without parent")
    return env


def no_op(env: EnvBase) -> TensorDictBase:
    """The action that does nothing: of discrete ones the first, otherwise the one next to zero."""
    spec = env.full_action_spec
    return spec.zero().update({key: leaf.project(leaf.zero()) for key, leaf in spec.items(True, True)})


class InnerRows:
    """The env inside a transform of a single env, on a row of its own.

    Args:
        transform: in an env whose only done flags are at the root.
        columns: those it is bound to.
    """

    def __init__(self, transform: Transform, columns: Columns) -> None:
        env = env_inside(transform)
        self._plan = plan = env.plan
        root, following = env._slabs(plan, 1, None)
        self.root, self.following = root.arrays, following.arrays
        self._columns, self._port = columns, env._row_port(plan, root, following)
        self._inputs = [*plan.action_keys, *plan.kept]
        self._reads = [] if env.keeps_state else plan.carried

    @staticmethod
    def suits(transform: Transform) -> bool:
        """Whether there is such a row."""
        env = env_inside(transform)
        return not env.batch_size and env.batch_locked and env.reset_keys == ["_reset"]

    def start(self, row: int) -> None:
        """Goes on from following row ``row``, with the actions and states of root row ``row``."""
        self._copy(self._inputs, self._columns.root.inner, row, self.root, 0)
        self._copy(self._reads, self._columns.following.inner, row, self.root, 0)

    def start_first(self, row: int, action: TensorDictBase) -> None:
        """Goes on from root row ``row``, with ``action`` again and again."""
        self._copy([*self._plan.carried, *self._plan.kept], self._columns.root.inner, row, self.root, 0)
        for key in self._plan.action_keys:
            self.root[key][0, ...] = action.get(key)

    def step(self) -> bool:
        """Steps, and returns whether anything is done."""
        for key in self._plan.done_keys:
            self.following[key][0] = False
        return self._port.step(0)

    def hand_on(self, *, everything: bool = False) -> None:
        """Goes on from what the last step led to; with ``everything``, as what can be seen of a reset."""
        self._copy(self._plan.carried if everything else self._reads, self.following, 0, self.root, 0)

    def reset(self) -> None:
        """Starts a new episode."""
        self._port.reset(0)

    def finish(self, row: int) -> None:
        """Hands what the last step led to, rewards apart, to following row ``row``."""
        keys = [*self._plan.carried, *self._plan.done_keys]
        self._copy(keys, self.following, 0, self._columns.following.outer, row)

    def finish_first(self, row: int) -> None:
        """Hands what the next step would start from to root row ``row``."""
        self._copy([*self._plan.carried, *self._plan.kept], self.root, 0, self._columns.root.outer, row)

    def _copy(self, keys: Iterable[NestedKey], source: Arrays, source_row: int, target: Arrays, row: int) -> None:
        for key in keys:
            target[key][row] = source[key][source_row]
