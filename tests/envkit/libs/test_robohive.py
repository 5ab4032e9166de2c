from __future__ import annotations

import sys

import gymnasium
import numpy as np
import pytest
import torch

from envkit import MissingDependencyError, UnknownEnvError
from envkit.libs.robohive import RoboHiveEnv
from envkit.testing import env_checks

from .fakes import robohive

NAME, SEED, STEPS = "FakeReach-v0", 7, 1000


@pytest.fixture(autouse=True)
def package(monkeypatch):
    torch.manual_seed(0)  # of random actions before a seed is set
    robohive.install(monkeypatch)


@env_checks(lambda: RoboHiveEnv(NAME, from_pixels=True, pixels_only=False, from_depths=True, image_size=(3, 4)))
def test_conformance(check):
    check()


def test_steps_are_those_of_a_loop_in_robohive():
    env = RoboHiveEnv(NAME)
    env.set_seed(SEED)
    data = env.rollout(STEPS, break_when_any_done=False)
    raw = gymnasium.make(NAME, disable_env_checker=True)
    raw.unwrapped.seed(SEED)
    raw.unwrapped.robot.np_random = raw.unwrapped.np_random
    seen, _ = raw.reset(seed=SEED)
    limits = ends = 0
    for row in data.unbind(0):
        np.testing.assert_array_equal(row["observation"].numpy(), seen.astype(np.float32))
        seen, reward, terminated, truncated, _ = raw.step(row["action"].numpy())
        following = row["next"]
        np.testing.assert_array_equal(following["observation"].numpy(), seen.astype(np.float32))
        assert following["reward"].item() == np.float32(reward)
        assert (following["terminated"].item(), following["truncated"].item()) == (terminated, truncated)
        limits, ends = limits + truncated, ends + (terminated or truncated)
        if terminated or truncated:
            seen, _ = raw.reset()
    assert ends > limits > 0


def test_pictures_are_those_of_the_moment():
    env = RoboHiveEnv(NAME, from_pixels=True, pixels_only=False, from_depths=True, image_size=(3, 4))
    assert env.cameras == robohive.CAMERAS
    env.reset()
    for _ in range(5):
        following = env.rand_step()["next"]
        shade = int(abs(env.unwrapped.arm[0]) * 10)
        assert following["pixels"].shape == (2, 3, 4, 3)
        assert following["pixels"].dtype is torch.uint8
        assert following["pixels"][:, 0, 0, 0].tolist() == [shade, 100 + shade]
        assert following["depths"].shape == (2, 3, 4)
        assert following["depths"][:, 0, 0].tolist() == [shade / 2, 50 + shade / 2]


def test_pixels_alone_of_some_cameras():
    env = RoboHiveEnv(NAME, from_pixels=True, cameras=["A:top_cam"])
    assert list(env.observation_spec.keys()) == ["pixels"]
    assert env.rollout(2)["pixels"].shape == (2, 1, 224, 224, 3)
    assert RoboHiveEnv.get_available_cams(NAME) == robohive.CAMERAS


def test_seeds():
    env, rounds = RoboHiveEnv(NAME, far=2.0), []
    assert env.far == 2.0
    for seed in (SEED, SEED, SEED + 1):
        env.set_seed(seed)
        rounds.append(env.rollout(20))
    assert bool((rounds[0] == rounds[1]).all())
    assert not bool((rounds[0]["observation"][0] == rounds[2]["observation"][0]).any())


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"from_depths": True}, "expected from_depths with from_pixels=True"),
        ({"cameras": ["left_cam"]}, r"expected cameras=\['left_cam'\] with from_pixels=True"),
        ({"from_pixels": True, "cameras": ["cam"]}, r"expected some of \['left_cam', .* found \['cam'\]"),
        ({"from_pixels": True, "cameras": []}, r"expected some of \['left_cam', .* found \[\]"),
    ],
)
def test_cameras_that_are_not_there(kwargs, words):
    with pytest.raises(ValueError, match=words):
        RoboHiveEnv(NAME, **kwargs)


def test_names():
    assert RoboHiveEnv.available_envs == [NAME]
    with pytest.raises(UnknownEnvError, match=r"unknown env id 'FakeReach-v1': .* did you mean 'FakeReach-v0'"):
        RoboHiveEnv("FakeReach-v1")


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "robohive", None)
    assert RoboHiveEnv.available_envs == []
    with pytest.raises(MissingDependencyError, match="RoboHive is not installed: expected `pip install robohive`"):
        RoboHiveEnv(NAME)
