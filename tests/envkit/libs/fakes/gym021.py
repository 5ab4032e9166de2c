"""The part of gym 0.21.0 that envs are made of, as a package to be put into ``sys.modules``.

Modelled on gym 0.21.0: ``reset()`` returns the observation alone, ``step`` four entries, seeds go to the method
``seed``, ``make`` puts a ``TimeLimit`` around an env, which flags a limit as ``info["TimeLimit.truncated"]`` if the env
did not end by itself, and hands every argument on to the env.
"""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np


class Env:
    __module__ = "gym.core"
    metadata = {"render.modes": []}  # noqa: RUF012 - as it is there

    @property
    def unwrapped(self):
        return self

    def seed(self, seed=None):
        return None

    def render(self, mode="human"):
        raise NotImplementedError

    def close(self):
        pass


class Wrapper(Env):
    __module__ = "gym.core"

    def __init__(self, env):
        self.env = env
        self.observation_space, self.action_space = env.observation_space, env.action_space

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(f"attempted to get missing private attribute '{name}'")
        return getattr(self.env, name)

    def step(self, action):
        return self.env.step(action)

    def reset(self, **kwargs):
        return self.env.reset(**kwargs)

    def render(self, mode="human", **kwargs):
        return self.env.render(mode, **kwargs)

    def close(self):
        return self.env.close()

    def seed(self, seed=None):
        return self.env.seed(seed)

    @property
    def unwrapped(self):
        return self.env.unwrapped


class TimeLimit(Wrapper):
    def __init__(self, env, max_episode_steps):
        super().__init__(env)
        self._max_episode_steps = max_episode_steps
        self._elapsed_steps = None

    def step(self, action):
        assert self._elapsed_steps is not None, "Cannot call env.step() before calling reset()"
        observation, reward, done, info = self.env.step(action)
        self._elapsed_steps += 1
        if self._elapsed_steps >= self._max_episode_steps:
            info["TimeLimit.truncated"] = not done
            done = True
        return observation, reward, done, info

    def reset(self, **kwargs):
        self._elapsed_steps = 0
        return self.env.reset(**kwargs)


class Space:
    def contains(self, x):
        raise NotImplementedError


class Box(Space):
    def __init__(self, low, high, shape=None, dtype=np.float32):
        self.dtype = np.dtype(dtype)
        self.shape = np.shape(low) if shape is None else tuple(shape)
        self.low, self.high = (np.broadcast_to(bound, self.shape).astype(dtype) for bound in (low, high))

    def contains(self, x):
        return x.shape == self.shape and bool(np.all(x >= self.low) and np.all(x <= self.high))


class Discrete(Space):
    def __init__(self, n):
        self.n, self.shape, self.dtype = int(n), (), np.dtype(np.int64)

    def contains(self, x):
        return 0 <= int(x) < self.n


class MultiDiscrete(Space):
    def __init__(self, nvec):
        self.nvec = np.asarray(nvec)


class MultiBinary(Space):
    def __init__(self, n):
        self.n = n


class Dict(Space):
    def __init__(self, spaces):
        self.spaces = dict(sorted(spaces.items()))


class Tuple(Space):
    def __init__(self, spaces):
        self.spaces = list(spaces)


class UnregisteredEnv(Exception):
    pass


class Walk(Env):
    """A random walk: two sides, one end, pictures of one colour."""

    def __init__(self, goal=3.0):
        self.goal = goal
        self.observation_space, self.action_space = Box(-100.0, 100.0, (2,)), Discrete(2)
        self.np_random = np.random.RandomState()
        self.closed = 0

    def seed(self, seed=None):
        self.np_random = np.random.RandomState(seed)
        return [seed]

    def reset(self):
        self.position = self.np_random.uniform(-1, 1)
        return self._observed()

    def step(self, action):
        assert self.action_space.contains(action)
        self.position += (1 if action else -1) * self.np_random.uniform(0.5, 1.5)
        return self._observed(), -abs(self.position), bool(abs(self.position) > self.goal), {"steps": 1}

    def _observed(self):
        return np.array([self.position, -self.position], dtype=np.float32)

    def render(self, mode="human"):
        assert mode == "rgb_array"
        return np.full((4, 5, 3), int(abs(self.position)), dtype=np.uint8)

    def close(self):
        self.closed += 1


class VectorEnv(Env):
    __module__ = "gym.vector.vector_env"


class SyncVectorEnv(VectorEnv):
    """``Walk`` several times, whose infos are a list; later releases also tell the last observation (``tells``)."""

    def __init__(self, count, tells=True):
        self.envs = [TimeLimit(Walk(), 12) for _ in range(count)]
        self.num_envs, self.tells = count, tells
        self.single_observation_space = self.envs[0].observation_space
        self.single_action_space = self.envs[0].action_space

    def seed(self, seeds=None):
        seeds = [seeds + i for i in range(self.num_envs)] if isinstance(seeds, int) else seeds
        for env, seed in zip(self.envs, seeds, strict=True):
            env.seed(seed)

    def reset(self):
        return np.stack([env.reset() for env in self.envs])

    def step(self, actions):
        observations, rewards, dones, infos = map(
            list, zip(*[env.step(action) for env, action in zip(self.envs, actions, strict=True)], strict=True)
        )
        for i, env in enumerate(self.envs):
            if dones[i]:
                if self.tells:
                    infos[i]["terminal_observation"] = observations[i]
                observations[i] = env.reset()
        return np.stack(observations), np.array(rewards), np.array(dones), infos

    def close(self):
        self.closed = True


def install(monkeypatch):
    """Makes ``import gym`` give this package, in which ``Walk-v0`` is registered with a limit of 12 steps."""
    gym = ModuleType("gym")
    gym.__version__ = "0.21.0"
    core, spaces, error = ModuleType("gym.core"), ModuleType("gym.spaces"), ModuleType("gym.error")
    envs, registration = ModuleType("gym.envs"), ModuleType("gym.envs.registration")
    core.Env, core.Wrapper, error.UnregisteredEnv = Env, Wrapper, UnregisteredEnv
    for space in (Box, Discrete, MultiDiscrete, MultiBinary, Dict, Tuple):
        setattr(spaces, space.__name__, space)
    registration.registry = SimpleNamespace(env_specs={})

    def register(id, entry_point, max_episode_steps=None, kwargs=None):
        registration.registry.env_specs[id] = (entry_point, max_episode_steps, kwargs or {})

    def make(id, **kwargs):
        if id not in registration.registry.env_specs:
            raise UnregisteredEnv(f"No registered env with id: {id}")
        entry_point, limit, own = registration.registry.env_specs[id]
        env = entry_point(**{**own, **kwargs})
        return env if limit is None else TimeLimit(env, limit)

    register("Walk-v0", Walk, 12)
    registration.register, envs.registration = register, registration
    gym.core, gym.spaces, gym.error, gym.envs = core, spaces, error, envs
    gym.Env, gym.Wrapper, gym.make, gym.register = Env, Wrapper, make, register
    for module in (gym, core, spaces, error, envs, registration):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return gym
