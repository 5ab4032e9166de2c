from __future__ import annotations

import sys

import gymnasium
import numpy as np
import pytest
import torch

from envkit import (
    Bounded,
    Collector,
    EnvDataError,
    GymEnv,
    MissingDependencyError,
    RewardSum,
    SerialEnv,
    TransformedEnv,
    Unbounded,
    UnknownEnvError,
    UnsupportedSpaceError,
    check_env_specs,
    set_gym_backend,
)
from envkit.libs.mo_gymnasium import MOGymEnv, MOGymWrapper
from envkit.testing import env_checks

mo_gymnasium = pytest.importorskip("mo_gymnasium")
pytestmark = pytest.mark.filterwarnings("ignore:.*precision lowered by casting")

SEED = 7
TASKS = ("deep-sea-treasure-v0", "minecart-v0", "mo-mountaincar-v0", "mo-mountaincarcontinuous-v0", "fishwood-v0")


class TwoObjectives(gymnasium.Env):
    """Gives the rewards of a list, one after the other."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    reward_space = gymnasium.spaces.Box(np.float32([0.0, -2.0]), np.float32([5.0, 2.0]))

    def __init__(self, rewards):
        self.rewards = rewards

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        reward = self.rewards[self.steps % len(self.rewards)]
        self.steps += 1
        return np.zeros(1, np.float32), reward, False, False, {}


@env_checks(lambda: MOGymEnv("deep-sea-treasure-v0"))
def test_conformance(check):
    check()


@pytest.mark.parametrize("name", TASKS)
def test_it_does_what_it_says(name):
    assert check_env_specs(MOGymEnv(name)) == []


@pytest.mark.parametrize("name", TASKS)
def test_a_thousand_steps_are_those_of_the_raw_loop(name):
    env = MOGymEnv(name)
    env.set_seed(SEED)
    data = env.rollout(1_000, break_when_any_done=False)

    raw = mo_gymnasium.make(name)
    before = np.random.get_state()
    try:
        np.random.seed(SEED)  # some draw from there
        expected = {"observation": [], "reward": [], "terminated": [], "truncated": [], "root": []}
        observation, _ = raw.reset(seed=SEED)
        for action in data["action"]:
            expected["root"].append(observation)
            observation, reward, terminated, truncated, _ = raw.step(env.action_spec.to_numpy(action))
            for key, value in zip(expected, (observation, reward, terminated, truncated), strict=False):
                expected[key].append(value)
            if terminated or truncated:
                observation, _ = raw.reset()
    finally:
        np.random.set_state(before)

    assert np.array_equal(data["observation"].numpy(), np.stack(expected["root"]))
    for key in ("observation", "reward"):
        assert np.array_equal(data["next", key].numpy(), np.stack(expected[key])), key
    for key in ("terminated", "truncated"):
        assert data["next", key].reshape(-1).tolist() == expected[key]
    assert data["next", "done"].any() == (any(expected["terminated"]) or any(expected["truncated"]))
    assert data["next", "reward"].dtype is torch.float32


def test_episodes_end_in_the_thousand_steps():
    env = MOGymEnv("deep-sea-treasure-v0")
    env.set_seed(SEED)
    data = env.rollout(1_000, break_when_any_done=False)
    assert data["next", "terminated"].sum() > 5


def test_the_two_ports_carry_the_same_data():
    rows, public = MOGymEnv("minecart-v0"), MOGymEnv("minecart-v0")
    rows.set_seed(SEED), public.set_seed(SEED)
    data, current = rows.rollout(30), public.reset()
    for step in data:
        current = public.step(current.set("action", step["action"]))
        assert torch.equal(current["next", "reward"], step["next", "reward"])
        assert torch.equal(current["next", "observation"], step["next", "observation"])
        current = public.step_mdp(current)


def mining(env):
    """Steers a minecart to a mine, where what it digs is left to chance."""
    env.reset()
    cart, mine = env.unwrapped.cart, env.unwrapped.mines[0]
    total = []
    for _ in range(5):
        cart.pos, cart.speed, cart.departed = mine.pos.copy(), 0.0, True
        cart.content = np.zeros(2)
        env.step(env.rand_action().set("action", torch.tensor(0)))
        total.append(cart.content.copy())
    return np.stack(total)


def test_a_seed_holds_for_what_comes_from_numpys_global_generator():
    env = MOGymEnv("minecart-v0")
    env.set_seed(3)
    before = np.random.get_state()[1].copy()
    first = mining(env)
    assert np.array_equal(np.random.get_state()[1], before)
    np.random.rand(5)
    env.set_seed(3)
    assert np.array_equal(mining(env), first)
    assert first.std() > 0
    env.set_seed(4)
    assert not np.array_equal(mining(env), first)


def test_without_a_seed_it_shares_the_global_generator():
    env = MOGymEnv("minecart-v0")
    env.set_seed(None)
    before = np.random.get_state()
    try:
        np.random.seed(1)
        first = mining(env)
        np.random.seed(1)
        assert np.array_equal(mining(env), first)
    finally:
        np.random.set_state(before)


def test_specs():
    env = MOGymEnv("mo-mountaincar-3d-v0")
    assert isinstance(env.reward_spec, Bounded)
    assert env.reward_spec.low.tolist() == [-1, -1, 0]
    assert env.reward_spec.high.tolist() == pytest.approx([-1, 0, 1.1])
    assert env.observation_spec["observation"].shape == (2,)
    assert env.action_spec.n == 3
    assert isinstance(MOGymEnv("mo-mountaincar-v0", frame_skip=2).reward_spec, Unbounded)
    assert MOGymEnv("mo-mountaincar-v0", categorical_action_encoding=False).action_spec.shape == (3,)
    assert isinstance(env, GymEnv)
    assert isinstance(env, MOGymWrapper)
    assert env.reward_dim == 3  # looked up in the simulator


def test_frames_that_are_skipped_are_summed():
    env = MOGymWrapper(TwoObjectives([np.array([1.0, -1.0]), np.array([0.5, 0.25])]), frame_skip=2)
    assert env.rollout(2)["next", "reward"].tolist() == [[1.5, -0.75], [1.5, -0.75]]


def test_a_single_objective():
    class One(TwoObjectives):
        reward_space = gymnasium.spaces.Box(0.0, 5.0, (1,), np.float32)

    env = MOGymWrapper(One([np.array([3.0], np.float32)]))
    assert env.rollout(2)["next", "reward"].tolist() == [[3.0], [3.0]]


def test_batches_collectors_and_transforms():
    batch = SerialEnv(2, lambda: MOGymEnv("deep-sea-treasure-v0"))
    batch.set_seed(SEED)
    data = batch.rollout(50, break_when_any_done=False)
    assert data["next", "reward"].shape == (2, 50, 2)
    env = TransformedEnv(MOGymEnv("deep-sea-treasure-v0"), RewardSum())
    out = env.rollout(10)
    assert torch.equal(out["next", "episode_reward"], out["next", "reward"].cumsum(0))
    collected = next(iter(Collector(MOGymEnv("fishwood-v0"), frames_per_batch=20, total_frames=20)))
    assert collected["next", "reward"].shape == (20, 2)


def test_pixels():
    env = MOGymEnv("deep-sea-treasure-v0", from_pixels=True)
    assert env.rollout(2)["next", "pixels"].float().std() > 0
    env.close()


def test_available_envs():
    assert {*TASKS} <= set(MOGymEnv.available_envs)
    assert "CartPole-v1" not in MOGymEnv.available_envs


def test_the_backend_of_gym_envs_is_of_no_matter():
    with set_gym_backend("gym"):
        assert MOGymEnv("fishwood-v0").reward_spec.shape == (2,)


def test_errors(monkeypatch):
    with pytest.raises(UnknownEnvError, match=r"unknown env id 'minecarts-v0'.*did you mean 'minecart-v0'"):
        MOGymEnv("minecarts-v0")
    with pytest.raises(UnsupportedSpaceError, match=r"'reward' of .*expected a reward_space.*found None.*GymEnv"):
        MOGymEnv("CartPole-v1")
    for reward, found in ((1.0, r"float64 of shape \[\]"), (np.zeros(3), r"float64 of shape \[3\]")):
        env = MOGymWrapper(TwoObjectives([reward]))
        with pytest.raises(EnvDataError, match=r"'reward' of .*expected numbers of shape \[2\], found " + found):
            env.rollout(1)
    summed = MOGymWrapper(mo_gymnasium.wrappers.LinearReward(mo_gymnasium.make("fishwood-v0"), np.ones(2)))
    with pytest.raises(EnvDataError, match=r"expected numbers of shape \[2\]"):
        summed.rollout(1)
    monkeypatch.setitem(sys.modules, "mo_gymnasium", None)
    with pytest.raises(MissingDependencyError, match=r"envkit\[mo-gymnasium\]"):
        MOGymEnv("fishwood-v0")
    assert MOGymEnv.available_envs == []
