"""Envs under Gymnasium ids.

What is registered is plain data: the name of an entry point below, and keyword arguments for it, so that the spec of
an env that was made survives JSON and rebuilds an equal env in another process.
"""

from __future__ import annotations

import copy
import importlib
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import gymnasium
from gymnasium.vector import AutoresetMode
from tensordict import NestedKey

from envkit.batched import SerialEnv
from envkit.core.env import EnvBase
from envkit.export.gymnasium_env import ExportedEnv
from envkit.export.layout import as_keys
from envkit.export.vector_env import ExportedVectorEnv
from envkit.transforms import Transform, TransformedEnv

__all__ = ["make_single", "make_vector", "register_gym"]

Maker = Callable[..., EnvBase]
REMOVED = {
    "autoreset": "vector envs have autoreset_mode, and gymnasium.wrappers.Autoreset serves single ones",
    "apply_api_compatibility": "envkit's envs have today's interface",
}


def register_gym(
    env_class: type[EnvBase],
    id: str,
    *,
    entry_point: Maker | str | None = None,
    transform: Transform | Callable[[], Transform] | str | None = None,
    info_keys: Iterable[NestedKey] = (),
    backend: Any = None,
    to_numpy: bool = True,
    reward_threshold: float | None = None,
    nondeterministic: bool = False,
    max_episode_steps: int | None = None,
    order_enforce: bool = True,
    disable_env_checker: bool = False,
    **kwargs: Any,
) -> None:
    """Registers an env with Gymnasium, for ``gymnasium.make`` and ``gymnasium.make_vec``.

    ``transform``, ``info_keys``, ``to_numpy`` and the env's own arguments may also be given to ``make``, which then
    counts. Batches (``make_vec`` without a mode) are native where the entry point takes a ``batch_size``, and a
    :class:`~envkit.SerialEnv` elsewhere.

    Args:
        env_class: the env, unless ``entry_point`` is given.
        id: a Gymnasium id, ``"[namespace/]Name[-vN]"``.
        entry_point: makes the env; a function, a class, or the name of one (``"module:name"``).
        transform: a transform around the env, or a function that makes one, or the name of such a function (which
            is what a spec needs to have a JSON form).
        info_keys: see :func:`~envkit.as_gymnasium`.
        backend: ``gymnasium``, or its name; the only one there is.
        to_numpy: see :func:`~envkit.as_gymnasium`.
        reward_threshold, nondeterministic, max_episode_steps, order_enforce, disable_env_checker: see
            ``gymnasium.register``.
        **kwargs: arguments for the entry point.

    Raises:
        TypeError: the entry point takes no such argument, or needs one that is missing.
        ValueError: another backend.
    """
    if backend not in (None, "gymnasium", gymnasium):
        raise ValueError(f"register_gym: backend: expected gymnasium, found {getattr(backend, '__name__', backend)!r}")
    for name, hint in REMOVED.items():
        if name in kwargs:
            raise TypeError(f"register_gym: {name!r} is no option of Gymnasium since 1.0; {hint}")
    make = env_class if entry_point is None else entry_point
    if not isinstance(make, str):
        _check_arguments(make, kwargs)
    given: dict[str, Any] = {"env": name_of(make)}
    if transform is not None:
        given["transform"] = transform if isinstance(transform, Transform) else name_of(transform)
    keys = as_keys(info_keys)
    if keys:
        given["info_keys"] = [key if isinstance(key, str) else list(key) for key in keys]
    if not to_numpy:
        given["to_numpy"] = False
    gymnasium.register(
        id,
        entry_point=f"{__name__}:make_single",
        vector_entry_point=f"{__name__}:make_vector",
        reward_threshold=reward_threshold,
        nondeterministic=nondeterministic,
        max_episode_steps=max_episode_steps,
        order_enforce=order_enforce,
        disable_env_checker=disable_env_checker,
        kwargs={**given, **kwargs},
    )


def make_single(
    env: Maker | str,
    *,
    transform: Transform | Callable[[], Transform] | str | None = None,
    info_keys: Iterable[NestedKey] = (),
    to_numpy: bool = True,
    **kwargs: Any,
) -> ExportedEnv:
    """What ``gymnasium.make`` calls: makes an env and exports it.

    Args:
        env: makes the env; a function, a class, or the name of one (``"module:name"``).
        transform, info_keys, to_numpy: see :func:`register_gym`.
        **kwargs: arguments for ``env``.
    """
    made = _transformed(_resolve(env)(**kwargs), transform)
    return ExportedEnv(made, info_keys=info_keys, to_numpy=to_numpy)


def make_vector(
    env: Maker | str,
    *,
    num_envs: int = 1,
    transform: Transform | Callable[[], Transform] | str | None = None,
    info_keys: Iterable[NestedKey] = (),
    to_numpy: bool = True,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    max_episode_steps: int | None = None,
    **kwargs: Any,
) -> ExportedVectorEnv:
    """What ``gymnasium.make_vec`` calls: makes a batch of envs and exports it.

    Args:
        env: makes the env; if it takes a ``batch_size`` it makes the whole batch.
        num_envs: how many.
        transform, info_keys, to_numpy: see :func:`register_gym`; the transform is around the batch.
        autoreset_mode, max_episode_steps: see :func:`~envkit.as_gymnasium_vector`.
        **kwargs: arguments for ``env``.
    """
    make = _resolve(env)
    if "batch_size" in inspect.signature(make).parameters:
        batch = make(batch_size=(num_envs,), **kwargs)
    else:
        batch = SerialEnv(num_envs, make, create_env_kwargs=kwargs)
    return ExportedVectorEnv(
        _transformed(batch, transform),
        autoreset_mode=autoreset_mode,
        info_keys=info_keys,
        to_numpy=to_numpy,
        max_episode_steps=max_episode_steps,
    )


def name_of(thing: Any) -> Any:
    """``"module:name"`` if another process finds ``thing`` there, and ``thing`` itself otherwise."""
    if isinstance(thing, str):
        return thing
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", "")
    if module in (None, "__main__") or not name.isidentifier():
        return thing
    found = getattr(importlib.import_module(module), name, None) if _importable(module) else None
    return f"{module}:{name}" if found is thing else thing


def _importable(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def _resolve(thing: Any) -> Any:
    if not isinstance(thing, str):
        return thing
    module, _, name = thing.partition(":")
    return getattr(importlib.import_module(module), name)


def _transformed(env: EnvBase, transform: Any) -> EnvBase:
    transform = _resolve(transform)
    if transform is None:
        return env
    # A transform has one parent and may be asked for many times.
    return TransformedEnv(env, copy.deepcopy(transform.clone()) if isinstance(transform, Transform) else transform())


def _check_arguments(make: Callable, kwargs: dict[str, Any]) -> None:
    """Finds out at registration, rather than when somebody makes the env, that it cannot be made."""
    signature = inspect.signature(make)
    try:
        signature.bind(**kwargs)
    except TypeError as error:
        known = [name for name, p in signature.parameters.items() if p.kind is not p.VAR_KEYWORD]
        raise TypeError(
            f"register_gym: {getattr(make, '__name__', make)}: {error}; expected options of register_gym or arguments "
            f"among {known}"
        ) from error


EnvBase._registered = staticmethod(register_gym)
