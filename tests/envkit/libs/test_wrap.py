from __future__ import annotations

import importlib
import subprocess
import sys
import warnings
from importlib.util import find_spec

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from envkit import (
    Bounded,
    Categorical,
    Composite,
    EnvBase,
    GymEnv,
    GymVectorWrapper,
    GymWrapper,
    OneHot,
    SerialEnv,
    Unbounded,
    UnsupportedSpaceError,
)
from envkit.libs.wrap import WRAPPERS, wrap
from envkit.testing import env_checks

from .fakes import gym021

SEED, STEPS = 3, 1000
THRUST = Bounded(-1.0, 1.0, shape=(1,))


class Drone:
    """A simulator that nobody wrote for a library."""

    def __init__(self, wind=0.1):
        self.wind, self.random = wind, np.random.default_rng()
        self.closed = 0

    def seed(self, seed):
        self.random = np.random.default_rng(seed)

    def reset(self):
        self.height, self.steps = float(self.random.normal()), 0
        return self.seen()

    def step(self, thrust):
        self.height += float(thrust[0]) + self.wind * float(self.random.normal())
        self.steps += 1
        return self.seen(), -abs(self.height - 1), abs(self.height) > 2

    def seen(self):
        return {"height": [self.height], "clock": self.steps, "camera": np.full((2, 2), self.steps, dtype=np.uint8)}

    def close(self):
        self.closed += 1


@env_checks(lambda: wrap(Drone(), action_spec=THRUST))
def test_conformance(check):
    check()


def test_steps_are_those_of_a_loop():
    env, raw = wrap(Drone(), action_spec=THRUST), Drone()
    env.set_seed(SEED)
    data = env.rollout(STEPS, break_when_any_done=False)
    raw.seed(SEED)
    seen, ends = raw.reset(), 0
    for row in data.unbind(0):
        assert row["height"].item() == np.float32(seen["height"][0])
        seen, reward, done = raw.step(row["action"].numpy())
        following = row["next"]
        assert following["height"].item() == np.float32(seen["height"][0])
        assert following["clock"].item() == seen["clock"]
        np.testing.assert_array_equal(following["camera"].numpy(), seen["camera"])
        assert following["reward"].item() == np.float32(reward)
        assert following["done"].item() == following["terminated"].item() == done
        assert not following["truncated"].item()
        if done:
            ends += 1
            seen = raw.reset()
    assert ends > 10


def test_what_is_seen_is_read_off_a_reset():
    env = wrap(Drone(), action_spec=THRUST)
    assert env.observation_spec["height"] == Unbounded((1,))
    assert env.observation_spec["clock"].dtype is torch.int64
    assert env.observation_spec["clock"].shape == ()
    assert env.observation_spec["camera"] == Bounded(0, 255, shape=(2, 2), dtype=torch.uint8)
    assert env.wind == 0.1


def test_specs_that_are_told():
    spec = Composite(height=Bounded(-9.0, 9.0, shape=(1,)), clock=Bounded(0, 99, shape=(), dtype=torch.int64))
    env = wrap(Drone(), observation_spec=spec, action_spec=spaces.Box(-1, 1, (1,)), frame_skip=3)
    assert set(env.observation_spec.keys()) == {"height", "clock"}
    assert env.observation_spec["height"] == spec["height"]
    assert env.action_spec == THRUST
    env.set_seed(0)
    assert env.rollout(1)["next", "clock"].item() == 3


class Coin:
    """A simulator with spaces, as if of gym; the seed goes to the reset."""

    observation_space, action_space = gym021.Box(0, 1, (1,)), gym021.Discrete(2)

    def reset(self, seed=None):
        if seed is not None:
            self.random = np.random.default_rng(seed)
        return np.zeros(1, np.float32), {}

    def step(self, guess):
        head = int(self.random.integers(2))
        return np.array([head], np.float32), float(head == guess), True, {}


def test_spaces_of_the_simulator():
    env = wrap(Coin())
    assert env.action_spec == Categorical(2)
    rounds = []
    for _ in range(2):
        env.set_seed(SEED)
        rounds.append(env.rollout(20, break_when_any_done=False))
    assert bool((rounds[0] == rounds[1]).all())
    one_hot = wrap(Coin(), action_spec=OneHot(2))
    one_hot.set_seed(SEED)
    assert one_hot.rollout(1)["action"].shape == (1, 2)


def test_a_batch_of_them():
    envs = SerialEnv(3, lambda: wrap(Drone(), action_spec=THRUST))
    assert envs.rollout(20, break_when_any_done=False)["height"].shape == (3, 20, 1)


def test_it_is_closed_once():
    drone = Drone()
    env = wrap(drone, action_spec=THRUST)
    env.close()
    env.close()
    assert drone.closed == 1


def test_libraries():
    assert isinstance(wrap(gymnasium.make("CartPole-v1"), frame_skip=2), GymWrapper)
    vector = gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync")
    assert isinstance(wrap(vector), GymVectorWrapper)
    assert isinstance(wrap(gym021.Walk()), GymWrapper)
    with pytest.raises(TypeError, match="expected no specs for TimeLimit, which tells them itself"):
        wrap(gymnasium.make("CartPole-v1"), action_spec=Categorical(2))


@pytest.mark.parametrize("wrapper", sorted(set(WRAPPERS.values())))
def test_every_wrapper_is_there(wrapper):
    place, _, kind = wrapper.partition(".")
    assert issubclass(getattr(importlib.import_module(f"envkit.libs.{place}"), kind), EnvBase)


@pytest.mark.slow  # it imports all of them
def test_known_classes_are_called_as_their_libraries_call_them():
    names = [name for name in WRAPPERS if find_spec(name.partition(".")[0]) is not None]
    # In a process of its own: some of these libraries start threads, after which no process should fork.
    code = f"""
import importlib
for name in {names}:
    path, _, kind = name.rpartition(".")
    found = getattr(importlib.import_module(path), kind)
    print(f"{{found.__module__}}.{{found.__qualname__}}")
"""
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert set(names) <= set(run.stdout.splitlines()), run.stderr


def test_a_dm_env():
    dm_env = pytest.importorskip("dm_env")

    class Still(dm_env.Environment):
        def reset(self):
            return dm_env.restart(np.zeros(2))

        def step(self, action):
            return dm_env.termination(1.0, np.ones(2))

        def observation_spec(self):
            return dm_env.specs.Array((2,), np.float64, "state")

        def action_spec(self):
            return dm_env.specs.DiscreteArray(3)

    following = wrap(Still()).rollout(3)["next"]
    assert following["terminated"].tolist() == [[True]]


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: wrap(object(), action_spec=THRUST), TypeError, "object: expected a method reset, found none"),
        (lambda: wrap(object()), TypeError, "wrap: expected action_spec, .* found object alone"),
        (lambda: wrap(Drone()), TypeError, "wrap: expected action_spec, .* found Drone alone"),
        (lambda: wrap(Words(), action_spec=THRUST), UnsupportedSpaceError, "expected observation_spec, .* found 'go'"),
        (lambda: wrap(Drone, action_spec=THRUST), TypeError, "found the class Drone; make one of it"),
        (lambda: wrap(GymEnv("CartPole-v1")), TypeError, "expected a simulator, found GymEnv, which is an env already"),
    ],
)
def test_what_cannot_be_wrapped(make, error, words):
    with pytest.raises(error, match=words):
        make()


class Words:
    def reset(self):
        return "go"

    def step(self, action):
        return "stop", 0.0, True


def test_several_rewards():
    library = pytest.importorskip("mo_gymnasium")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its spaces
        env = wrap(library.make("deep-sea-treasure-v0"))
    assert env.rollout(2)["next", "reward"].shape[-1] == 2
