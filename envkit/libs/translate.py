"""A Gymnasium env out of a simulator that speaks one of the dialects around it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
from gymnasium import spaces

from envkit.errors import EnvDataError, UnsupportedSpaceError

__all__ = ["Translated", "gymnasium_space", "is_legacy", "takes", "translate"]


class Translated(gymnasium.Env):
    """A Gymnasium env around an object with ``reset()`` and ``step(action)``.

    What is understood:

    - a reset that returns ``observation`` or ``(observation, info)``;
    - a step that returns ``(observation, reward, done)``, gym's ``(observation, reward, done, info)``, where
      ``info["TimeLimit.truncated"]`` tells a time limit from an end, or Gymnasium's five entries;
    - seeds through ``reset(seed=...)``, or else through a method ``seed``; a simulator that has neither draws nothing,
      or draws as it likes;
    - frames from ``render()``, or, of old, from ``render(mode="rgb_array")``.

    Attributes that it lacks are looked up in the simulator.

    Args:
        simulator: the object.
        observation_space, action_space: spaces of Gymnasium.
    """

    def __init__(self, simulator: Any, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        self.simulator = simulator
        self.observation_space, self.action_space = observation_space, action_space
        bare = getattr(simulator, "unwrapped", simulator)
        render = getattr(bare, "render", None)
        self.render_mode = getattr(simulator, "render_mode", None if render is None else "rgb_array")
        self._render_kwargs = {"mode": "rgb_array"} if render is not None and takes(render, "mode") else {}
        self._seeds_by_reset = takes(bare.reset, "seed")

    def reset(self, *, seed: int | None = None, **kwargs: Any) -> tuple[Any, Any]:
        """See :meth:`gymnasium.Env.reset`; further arguments are the simulator's."""
        if seed is not None and self._seeds_by_reset:
            kwargs["seed"] = seed
        elif seed is not None and callable(getattr(self.simulator, "seed", None)):
            self.simulator.seed(seed)
        result = self.simulator.reset(**kwargs)
        if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Mapping):
            return result
        return result, {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, Any]:
        """See :meth:`gymnasium.Env.step`."""
        result = self.simulator.step(action)
        count = len(result) if isinstance(result, tuple | list) else None
        if count == 5:
            observation, reward, terminated, truncated, info = result
            return observation, reward, bool(terminated), bool(truncated), info
        if count == 4:
            observation, reward, done, info = result
            truncated = bool(info.get("TimeLimit.truncated", False))
            return observation, reward, bool(done) and not truncated, truncated, info
        if count == 3:
            observation, reward, done = result
            return observation, reward, bool(done), False, {}
        raise EnvDataError(
            f"{type(self.simulator).__name__}.step: expected (observation, reward, done), with info, or with "
            f"terminated and truncated for done, found {type(result).__name__ if count is None else f'{count} entries'}"
        )

    def render(self) -> Any:
        """What the simulator renders."""
        return self.simulator.render(**self._render_kwargs)

    def close(self) -> None:
        """Closes the simulator, if it can be closed."""
        if hasattr(self.simulator, "close"):
            self.simulator.close()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "simulator":
            raise AttributeError(name)
        return getattr(self.simulator, name)

    def __str__(self) -> str:
        return f"<{type(self.simulator).__name__}>"


def translate(
    simulator: Any, observation_space: spaces.Space | None = None, action_space: spaces.Space | None = None
) -> gymnasium.Env:
    """The simulator if it is a Gymnasium env, or one around it; see :class:`Translated`.

    Args:
        simulator: a Gymnasium env, an env of any release of ``gym``, or a simulator like them.
        observation_space, action_space: its spaces; by default the attributes of these names, which may be of ``gym``,
            or classes like them.

    Raises:
        TypeError: it has no such interface, or no such spaces.
        UnsupportedSpaceError: a space of a class that Gymnasium has no counterpart of.

    Examples:
        >>> class Coin:
        ...     observation_space = action_space = spaces.Discrete(2)
        ...     def reset(self):
        ...         return 0
        ...     def step(self, guess):
        ...         return 1, float(guess == 1), True
        >>> translate(Coin()).step(1)
        (1, 1.0, True, False, {})
    """
    if isinstance(simulator, gymnasium.Env):
        return simulator
    for name in ("reset", "step"):
        if not callable(getattr(simulator, name, None)):
            raise TypeError(f"{type(simulator).__name__}: expected a method {name}, found none")
    found = {}
    for name, given in (("observation_space", observation_space), ("action_space", action_space)):
        space = getattr(simulator, name, None) if given is None else given
        if space is None:
            raise TypeError(f"{type(simulator).__name__}: expected an attribute {name}, found none")
        found[name] = gymnasium_space(space)
    return Translated(simulator, **found)


def is_legacy(simulator: Any) -> bool:
    """Whether an object is a single env of ``gym``, Gymnasium's ancestor; ``gym`` is not imported for that."""
    of_gym = any(kind.__module__ == "gym.core" and kind.__name__ == "Env" for kind in type(simulator).__mro__)
    return of_gym and not hasattr(simulator, "num_envs")


def gymnasium_space(space: Any) -> spaces.Space:
    """The Gymnasium space that a space of ``gym``, or one that looks like it, stands for; by the names of its classes.

    Raises:
        UnsupportedSpaceError: it is of none of the usual classes.

    Examples:
        >>> class Discrete:  # as in a simulator with spaces of its own
        ...     n = 3
        >>> gymnasium_space(Discrete())
        Discrete(3)
    """
    if isinstance(space, spaces.Space):
        return space
    kinds = [kind.__name__ for kind in type(space).__mro__]
    for name, convert in _CONVERTERS.items():
        if name in kinds:
            return convert(space)
    raise UnsupportedSpaceError(f"expected a space of one of the classes {list(_CONVERTERS)}, found {space!r}")


_CONVERTERS: dict[str, Callable[[Any], spaces.Space]] = {
    "Box": lambda space: spaces.Box(space.low, space.high, tuple(space.shape), space.dtype.type),
    "Discrete": lambda space: spaces.Discrete(int(space.n), start=int(getattr(space, "start", 0))),
    "MultiDiscrete": lambda space: spaces.MultiDiscrete(space.nvec),
    "MultiBinary": lambda space: spaces.MultiBinary(space.n),
    "Dict": lambda space: spaces.Dict({name: gymnasium_space(part) for name, part in space.spaces.items()}),
    "Tuple": lambda space: spaces.Tuple([gymnasium_space(part) for part in space.spaces]),
}


def takes(function: Callable, name: str) -> bool:
    """Whether a function has an argument of that name.

    Examples:
        >>> takes(sorted, "key"), takes(sorted, "seed")
        (True, False)
    """
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):  # a builtin that does not tell
        return False
