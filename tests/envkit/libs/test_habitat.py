from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from envkit import MissingDependencyError, UnknownEnvError
from envkit.libs.habitat import HabitatEnv
from envkit.testing import env_checks

from .fakes import habitat

SEED, STEPS = 7, 1000


@pytest.fixture(autouse=True)
def package(monkeypatch):
    torch.manual_seed(0)  # of random actions before a seed is set
    habitat.install(monkeypatch)


@env_checks(lambda: HabitatEnv("HabitatPick-v0"))
def test_conformance(check):
    check()


@pytest.mark.parametrize("name", ["HabitatPick-v0", "HabitatNavToObj-v0"])
def test_steps_are_those_of_a_loop_in_habitat(name):
    env = HabitatEnv(name)
    env.set_seed(SEED)
    data = env.rollout(STEPS, break_when_any_done=False)
    raw = habitat.HabGymWrapper(habitat.RLEnv(None), discrete=name == "HabitatNavToObj-v0")
    raw.seed(SEED)
    seen, ends = raw.reset(), 0
    for row in data.unbind(0):
        assert_seen(row, seen)
        seen, reward, done, _ = raw.step(row["action"].numpy())
        following = row["next"]
        assert_seen(following, seen)
        assert following["reward"].item() == np.float32(reward)
        assert following["done"].item() == following["terminated"].item() == done
        if done:
            ends += 1
            seen = raw.reset()
    assert ends > 20


def assert_seen(row, seen):
    for key, value in seen.items():
        np.testing.assert_array_equal(row[key].numpy(), value)


def test_goals():
    data = HabitatEnv("HabitatRearrange-v0").rollout(2)
    assert data["observation", "joint"].shape == (2, 2)
    assert data["desired_goal"].shape == (2, 1)


def test_pixels():
    env = HabitatEnv("HabitatRenderPick-v0", from_pixels=True, pixels_only=False)
    data = env.rollout(4)
    assert data["pixels"].shape == (4, 6, 7, 3)
    assert bool((data["pixels"][:, 0, 0, 0] == (10 * data["joint"][:, 0]).to(torch.uint8)).all())


def test_options_reach_the_simulator(monkeypatch):
    env = HabitatEnv("Habitat-v0", cfg_file_path="nav.yaml", override_options=["a=1"])
    assert env.overrides == ["a=1"]
    seen = {}

    def stop(self, name, **kwargs):
        seen.update(kwargs)
        raise StopIteration

    monkeypatch.setattr("envkit.libs.gym.GymEnv.__init__", stop)
    with pytest.raises(StopIteration):
        HabitatEnv("Habitat-v0", device="cuda:1", override_options=["a=1"])
    assert seen["override_options"] == ["a=1", "habitat.simulator.habitat_sim_v0.gpu_device_id=1"]


def test_closing():
    env = HabitatEnv("HabitatPick-v0")
    env.reset()
    simulator = env._env.unwrapped.simulator
    env.close()
    assert simulator.env.closed


def test_names():
    names = ["Habitat-v0", "HabitatNavToObj-v0", "HabitatPick-v0", "HabitatRearrange-v0", "HabitatRenderPick-v0"]
    assert HabitatEnv.available_envs == names
    with pytest.raises(UnknownEnvError, match=r"unknown env id 'HabitatPic-v0': .* did you mean 'HabitatPick-v0'"):
        HabitatEnv("HabitatPic-v0")


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "habitat.gym", None)
    assert HabitatEnv.available_envs == []
    with pytest.raises(MissingDependencyError, match=r"Habitat-Lab is not installed: .*habitat-lab"):
        HabitatEnv("HabitatPick-v0")
