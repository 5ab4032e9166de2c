"""Seconds from the construction of eight CartPoles in eight processes to the end of their first reset.

Same work: eight processes with an env each, everything imported in the calling process beforehand.

`parallel_start` is about processes that begin afresh: ours by its default start method, a fork server, as Gymnasium's
and SB3's; torchrl's by its default, eight interpreters. It is measured once in a run, since later starts would find the
server warm. Ours has to import torch and may take a second on top: one import of torch is measured just before, in an
interpreter of its own, and the wanted value is that and one second. (Gymnasium's workers need no torch.)

`parallel_start_fork` forks the calling process; the value is the median of several starts.
"""

from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

from cases.import_time import import_seconds
from measure import Case, Sample, clock
from peers import vector_envs
from vector_loops import ENVS, cartpole


def start_seconds(build: Callable[[], Any], size: int) -> float:
    """The median over `size` starts."""
    seconds, built = [], []

    def start() -> None:
        built.append(build())
        built[-1].reset()

    for _ in range(size):
        seconds.append(clock(start)[0])
        built.pop().close()
    return median(seconds)


def envkit(method: str | None, size: int) -> Sample:
    from envkit import GymEnv, ParallelEnv

    imported = import_seconds("torch", 1).value if method is None else None
    seconds = start_seconds(lambda: ParallelEnv(ENVS, lambda: GymEnv("CartPole-v1"), mp_start_method=method), size)
    if imported is None:
        return Sample(seconds)
    return Sample(seconds, note=f"import torch {imported:.2f} s", limit=imported + 1)


def torchrl(method: str, size: int) -> Sample:
    from torchrl.envs import GymEnv, ParallelEnv

    return Sample(start_seconds(lambda: ParallelEnv(ENVS, lambda: GymEnv("CartPole-v1"), mp_start_method=method), size))


def vector(build: Callable, serial: Callable, size: int) -> Sample:
    serial(cartpole).close()  # imports the library
    return Sample(start_seconds(lambda: build(cartpole), size))


def peers(method: str) -> dict:
    gymnasium = partial(vector_envs.gymnasium_async, context=method)
    baselines = partial(vector_envs.baselines_subproc, start_method=method)
    return {
        "gymnasium": partial(vector, gymnasium, vector_envs.gymnasium_sync),
        "stable-baselines3": partial(vector, baselines, vector_envs.baselines_dummy),
        "torchrl": partial(torchrl, "fork" if method == "fork" else "spawn"),
    }


CASES = {
    "parallel_start": Case(
        unit="s", size=1, ours={"envkit": partial(envkit, None)}, peers=peers("forkserver"), lower_is_better=True
    ),
    "parallel_start_fork": Case(
        unit="s",
        size=5,
        ours={"envkit": partial(envkit, "fork")},
        peers={
            **peers("fork"),
            "pufferlib": partial(
                vector, partial(vector_envs.pufferlib_parallel, workers=ENVS), vector_envs.pufferlib_serial
            ),
        },
        limit=0.1,
        lower_is_better=True,
    ),
}
