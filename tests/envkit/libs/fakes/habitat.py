"""Habitat-Lab without its simulator, as a package to be put into ``sys.modules`` beside an old ``gym``.

Modelled on the source of habitat-lab 0.3.3, which asks for gym 0.22: ids are registered with ``gym`` when
``habitat.gym`` is imported; ``HabGymWrapper`` checks actions against its space, shows a dictionary of sensors, or that
and goals, speaks four entries, takes ``return_info`` at a reset, seeds by the method ``seed`` and renders with
``mode="rgb_array"`` alone.
"""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np

from . import gym021


class RLEnv(gym021.Env):
    def __init__(self, overrides):
        self.overrides = overrides
        self.random = np.random.default_rng()
        self.closed = False

    def seed(self, seed=None):
        self.random = np.random.default_rng(seed)

    def reset(self, *, return_info=False, **kwargs):
        self.steps, self.distance = 0, self.random.uniform(1, 2)
        return (self.seen(), {}) if return_info else self.seen()

    def seen(self):
        return {
            "head_depth": np.full((4, 5, 1), max(self.distance, 0.0), dtype=np.float32),
            "joint": np.array([self.distance, self.steps], dtype=np.float32),
            "goal": np.array([0.0], dtype=np.float32),
        }

    def step(self, action):
        self.steps += 1
        self.distance += float(np.sum(action["action"])) * 0.3 - 0.05 + self.random.normal() * 0.02
        over = not 0 < self.distance < 3 or self.steps >= 20
        return self.seen(), -self.distance, over, {"distance": self.distance}

    def render(self, mode="rgb"):
        raise AssertionError("HabGymWrapper renders")

    def close(self):
        self.closed = True


class HabGymWrapper(gym021.Wrapper):
    def __init__(self, env, discrete=False, goals=False):
        self.env, self.goals, self._last_obs = env, goals, None
        self.action_space = gym021.Discrete(3) if discrete else gym021.Box(-1.0, 1.0, (2,))
        sensors = gym021.Dict(
            {"head_depth": gym021.Box(0.0, 10.0, (4, 5, 1)), "joint": gym021.Box(-np.inf, np.inf, (2,))}
        )
        goal = gym021.Box(-1.0, 1.0, (1,))
        self.observation_space = gym021.Dict({"observation": sensors, "desired_goal": goal}) if goals else sensors

    def step(self, action):
        assert self.action_space.contains(action), f"Invalid action {action} for action space {self.action_space}"
        obs, reward, done, info = self.env.step(action={"action": action})
        return self._transform_obs(obs), reward, done, info

    def reset(self, *args, return_info=False, **kwargs):
        obs = self.env.reset(*args, return_info=return_info, **kwargs)
        if return_info:
            return self._transform_obs(obs[0]), obs[1]
        return self._transform_obs(obs)

    def _transform_obs(self, obs):
        self._last_obs = obs
        sensors = {name: obs[name] for name in ("head_depth", "joint")}
        return {"observation": sensors, "desired_goal": obs["goal"]} if self.goals else sensors

    def render(self, mode="human", **kwargs):
        assert mode == "rgb_array"
        return np.full((6, 7, 3), int(10 * self._last_obs["joint"][0]), dtype=np.uint8)

    def close(self):
        del self._last_obs
        self.env.close()


def install(monkeypatch):
    """Makes ``import habitat.gym`` give this package, and ``import gym`` gym 0.21."""
    gym = gym021.install(monkeypatch)

    def make(override_options=None, discrete=False, goals=False, cfg_file_path=None):
        return HabGymWrapper(RLEnv(override_options), discrete, goals)

    for name, kwargs in {
        "Habitat-v0": {},
        "HabitatPick-v0": {"cfg_file_path": "pick.yaml"},
        "HabitatRenderPick-v0": {"cfg_file_path": "pick.yaml"},
        "HabitatNavToObj-v0": {"discrete": True},
        "HabitatRearrange-v0": {"goals": True},
    }.items():
        gym.register(name, entry_point=make, kwargs=kwargs)
    package, module = ModuleType("habitat"), ModuleType("habitat.gym")
    package.gym = module
    monkeypatch.setitem(sys.modules, "habitat", package)
    monkeypatch.setitem(sys.modules, "habitat.gym", module)
