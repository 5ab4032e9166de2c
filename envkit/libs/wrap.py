"""An env out of any simulator."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from envkit.core.env import EnvBase
from envkit.errors import UnsupportedSpaceError
from envkit.libs.gym import GymWrapper
from envkit.libs.translate import translate
from envkit.libs.translate_vector import VECTORS
from envkit.specs import MultiOneHot, OneHot, TensorSpec, space_from_spec

__all__ = ["wrap"]

# The wrapper of what a simulator is an instance of; by name, so that no simulator is imported to find out.
WRAPPERS = {
    "brax.envs.base.Env": "brax.BraxWrapper",
    "dm_env._environment.Environment": "dm_control.DMControlWrapper",
    "envpool.python.envpool.EnvPoolMixin": "envpool.MultiThreadedEnvWrapper",
    **dict.fromkeys(("gymnasium.vector.vector_env.VectorEnv", *VECTORS), "gym_vector.GymVectorWrapper"),
    "isaacgymenvs.tasks.base.vec_task.VecTask": "isaacgym.IsaacGymWrapper",
    "jumanji.env.Environment": "jumanji.JumanjiWrapper",
    "meltingpot.utils.scenarios.scenario.Scenario": "meltingpot.MeltingpotWrapper",
    "meltingpot.utils.substrates.substrate.Substrate": "meltingpot.MeltingpotWrapper",
    "mlagents_envs.base_env.BaseEnv": "unity_mlagents.UnityMLAgentsWrapper",
    "pettingzoo.utils.env.AECEnv": "pettingzoo.PettingZooWrapper",
    "pettingzoo.utils.env.ParallelEnv": "pettingzoo.PettingZooWrapper",
    "pyspiel.Game": "openspiel.OpenSpielWrapper",
    "pyspiel.State": "openspiel.OpenSpielWrapper",
    "smacv2.env.starcraft2.starcraft2.StarCraft2Env": "smacv2.SMACv2Wrapper",
    "smacv2.env.starcraft2.wrapper.StarCraftCapabilityEnvWrapper": "smacv2.SMACv2Wrapper",
    "vmas.simulator.environment.environment.Environment": "vmas.VmasWrapper",
}


def wrap(
    simulator: Any,
    *,
    observation_spec: TensorSpec | spaces.Space | None = None,
    action_spec: TensorSpec | spaces.Space | None = None,
    **options: Any,
) -> EnvBase:
    """The env of a simulator, whichever it is: an env of a library that envkit knows, or an object of your own.

    Envs of Gymnasium, gym, dm_env and the other libraries with a wrapper get that wrapper. Any other object with a
    ``reset()`` and a ``step(action)`` is taken for one env that speaks numpy, lists or numbers:

    - ``reset`` returns an observation, or a pair of it and an info dictionary;
    - ``step`` returns ``(observation, reward, done)``, ``(observation, reward, done, info)``, or Gymnasium's
      ``(observation, reward, terminated, truncated, info)``;
    - it is seeded by ``reset(seed=...)`` or a method ``seed``, if it has one of them.

    Observations that are dictionaries go under their own names, others under ``"observation"``; all else is as in
    :class:`~envkit.GymWrapper`. Where that is too narrow (batches, several rewards, tensors on a GPU),
    :class:`~envkit.GymLikeEnv` is the template to fill in.

    Args:
        simulator: the object; the env steps it, and closes it.
        observation_spec: what an observation is, a spec or a space; by default the simulator's
            ``observation_space``, or else numbers without bounds, laid out as those of a first reset.
        action_spec: what an action is; by default the simulator's ``action_space``.
        **options: those of the wrapper: ``frame_skip``, ``from_pixels``, ``device``, ...

    Raises:
        TypeError: there is no ``reset`` or ``step``, or nothing that says what an action is; it is an env already;
            specs for an env of a library, which has its own.
        UnsupportedSpaceError: an observation of something else than numbers, without a spec.

    Examples:
        >>> from envkit import Bounded, check_env_specs
        >>> class Drone:
        ...     def reset(self):
        ...         self.height = 0.0
        ...         return [self.height]
        ...     def step(self, thrust):
        ...         self.height += float(thrust[0])
        ...         return [self.height], -abs(self.height - 1), self.height < -1
        >>> env = wrap(Drone(), action_spec=Bounded(-1.0, 1.0, shape=(1,)))
        >>> check_env_specs(env)
        []
        >>> wrap(gymnasium.make("CartPole-v1"))
        GymWrapper(env=<TimeLimit<OrderEnforcing<PassiveEnvChecker<CartPoleEnv<CartPole-v1>>>>>, batch_size=...
    """
    if isinstance(simulator, EnvBase):
        raise TypeError(f"wrap: expected a simulator, found {type(simulator).__name__}, which is an env already")
    if isinstance(simulator, type):
        raise TypeError(f"wrap: expected a simulator, found the class {simulator.__name__}; make one of it")
    wrapper = _wrapper(simulator)
    if wrapper is not None:
        if observation_spec is not None or action_spec is not None:
            raise TypeError(
                f"wrap: expected no specs for {type(simulator).__name__}, which tells them itself, found some"
            )
        return wrapper(simulator, **options)
    if isinstance(action_spec, OneHot | MultiOneHot):
        options.setdefault("categorical_action_encoding", False)
    seen, act = _space(observation_spec), _space(action_spec)
    if act is None and getattr(simulator, "action_space", None) is None:
        raise TypeError(
            f"wrap: expected action_spec, or a simulator with an action_space, found {type(simulator).__name__} alone"
        )
    if seen is None and getattr(simulator, "observation_space", None) is None:
        # What it observes is not asked of it before it is known to have an interface.
        seen = _space_of(translate(simulator, spaces.Discrete(1), act).reset()[0])
    return GymWrapper(translate(simulator, seen, act), **options)


def _wrapper(simulator: Any) -> Callable[..., EnvBase] | None:
    for kind in type(simulator).__mro__:
        name = WRAPPERS.get(f"{kind.__module__}.{kind.__qualname__}")
        if name is not None:
            return _known(name)
    if isinstance(simulator, gymnasium.Env):
        several = hasattr(simulator.unwrapped, "reward_space")
        return _known("mo_gymnasium.MOGymWrapper") if several else GymWrapper
    return None


def _known(name: str) -> Callable[..., EnvBase]:
    module, _, wrapper = name.partition(".")
    return getattr(importlib.import_module(f"envkit.libs.{module}"), wrapper)


def _space(spec: TensorSpec | spaces.Space | None) -> spaces.Space | None:
    return space_from_spec(spec) if isinstance(spec, TensorSpec) else spec


def _space_of(observation: Any) -> spaces.Space:
    """The space of the numbers laid out as in an observation: without bounds, of their dtype, or float32 for floats."""
    if isinstance(observation, Mapping):
        return spaces.Dict({name: _space_of(part) for name, part in observation.items()}, sort_keys=False)
    array = np.asarray(observation)
    if array.dtype.kind == "b":
        return spaces.MultiBinary(array.shape)
    if array.dtype.kind in "iu":
        limits = np.iinfo(array.dtype)
        return spaces.Box(limits.min, limits.max, array.shape, array.dtype.type)
    if array.dtype.kind == "f":
        told = isinstance(observation, np.ndarray | np.generic)
        return spaces.Box(-np.inf, np.inf, array.shape, array.dtype.type if told else np.float32)
    raise UnsupportedSpaceError(
        f"wrap: expected observation_spec, or observations that are numbers, found {observation!r}"
    )
