"""From what a user names on the command line to a function that makes envs."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

import gymnasium

from envkit.core.env import EnvBase
from envkit.errors import EnvkitError
from envkit.libs import GymEnv, GymVectorWrapper, GymWrapper
from envkit.transforms import Transform, TransformedEnv

__all__ = ["TargetError", "as_env", "env_maker"]

BASE = "Pendulum-v1"


class TargetError(EnvkitError, ValueError):
    """There is nothing to examine under this name."""


def env_maker(target: str, *, on: str = BASE) -> Callable[[], EnvBase]:
    """A function that makes the env called ``target``.

    Args:
        target: ``package.module:name``, where the name is an env, a class or function that makes one, a Gymnasium env
            or vector env, or a transform; or a Gymnasium id.
        on: what a transform is examined on, named in the same way.

    Raises:
        TargetError: there is no such module, or nothing of that name in it.
        UnknownEnvError: there is no such Gymnasium id.

    Examples:
        >>> env_maker("CartPole-v1")().batch_size
        torch.Size([])
    """
    module, colon, name = target.partition(":")
    if not colon or _is_id(target):
        return _from_id(target)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise TargetError(f"{target}: no module {error.name!r} (looked in the current folder too)") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise TargetError(f"{target}: no {part!r} in {getattr(found, '__name__', found)}")
        found = getattr(found, part)
    return lambda: as_env(found, env_maker(on))


def as_env(thing: Any, base: Callable[[], EnvBase] | None = None) -> EnvBase:
    """An env from whatever may stand for one; a transform is put on the env that ``base`` makes.

    Raises:
        TargetError: there is no way to see an env in it.
    """
    if isinstance(thing, EnvBase):
        return thing
    if isinstance(thing, gymnasium.Env):
        return GymWrapper(thing)
    if isinstance(thing, gymnasium.vector.VectorEnv):
        return GymVectorWrapper(thing)
    if isinstance(thing, Transform) and base is not None:
        return TransformedEnv(base(), thing.clone())
    if callable(thing):
        return as_env(thing(), base)
    raise TargetError(
        f"expected an env, a Gymnasium env, a transform, or a function that makes one, found {type(thing).__name__}"
    )


def _is_id(target: str) -> bool:
    """Whether it is an id whose first part Gymnasium imports: ``module:Name-v0``."""
    return target in gymnasium.registry or target.partition(":")[2] in gymnasium.registry


def _from_id(name: str) -> Callable[[], EnvBase]:
    try:
        gymnasium.spec(name)
    except gymnasium.error.UnregisteredEnv:
        GymEnv(name)  # which says what is near
    return lambda: GymEnv(name)
