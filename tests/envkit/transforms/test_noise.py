from __future__ import annotations

import functools

import pytest
import torch
from tensordict import TensorDict

from envkit import (
    Compose,
    GymEnv,
    SerialEnv,
    SpecError,
    StepCounter,
    TransformedEnv,
    Unbounded,
    check_env_specs,
    gSDENoise,
)

pendulum = functools.partial(GymEnv, "Pendulum-v1", max_episode_steps=9)


@pytest.mark.parametrize("make", [pendulum, lambda: SerialEnv(3, pendulum)])
def test_a_loop_records_what_steps_by_hand_do(kit, make):
    kit.ports_agree(make, lambda: gSDENoise(4))
    check_env_specs(TransformedEnv(make(), gSDENoise(4)))
    assert kit.on_rows(TransformedEnv(make(), gSDENoise(4)))


def test_lasts_for_an_episode():
    batch = SerialEnv(2, [functools.partial(GymEnv, "Pendulum-v1", max_episode_steps=n) for n in (3, 5)])
    env = TransformedEnv(batch, gSDENoise(4, action_dim=2))
    assert env.observation_spec["_eps_gSDE"] == Unbounded((2, 2, 4))
    env.set_seed(0)
    data = env.rollout(15, break_when_any_done=False)
    assert torch.equal(data["_eps_gSDE"], data["next", "_eps_gSDE"])
    for noise, length in zip(data["_eps_gSDE"], (3, 5), strict=True):
        episodes = noise.reshape(15 // length, length, -1)
        assert torch.equal(episodes, episodes[:, :1].expand_as(episodes))
        assert len(episodes[:, 0].unique(dim=0)) == 15 // length


def test_errors():
    with pytest.raises(ValueError, match=r"gSDENoise: state_dim: expected at least 1, found 0"):
        gSDENoise(0)
    with pytest.raises(SpecError, match=r"gSDENoise: expected action_dim, or one action of one dimension, found"):
        TransformedEnv(GymEnv("CartPole-v1"), gSDENoise(3))
    with pytest.raises(SpecError, match=r"gSDENoise: 'observation': expected a new observation"):
        TransformedEnv(pendulum(), gSDENoise(3, key="observation"))
    with pytest.raises(NotImplementedError, match=r"stored data already has its noise"):
        gSDENoise(3)(TensorDict())


def test_under_a_step_limit(kit):
    kit.ports_agree(pendulum, lambda: Compose(StepCounter(4), gSDENoise(2)))
