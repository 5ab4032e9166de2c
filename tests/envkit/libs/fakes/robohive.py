"""RoboHive without MuJoCo, as a package to be put into ``sys.modules``, whose tasks are registered with Gymnasium.

Modelled on the source of RoboHive 0.7.0 on Gymnasium: pictures come from ``get_visuals`` by the ``visual_keys`` of the
construction, ``"rgb:camera:HxW:2d"`` and ``"d:camera:HxW:2d"``, which has a dimension more and needs the former beside
it; vectors are float64 in a float32 space; a reset takes a seed and does not use it, a method ``seed`` makes a new
generator, and the robot keeps the one that it was handed at the construction, from which it draws noise.
"""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import gymnasium
import numpy as np

CAMERAS = ["left_cam", "A:top_cam"]


class Model:
    ncam = len(CAMERAS)

    def id2name(self, number, kind):
        assert kind == "camera"
        return CAMERAS[number]


class Reach(gymnasium.Env):
    def __init__(self, model_path="arm.xml", seed=None, visual_keys=None, far=1.0):
        self.seed(seed)
        self.visual_keys, self.far, self.closed = visual_keys, far, False
        self.sim = SimpleNamespace(model=Model())
        self.robot = SimpleNamespace(np_random=self.np_random)
        self.observation_space = gymnasium.spaces.Box(-10.0, 10.0, (3,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.arm = np.zeros(2)

    def seed(self, seed=None):
        self.np_random, seed = gymnasium.utils.seeding.np_random(seed)
        return [seed]

    def reset(self, reset_qpos=None, reset_qvel=None, seed=None, **kwargs):
        self.arm, self.target = np.zeros(2), self.np_random.uniform(-0.5, 0.5, 2)
        return self.seen(), {}

    def seen(self):
        noise = self.robot.np_random.uniform(-0.01, 0.01)
        return np.array([*(self.target - self.arm), noise])

    def step(self, a, **kwargs):
        self.arm = self.arm + 0.3 * np.clip(a, self.action_space.low, self.action_space.high)
        distance = np.linalg.norm(self.target - self.arm)
        return self.seen(), -distance, bool(distance > self.far), False, {"rwd_dense": -distance, "state": {}}

    def get_visuals(self, sim=None, visual_keys=None, device_id=None):
        if self.visual_keys is None:
            return None
        out = {"time": np.array([0.0])}
        for key in self.visual_keys:
            if key.startswith("rgb"):
                payload = key[4 : -len(":2d")]
                size = payload.split(":")[-1]
                height, width = map(int, size.split("x"))
                camera = payload[: -len(size) - 1]
                shade = CAMERAS.index(camera) * 100 + int(abs(self.arm[0]) * 10)
                out[key] = np.full((height, width, 3), shade, dtype=np.uint8)
                depth_key = "d:" + key[4:]
                if depth_key in self.visual_keys:
                    out[depth_key] = np.full((1, height, width), shade / 2)
        return out

    def close(self):
        self.closed = True


def install(monkeypatch):
    """Makes ``import robohive`` give this package, with the task ``FakeReach-v0`` of 30 steps."""
    package = ModuleType("robohive")
    package.robohive_env_suite = ["FakeReach-v0"]
    monkeypatch.setitem(sys.modules, "robohive", package)
    spec = gymnasium.envs.registration.EnvSpec("FakeReach-v0", entry_point=Reach, max_episode_steps=30)
    monkeypatch.setitem(gymnasium.registry, "FakeReach-v0", spec)
