"""The row port of dm_control environments."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from envkit.core.masks import Masks
from envkit.errors import EnvDataError, ResetNeededError
from envkit.libs.numpy_rows import Writer, row_reader, row_writer
from envkit.specs import TensorSpec, Unbounded
from envkit.storage import Slab

if TYPE_CHECKING:
    from envkit.libs.dm_control import DMControlWrapper

__all__ = ["DMControlRows"]

LAST = 2  # the step type of dm_env, after FIRST and MID


class DMControlRows:
    """A dm_control env bound to slabs."""

    advance = None  # the loop's own way is as quick, for one simulator

    def __init__(self, env: DMControlWrapper, root: Slab, following: Slab) -> None:
        self._env = env
        self._write_first = _writer(env, root)
        self.step: Callable[..., bool] = self._stepper(root, following)

    def reset(self, row: int, masks: Masks | None = None, **kwargs: Any) -> None:
        """See :meth:`~envkit.core.rows.RowPort.reset`; a dm_env takes no arguments at a reset."""
        if kwargs:
            raise TypeError(f"dm_env takes no arguments at a reset: found {sorted(kwargs)}; set_seed sets its seed")
        self._write_first(row, self._env._begin().observation)

    def _stepper(self, root: Slab, following: Slab) -> Callable[[int], bool]:
        """The step of :class:`~envkit.core.rows.RowPort` as one closure, everything it needs bound."""
        env, arrays = self._env, following.arrays
        repeated = _repeated if env.frame_skip > 1 else None
        read = row_reader(env.full_action_spec["action"], root.arrays, "action")
        write = _writer(env, following)
        rewards, dones, terminations, truncations = (
            arrays[name].reshape(-1) for name in ("reward", "done", "terminated", "truncated")
        )

        def step(row: int) -> bool:
            if env._over:
                raise ResetNeededError(f"{env}: expected a reset before the next step(); the episode is over")
            action = read(row)
            # The simulator is another one after a seed has been set.
            result = env._env.step(action) if repeated is None else repeated(env, action)
            kind, reward, discount, observation = result
            if reward is None:
                raise EnvDataError(f"'reward' of {env}: expected a number, found None in a step of type {kind!r}")
            write(row, observation)
            rewards[row] = reward
            if kind != LAST:
                return False
            env._over = True
            dones[row] = True
            (truncations if discount else terminations)[row] = True
            return True

        return step


def _repeated(env: DMControlWrapper, action: Any) -> Any:
    """The last TimeStep of an action that is repeated, with the sum of the rewards."""
    total = 0.0
    for _ in range(env.frame_skip):
        result = env._env.step(action)
        if result.reward is None:
            return result
        total += result.reward
        if result.step_type == LAST:
            break
    return result._replace(reward=total)


def _writer(env: DMControlWrapper, slab: Slab) -> Writer:
    """A function that writes everything observed, pixels included, to a row."""
    arrays, named = slab.arrays, env._named
    writers = [(name, _leaf_writer(leaf, arrays[name], name)) for name, leaf in env._simulator_spec.items()]
    pixels = row_writer(env.observation_spec["pixels"], arrays, "pixels") if env.from_pixels else None

    def write(row: int, observation: Any) -> None:
        for name, write_leaf in writers:
            try:
                value = observation[name] if named else observation
            except KeyError:
                found = list(observation)
                raise EnvDataError(f"{name!r} is missing from the observations of {env}: found {found}") from None
            write_leaf(row, value)
        if pixels is not None:
            pixels(row, env.render())

    return write


def _leaf_writer(leaf: TensorSpec, array: np.ndarray, name: str) -> Writer:
    """A function that writes one observation; numbers have no dimensions in a simulator, and one here."""
    if leaf.shape != (1,):
        return row_writer(leaf, {name: array}, name)
    flat = row_writer(Unbounded((), dtype=leaf.dtype), {name: array.reshape(-1)}, name)
    whole = row_writer(leaf, {name: array}, name)
    return lambda row, value: (whole if np.ndim(value) else flat)(row, value)
