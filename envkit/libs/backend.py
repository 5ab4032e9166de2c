"""Which of Gymnasium and its ancestor ``gym`` makes the envs of :class:`~envkit.GymEnv`."""

from __future__ import annotations

import importlib
from contextlib import ContextDecorator
from contextvars import ContextVar, Token
from types import ModuleType
from typing import Any

import gymnasium

from envkit.errors import MissingDependencyError, UnknownEnvError
from envkit.libs.headless import draw_without_display
from envkit.libs.translate import takes, translate
from envkit.spelling import did_you_mean

__all__ = ["env_ids", "gym_backend", "make_gymnasium", "set_gym_backend"]

_chosen: ContextVar[str] = ContextVar("gym_backend", default="gymnasium")


class set_gym_backend(ContextDecorator):  # noqa: N801 - the name users know it by
    """Chooses the library that makes Gymnasium envs: a context manager, a decorator, or for good by :meth:`set`.

    Args:
        backend: the module or its name, ``"gymnasium"`` or ``"gym"``, of any release from 0.21 on.

    Examples:
        >>> import gymnasium
        >>> with set_gym_backend(gymnasium):
        ...     gym_backend().__name__
        'gymnasium'
    """

    def __init__(self, backend: str | ModuleType) -> None:
        self.backend = backend if isinstance(backend, str) else backend.__name__
        self._tokens: list[Token[str]] = []

    def set(self) -> None:
        """Chooses the library until another one is chosen."""
        _chosen.set(self.backend)

    def __enter__(self) -> set_gym_backend:
        self._tokens.append(_chosen.set(self.backend))
        return self

    def __exit__(self, *_: object) -> None:
        _chosen.reset(self._tokens.pop())


def gym_backend(submodule: str | None = None) -> ModuleType:
    """The chosen library, or one of its modules.

    Raises:
        MissingDependencyError: it is not installed.

    Examples:
        >>> gym_backend("wrappers").__name__
        'gymnasium.wrappers'
    """
    name = _chosen.get()
    try:
        return importlib.import_module(f"{name}.{submodule}" if submodule else name)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"gym backend {name!r} is not installed: expected `pip install 'envkit[gym]'`, or another backend"
        ) from error


def make_gymnasium(env_id: str, **kwargs: Any) -> gymnasium.Env:
    """The env called ``env_id``, made by the chosen library, as a Gymnasium env.

    Raises:
        UnknownEnvError: no env is registered under ``env_id``.
        MissingDependencyError: the library is not installed.
    """
    backend = gym_backend()
    if kwargs.get("render_mode") not in (None, "human"):
        draw_without_display()
    if backend is not gymnasium:
        # The checker of gym 0.26 uses names that numpy has dropped; what it checks is checked here anyway. Releases
        # without a checker hand on what they do not know to the env, and render as they are told at the call.
        kwargs.pop("disable_env_checker", None)
        if takes(backend.make, "disable_env_checker"):
            kwargs["disable_env_checker"] = True
        else:
            kwargs.pop("render_mode", None)
    try:
        return translate(backend.make(env_id, **kwargs))
    except backend.error.UnregisteredEnv as error:
        name = f"{backend.__name__}'s registry{did_you_mean(env_id, env_ids(backend))}"
        raise UnknownEnvError(f"unknown env id {env_id!r}: expected one of {name}") from error


def env_ids(backend: ModuleType) -> list[str]:
    """The env ids registered with Gymnasium, or any release of ``gym``.

    Examples:
        >>> import gymnasium
        >>> "CartPole-v1" in env_ids(gymnasium)
        True
    """
    registry = backend.envs.registration.registry
    return list(getattr(registry, "env_specs", registry))
