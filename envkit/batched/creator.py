"""Functions that make envs, ready to be sent to other processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cloudpickle

from envkit.core.env import EnvBase

__all__ = ["EnvCreator"]


class EnvCreator:
    """A function that makes an env, with its arguments, which plain ``pickle`` can send to another process.

    That goes for lambdas as well. Calls are passed on to the function.

    Args:
        create_env_fn: makes an env.
        create_env_kwargs: keyword arguments for it; those of a call come on top.

    Examples:
        >>> import pickle
        >>> from envkit import GymEnv
        >>> make = EnvCreator(lambda **kwargs: GymEnv("Pendulum-v1", **kwargs), {"g": 9.81})
        >>> pickle.loads(pickle.dumps(make))().g
        9.81
    """

    def __init__(self, create_env_fn: Callable[..., EnvBase], create_env_kwargs: dict[str, Any] | None = None) -> None:
        if isinstance(create_env_fn, EnvBase) or not callable(create_env_fn):
            raise TypeError(
                f"create_env_fn: expected a function that makes an env, found {type(create_env_fn).__name__}"
            )
        self.create_env_fn, self.create_env_kwargs = create_env_fn, dict(create_env_kwargs or {})

    def __call__(self, **kwargs: Any) -> EnvBase:
        """Makes an env."""
        return self.create_env_fn(**{**self.create_env_kwargs, **kwargs})

    def __getstate__(self) -> bytes:
        return cloudpickle.dumps((self.create_env_fn, self.create_env_kwargs))

    def __setstate__(self, state: bytes) -> None:
        self.create_env_fn, self.create_env_kwargs = cloudpickle.loads(state)

    def __repr__(self) -> str:
        return f"EnvCreator({self.create_env_fn}, {self.create_env_kwargs})"
