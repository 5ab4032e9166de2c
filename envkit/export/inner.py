"""What exporting an env needs to know of what is behind it: batches, transforms, simulators."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import singledispatch
from typing import Any

import gymnasium

from envkit.batched.base import BatchedEnv
from envkit.core.env import EnvBase
from envkit.libs import GymVectorWrapper, GymWrapper
from envkit.transforms import TransformedEnv

__all__ = ["ask", "holder", "innermost", "seed_rows", "takes_options"]

Seeds = Sequence[int | None]


@singledispatch
def seed_rows(env: EnvBase, seeds: Seeds) -> None:
    """Seeds element ``i`` of the batch with ``seeds[i]``, where that is a number.

    An env with one random stream for all its elements is seeded with the first number.
    """
    first = next((seed for seed in seeds if seed is not None), None)
    if first is not None:
        env.set_seed(first)


@seed_rows.register
def _(env: TransformedEnv, seeds: Seeds) -> None:
    seed_rows(env.base_env, seeds)


@seed_rows.register
def _(env: BatchedEnv | GymVectorWrapper, seeds: Seeds) -> None:
    env.set_seeds(seeds)


def ask(env: EnvBase, name: str, default: Any = None) -> Any:
    """An attribute of an env; of a batch of envs, that of the first."""
    value = getattr(env, name, default)
    return value[0] if isinstance(innermost(env), BatchedEnv) and isinstance(value, list) and value else value


def innermost(env: EnvBase) -> EnvBase:
    """The env behind all transforms."""
    while isinstance(env, TransformedEnv):
        env = env.base_env
    return env


def takes_options(env: EnvBase) -> bool:
    """Whether the env's resets know what options are. Those that do not ignore them, as is usual in Gymnasium."""
    env = innermost(env)
    if isinstance(env, BatchedEnv):
        return all(env.map(takes_options))
    if isinstance(env, GymWrapper | GymVectorWrapper):
        return True
    parameters = inspect.signature(env._reset).parameters.values()
    return any(p.name == "options" or p.kind is p.VAR_KEYWORD for p in parameters)


def holder(env: EnvBase, name: str) -> Any:
    """The object behind an env that has ``name`` as its own, from the outside in; None if there is none.

    An env looks up what it lacks in the one it wraps, but an assignment would stay on the outside.
    """
    inner: Any = env
    while isinstance(inner, EnvBase):
        try:
            object.__getattribute__(inner, name)
        except AttributeError:
            stores = (inner._parameters, inner._buffers, inner._modules)
            if any(name in store for store in stores):
                return inner
        else:
            return inner
        inner = inner.__dict__.get("base_env", inner.__dict__.get("_env"))
    return inner if isinstance(inner, gymnasium.Env) and inner.has_wrapper_attr(name) else None
