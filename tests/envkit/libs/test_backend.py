"""Gymnasium or its ancestor."""

from __future__ import annotations

import sys
import types

import gymnasium
import pytest

from envkit import GymEnv, gym_backend, set_gym_backend
from envkit.errors import MissingDependencyError


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
    adapter = types.ModuleType("shimmy.openai_gym_compatibility")
    adapter.GymV26CompatibilityV0 = lambda env: env
    monkeypatch.setitem(sys.modules, "gym", module)
    monkeypatch.setitem(sys.modules, "shimmy", types.ModuleType("shimmy"))
    monkeypatch.setitem(sys.modules, "shimmy.openai_gym_compatibility", adapter)
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


def test_no_adapter(ancestor, monkeypatch):
    monkeypatch.setitem(sys.modules, "shimmy.openai_gym_compatibility", None)
    with set_gym_backend("gym"), pytest.raises(MissingDependencyError, match="needs shimmy"):
        GymEnv("CartPole-v1")


def test_the_real_ancestor():
    gym = pytest.importorskip("gym")
    pytest.importorskip("shimmy")
    with set_gym_backend(gym):
        env = GymEnv("CartPole-v1")
    env.set_seed(0)
    twin = GymEnv("CartPole-v1")
    twin.set_seed(0)
    assert bool((env.rollout(50)["observation"] == twin.rollout(50)["observation"]).all())
