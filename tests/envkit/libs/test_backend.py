"""Gymnasium or its ancestor."""

from __future__ import annotations

import sys
import types

import gymnasium
import pytest

from envkit import GymEnv, GymWrapper, gym_backend, set_gym_backend
from envkit.errors import MissingDependencyError, UnknownEnvError


def test_default():
    assert gym_backend() is gymnasium
    assert gym_backend("wrappers") is gymnasium.wrappers


@pytest.fixture
def ancestor(monkeypatch):
    module = types.ModuleType("gym")
    module.made = []

    def make(name, disable_env_checker=None, **kwargs):
        module.made.append((name, kwargs))
        return gymnasium.make(name, **kwargs)

    module.make = make
    monkeypatch.setitem(sys.modules, "gym", module)
    return module


def test_as_a_context(ancestor):
    with set_gym_backend(ancestor):
        assert gym_backend() is ancestor
        env = GymEnv("Pendulum-v1", g=5.0)
        with set_gym_backend("gymnasium"):
            assert gym_backend() is gymnasium
        assert gym_backend() is ancestor
    assert gym_backend() is gymnasium
    assert ancestor.made == [("Pendulum-v1", {"g": 5.0})]
    assert env.rollout(3).batch_size == (3,)


def test_as_a_decorator(ancestor):
    @set_gym_backend("gym")
    def inside():
        return gym_backend()

    assert [inside(), inside()] == [ancestor, ancestor]
    assert gym_backend() is gymnasium


def test_for_good(ancestor):
    set_gym_backend("gym").set()
    try:
        assert gym_backend() is ancestor
    finally:
        set_gym_backend("gymnasium").set()


def test_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "gym", None)
    with set_gym_backend("gym"), pytest.raises(MissingDependencyError, match=r"'gym' is not installed.*envkit\[gym\]"):
        GymEnv("CartPole-v1")


def test_the_real_ancestor():
    gym = pytest.importorskip("gym")
    with set_gym_backend(gym):
        env = GymEnv("CartPole-v1")
    env.set_seed(0)
    twin = GymEnv("CartPole-v1")
    twin.set_seed(0)
    assert bool((env.rollout(50)["observation"] == twin.rollout(50)["observation"]).all())
    env = GymWrapper(gym.make("CartPole-v1", disable_env_checker=True))
    env.set_seed(0)
    twin.set_seed(0)
    assert bool((env.rollout(50) == twin.rollout(50)).all())
    with set_gym_backend(gym), pytest.raises(UnknownEnvError, match="gym's registry; did you mean 'CartPole-v1'"):
        GymEnv("CartPole-v9")
