"""The most that two processes can do: each steps half of the envs by itself and tells nobody."""

from __future__ import annotations

import multiprocessing

import numpy as np
from measure import Sample, family_time, rate
from vector_loops import ENVS, Work

PROCESSES = 2


def two_processes(work: Work, size: int, record: bool) -> Sample:
    """Env steps per second of both together, from a common start to the end of the later one."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(PROCESSES + 1)
    actions = np.array_split(work.actions(size), PROCESSES, axis=1)
    rows = work.rows if record else 1
    processes = [context.Process(target=_step, args=(work, part, rows, barrier), daemon=True) for part in actions]
    for process in processes:
        process.start()
    barrier.wait()
    sample = rate(barrier.wait, len(actions[0]) * ENVS, cpu=family_time)
    barrier.wait()
    for process in processes:
        process.join()
    return sample


def _step(work: Work, actions: np.ndarray, rows: int, barrier) -> None:
    """Steps bare simulators, with nothing around them but their time limit; observations go where others could read."""
    made = [work.make() for _ in range(ENVS // PROCESSES)]
    limit = made[0].spec.max_episode_steps if made[0].spec else None
    envs = [env.unwrapped for env in made]
    space = envs[0].observation_space
    observations = np.zeros((min(rows, len(actions)), len(envs), *space.shape), space.dtype)
    elapsed = [0] * len(envs)
    for env in envs:
        env.reset()
    barrier.wait()
    for t, action in enumerate(actions):
        row = observations[t % rows]
        for i, env in enumerate(envs):
            row[i], _, terminated, truncated, _ = env.step(action[i])
            elapsed[i] += 1
            if terminated or truncated or elapsed[i] == limit:
                env.reset()
                elapsed[i] = 0
    barrier.wait()
    barrier.wait()  # one that has ended has no CPU time any more
