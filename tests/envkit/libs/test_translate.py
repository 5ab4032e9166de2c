"""Simulators that speak the dialects around Gymnasium, gym of before 0.26 among them."""

from __future__ import annotations

import copy

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from envkit import EnvDataError, GymEnv, GymWrapper, UnknownEnvError, UnsupportedSpaceError, set_gym_backend
from envkit.libs.translate import gymnasium_space, is_legacy, translate
from envkit.testing import env_checks

from .fakes import gym021

SEED, STEPS = 5, 1000


@pytest.fixture
def gym(monkeypatch):
    return gym021.install(monkeypatch)


def limited():
    return gym021.TimeLimit(gym021.Walk(), 12)


@env_checks(lambda: GymWrapper(limited()))
def test_conformance(check):
    check()


def test_steps_are_those_of_a_loop_in_gym_0_21():
    env, raw = GymWrapper(limited()), limited()
    env.set_seed(SEED)
    data = env.rollout(STEPS, break_when_any_done=False)
    raw.seed(SEED)
    observation, limits, ends = raw.reset(), 0, 0
    for row in data.unbind(0):
        np.testing.assert_array_equal(row["observation"].numpy(), observation)
        observation, reward, done, info = raw.step(int(row["action"]))
        following = row["next"]
        np.testing.assert_array_equal(following["observation"].numpy(), observation)
        assert following["reward"].item() == np.float32(reward)
        truncated = info.get("TimeLimit.truncated", False)
        assert following["done"].item() == done
        assert following["truncated"].item() == truncated
        assert following["terminated"].item() == (done and not truncated)
        limits, ends = limits + truncated, ends + done
        if done:
            observation = raw.reset()
    assert limits > 10
    assert ends - limits > 10


def test_a_seed_is_used_once():
    env = GymWrapper(limited())
    rounds = []
    for _ in range(2):
        env.set_seed(SEED)
        rounds.append(torch.stack([env.reset()["observation"] for _ in range(3)]))
    assert bool((rounds[0] == rounds[1]).all())
    assert not bool((rounds[0][0] == rounds[0][1]).all())


def test_envs_made_by_an_old_gym(gym):
    with set_gym_backend("gym"):
        env = GymEnv("Walk-v0", goal=2.0)
        assert env.goal == 2.0
        with pytest.raises(UnknownEnvError, match="one of gym's registry; did you mean 'Walk-v0'"):
            GymEnv("Walk-v1")
        with pytest.raises(TypeError, match="length"):
            GymEnv("Walk-v0", length=3)
    assert env.rollout(3, break_when_any_done=False).batch_size == (3,)


def test_pixels_of_an_old_gym(gym):
    with set_gym_backend("gym"):
        env = GymEnv("Walk-v0", from_pixels=True, pixels_only=False)
    data = env.rollout(5, break_when_any_done=False)
    assert data["pixels"].shape == (5, 4, 5, 3)
    assert bool((data["pixels"][:, 0, 0, 0] == data["observation"][:, 0].abs().to(torch.uint8)).all())


def test_info_frame_skip_copies_and_closing():
    simulator = limited()
    env = GymWrapper(simulator, frame_skip=2).auto_register_info_dict()
    env.set_seed(SEED)
    env.reset()
    twin = copy.deepcopy(env)
    first, second = (each.step(each.rand_action(torch.manual_seed(0) and each.reset())) for each in (env, twin))
    assert first["next", "steps"].item() == 1
    assert bool((first == second).all())
    env.close()
    env.close()
    assert simulator.closed == 1
    assert twin.closed == 0


def test_what_is_an_env_of_gym():
    assert is_legacy(limited())
    assert not is_legacy(gymnasium.make("CartPole-v1"))
    assert not is_legacy(object())


class Counter:
    """Counts; what it returns from a step is told."""

    observation_space, action_space = spaces.Box(0, 9, (1,)), spaces.Discrete(2)

    def __init__(self, result=None):
        self.result, self.count, self.seeds = result, 0, []

    def reset(self, seed=None):
        self.seeds.append(seed)
        return [0.0]

    def step(self, action):
        return self.result


@pytest.mark.parametrize(
    ("result", "flags"),
    [
        (([1.0], 2, True), (True, False)),
        (([1.0], 2, False), (False, False)),
        (([1.0], 2, 1, {}), (True, False)),
        (([1.0], 2, True, {"TimeLimit.truncated": True}), (False, True)),
        (([1.0], 2, True, {"TimeLimit.truncated": False}), (True, False)),
        (([1.0], 2, np.False_, np.True_, {}), (False, True)),
    ],
)
def test_dialects_of_a_step(result, flags):
    env = translate(Counter(result))
    assert env.reset() == ([0.0], {})
    found = env.step(0)
    assert found[:2] == ([1.0], 2)
    assert found[2:4] == flags
    assert isinstance(found[4], dict)
    env = GymWrapper(env)
    following = env.step(env.rand_action(env.reset()))["next"]
    assert (following["terminated"].item(), following["truncated"].item()) == flags
    assert following["done"].item() == any(flags)


@pytest.mark.parametrize(("result", "found"), [(None, "NoneType"), (([0.0], 1.0), "2 entries"), ("abcdef", "str")])
def test_other_dialects_are_refused(result, found):
    with pytest.raises(EnvDataError, match=rf"Counter.step: expected \(observation, reward, done\).* found {found}"):
        translate(Counter(result)).step(0)


def test_seeds_go_to_a_reset_that_takes_them():
    counter = Counter()
    env = translate(counter)
    env.reset(seed=3)
    env.reset()
    assert counter.seeds == [3, None]


def test_what_it_is_not():
    with pytest.raises(TypeError, match="object: expected a method reset, found none"):
        translate(object())
    blind = Counter()
    blind.action_space = None
    with pytest.raises(TypeError, match="Counter: expected an attribute action_space, found none"):
        translate(blind)
    assert translate(blind, action_space=spaces.Discrete(5)).action_space == spaces.Discrete(5)


def test_spaces():
    old = gym021.Dict(
        {
            "box": gym021.Box(-1.0, np.array([1.0, 2.0]), dtype=np.float64, shape=(2,)),
            "pair": gym021.Tuple([gym021.Discrete(4), gym021.MultiBinary(2)]),
            "many": gym021.MultiDiscrete([2, 3]),
        }
    )
    assert gymnasium_space(old) == spaces.Dict(
        {
            "box": spaces.Box(-1.0, np.array([1.0, 2.0]), dtype=np.float64),
            "pair": spaces.Tuple([spaces.Discrete(4), spaces.MultiBinary(2)]),
            "many": spaces.MultiDiscrete([2, 3]),
        }
    )
    with pytest.raises(UnsupportedSpaceError, match=r"'Box', .* found <object"):
        gymnasium_space(object())


def test_spaces_of_the_real_ancestor():
    gym = pytest.importorskip("gym")
    assert gymnasium_space(gym.spaces.Discrete(3, start=2)) == spaces.Discrete(3, start=2)
    assert gymnasium_space(gym.spaces.Box(-1, 1, (2, 3))) == spaces.Box(-1, 1, (2, 3))
