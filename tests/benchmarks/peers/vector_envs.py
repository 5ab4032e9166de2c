"""Vectors of eight Gymnasium envs as other libraries make them, each in the quickest of its own ways."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

from vector_loops import ENVS


def gymnasium_sync(make: Callable) -> Any:
    from gymnasium.vector import SyncVectorEnv

    return SyncVectorEnv([make] * ENVS, copy=False)


def gymnasium_async(make: Callable, context: str | None = None) -> Any:
    from gymnasium.vector import AsyncVectorEnv

    return AsyncVectorEnv([make] * ENVS, copy=False, context=context)


def baselines_dummy(make: Callable) -> Any:
    from stable_baselines3.common.vec_env import DummyVecEnv

    return DummyVecEnv([make] * ENVS)


def baselines_subproc(make: Callable, start_method: str | None = None) -> Any:
    from stable_baselines3.common.vec_env import SubprocVecEnv

    return SubprocVecEnv([make] * ENVS, start_method=start_method)


def pufferlib_serial(make: Callable) -> Any:
    return _pufferlib(make, "Serial")


def pufferlib_parallel(make: Callable, workers: int | None = None) -> Any:
    """With as many workers as leave a core to the caller: all spin, and one too many makes it 50 times slower."""
    free = max(1, (os.cpu_count() or 1) - 1)
    best = max(count for count in (1, 2, 4, 8) if count <= free)
    return _pufferlib(make, "Multiprocessing", num_workers=workers or best, overwork=True)


def _pufferlib(make: Callable, backend: str, **options: Any) -> Any:
    # Importing it leaves a link in the current folder.
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        import pufferlib.emulation
        import pufferlib.vector

    create = partial(pufferlib.emulation.GymnasiumPufferEnv, env_creator=make)
    return pufferlib.vector.make(create, backend=getattr(pufferlib.vector, backend), num_envs=ENVS, **options)


def envpool(env_id: str, make: Callable) -> Any:
    """Simulators of its own, in threads; `make` is left aside."""
    import envpool

    return envpool.make_gymnasium(env_id, num_envs=ENVS)
