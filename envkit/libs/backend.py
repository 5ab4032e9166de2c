"""Which of Gymnasium and its ancestor ``gym`` makes the envs of :class:`~envkit.GymEnv`."""

from __future__ import annotations

import importlib
from contextlib import ContextDecorator
from contextvars import ContextVar, Token
from types import ModuleType
from typing import Any

import gymnasium

from envkit.errors import MissingDependencyError

__all__ = ["gym_backend", "make_gymnasium", "set_gym_backend"]

_chosen: ContextVar[str] = ContextVar("gym_backend", default="gymnasium")


class set_gym_backend(ContextDecorator):  # noqa: N801 - the name users know it by
    """Chooses the library that makes Gymnasium envs: a context manager, a decorator, or for good by :meth:`set`.

    Args:
        backend: the module or its name, ``"gymnasium"`` or ``"gym"``. Envs of ``gym`` 0.26 are adapted by the
            ``shimmy`` package.

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
    """The env called ``env_id``, made by the chosen library, as a Gymnasium env."""
    backend = gym_backend()
    if backend is gymnasium:
        return gymnasium.make(env_id, **kwargs)
    try:
        from shimmy.openai_gym_compatibility import GymV26CompatibilityV0
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"gym backend {backend.__name__!r} needs shimmy: expected `pip install 'envkit[gym]'`"
        ) from error
    # The checker of gym 0.26 uses names that numpy has dropped; what it checks is checked here anyway.
    return GymV26CompatibilityV0(env=backend.make(env_id, **{**kwargs, "disable_env_checker": True}))
