from __future__ import annotations

import functools

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import NormalizeReward
from tensordict import TensorDict

from envkit import GymEnv, GymWrapper, RewardNorm, SerialEnv, SpecError, TransformedEnv, Unbounded, check_env_specs

pendulum = functools.partial(GymEnv, "Pendulum-v1", max_episode_steps=9)


def pendulums(n=3):
    return SerialEnv(n, pendulum)


@pytest.mark.parametrize("make", [pendulum, pendulums])
def test_a_loop_records_what_steps_by_hand_do(kit, make):
    kit.ports_agree(make, RewardNorm, steps=30)
    kit.ports_agree(make, lambda: RewardNorm(out_keys="scaled"), steps=30)
    assert kit.on_rows(TransformedEnv(make(), RewardNorm()))


def test_specs():
    env = TransformedEnv(pendulums(), RewardNorm())
    assert env.reward_spec == env.observation_spec["discounted_return"] == Unbounded((3, 1))
    check_env_specs(env)


def test_same_as_gymnasium():
    """200 steps with ends of episodes, without the wrapper's prior of 1e-4 values."""
    venv = gymnasium.make_vec(
        "Pendulum-v1", 4, vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP}, max_episode_steps=30
    )
    theirs = NormalizeReward(venv, gamma=0.9)
    theirs.return_rms.count = 0.0
    actions = np.random.default_rng(0).uniform(-2, 2, (200, 4, 1)).astype(np.float32)
    theirs.reset(seed=list(range(4)))
    expected = np.stack([theirs.step(action)[1] for action in actions])
    raw = gymnasium.make_vec(
        "Pendulum-v1", 4, vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP}, max_episode_steps=30
    )
    raw.reset(seed=list(range(4)))
    rewards = torch.from_numpy(np.stack([raw.step(action)[1] for action in actions])).float()

    ours = TransformedEnv(SerialEnv(4, Recorded(rewards)), RewardNorm(gamma=0.9, eps=1e-8))
    found = ours.rollout(200, break_when_any_done=False)["next", "reward"].squeeze(-1).T
    torch.testing.assert_close(found, torch.from_numpy(expected).float(), rtol=1e-5, atol=1e-6)


class Recorded:
    """Makes envs that give recorded rewards ``[time, envs]``, one column each, in episodes of 30 steps."""

    def __init__(self, rewards):
        self.columns = iter(rewards.T)

    def __call__(self):
        rewards = next(self.columns)

        class Replay(gymnasium.Env):
            observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
            action_space = gymnasium.spaces.Discrete(2)
            t = 0

            def reset(self, *, seed=None, options=None):
                return np.zeros(1, np.float32), {}

            def step(self, action):
                self.t += 1
                return np.zeros(1, np.float32), rewards[self.t - 1].item(), False, self.t % 30 == 0, {}

        return GymWrapper(Replay())


def test_counts_who_is_stepped(kit):
    env = TransformedEnv(pendulums(), RewardNorm())
    td = kit.seeded(env).reset()
    td["_step"] = torch.tensor([[True], [False], [True]])
    env.step(env.rand_action(td))
    assert env.transform[0].statistics.weight.item() == 2


def test_frozen(kit):
    env = TransformedEnv(pendulums(), RewardNorm())
    env.rollout(5)
    before = env.transform[0].statistics.spread.clone()
    env.transform[0].freeze()
    env.rollout(5)
    assert torch.equal(env.transform[0].statistics.spread, before)
    kit.ports_agree(pendulums, lambda: env.transform[0].clone().freeze())
    stored = pendulums().rollout(4)
    deviation = env.transform[0].statistics.loc_scale(torch.float32)[1]
    expected = stored["next", "reward"] / deviation
    assert torch.equal(env.transform[0](stored)["next", "reward"], expected)


def test_state(kit, tools):
    env = TransformedEnv(pendulums(), RewardNorm())
    env.rollout(5)
    other = TransformedEnv(pendulums(), RewardNorm())
    other.load_state_dict({key: value.clone() for key, value in env.state_dict().items()})
    actions = tools.draw_actions(env, 10)
    tools.assert_same(kit.rollout(other, actions), kit.rollout(env, actions))


def test_a_reward_for_each_agent(two_agents):
    env = TransformedEnv(SerialEnv(2, two_agents), RewardNorm(in_keys=("agent1", "reward")))
    data = env.rollout(3)
    assert data["agent1", "discounted_return"].shape == (2, 3, 1)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"gamma": 2.0}, r"expected gamma in \[0, 1\], found 2.0"),
        ({"eps": 0.0}, r"expected eps above 0, found 0.0"),
        ({"in_keys": ["a", "b"]}, r"expected one reward, found \['a', 'b'\]"),
    ],
)
def test_arguments(kwargs, message):
    with pytest.raises(ValueError, match=rf"RewardNorm: {message}"):
        RewardNorm(**kwargs)


def test_errors():
    with pytest.raises(SpecError, match=r"RewardNorm: 'observation': expected a new observation"):
        TransformedEnv(pendulum(), RewardNorm(return_key="observation"))
    with pytest.raises(SpecError, match=r"RewardNorm belongs on a batch as a whole"):
        SerialEnv(2, lambda: TransformedEnv(pendulum(), RewardNorm()))
    with pytest.raises(RuntimeError, match=r"RewardNorm: expected statistics, found none"):
        RewardNorm()(TensorDict({"reward": torch.ones(1)}))
