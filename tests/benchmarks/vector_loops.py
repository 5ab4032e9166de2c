"""Eight envs at once: what is stepped, and the loops that step it, recorded and bare.

The loops fit everything with Gymnasium's `reset()` and `step(actions)`: numpy arrays first, whatever infos there are
last. Actions are drawn before the clock starts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from measure import Sample, rate

ENVS = 8


@dataclass(frozen=True)
class Work:
    """A job for eight envs.

    Args:
        make: makes one of them, with Gymnasium's interface.
        size: env steps to do.
        rows: how many steps of the eight are recorded at a time.
    """

    make: Callable[[], Any]
    size: int
    rows: int = 1000

    def actions(self, size: int) -> np.ndarray:
        """Random actions for `size` env steps, one row for each step of the eight."""
        env, random = self.make(), np.random.default_rng(0)
        space, steps = env.action_space, max(1, size // ENVS)
        env.close()
        if hasattr(space, "n"):
            return random.integers(0, space.n, (steps, ENVS))
        return random.uniform(space.low, space.high, (steps, ENVS, *space.shape)).astype(space.dtype)


def cartpole() -> Any:
    import gymnasium

    return gymnasium.make("CartPole-v1", disable_env_checker=True)


def frames() -> Any:
    from null_env import NullEnv

    return NullEnv((210, 160, 3), np.uint8)


def stepped(vector: Any, actions: np.ndarray) -> Callable[[], None]:
    """A loop that steps `vector` and keeps nothing."""
    step = vector.step

    def loop() -> None:
        for action in actions:
            step(action)

    return loop


def recorded(vector: Any, actions: np.ndarray, rows: int) -> Callable[[], None]:
    """A loop that steps `vector` and writes what it returns, infos aside, into arrays of `rows` rows."""
    step, rows = vector.step, min(rows, len(actions))
    outputs = [value for value in step(actions[0]) if isinstance(value, np.ndarray)]
    columns = [np.zeros((rows, *value.shape), value.dtype) for value in outputs]

    def loop() -> None:
        for start in range(0, len(actions), rows):
            for row, action in enumerate(actions[start : start + rows]):
                for column, value in zip(columns, step(action), strict=False):
                    column[row] = value

    return loop


def vector_rate(
    build: Callable[[Callable], Any],
    work: Work,
    size: int,
    record: bool,
    cpu: Callable[[], float] = time.process_time,
) -> Sample:
    """Env steps per second of the vector env that `build` makes out of `work.make`."""
    with closing(build(work.make)) as vector:
        vector.reset()
        actions = work.actions(size)
        warm_up = actions[: max(20, len(actions) // 20)]
        for part in (warm_up, actions):
            loop = recorded(vector, part, work.rows) if record else stepped(vector, part)
            sample = rate(loop, part.shape[0] * ENVS, cpu=cpu)
    return sample


def rollout_rate(env: Any, work: Work, size: int, cpu: Callable[[], float] = time.process_time) -> Sample:
    """Env steps per second of recorded rollouts with random actions, of ours or torchrl's."""
    rows = max(1, min(work.rows, size // ENVS))
    times = max(1, size // ENVS // rows)

    def rollouts(count: int) -> None:
        for _ in range(count):
            env.rollout(rows, break_when_any_done=False)

    with closing(env):
        env.set_seed(0)
        rollouts(max(1, times // 20))
        return rate(lambda: rollouts(times), times * rows * ENVS, cpu=cpu)


def hand_rate(env: Any, size: int, cpu: Callable[[], float] = time.process_time) -> Sample:
    """Env steps per second of a loop by hand over our public `step_and_maybe_reset`."""

    def loop(actions: Any) -> None:
        td = env.reset()
        for action in actions:
            td["action"] = action
            _, td = env.step_and_maybe_reset(td)

    with closing(env):
        env.set_seed(0)
        steps = max(1, size // ENVS)
        warm_up, actions = (env.action_spec.rand((n,)).unbind(0) for n in (max(20, steps // 20), steps))
        loop(warm_up)
        return rate(lambda: loop(actions), steps * ENVS, cpu=cpu)
