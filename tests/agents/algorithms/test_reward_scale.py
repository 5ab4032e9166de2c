import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.algorithms.reward_scale import RewardScale
from envkit import GymEnv, RewardNorm, SerialEnv, TransformedEnv


def by_hand(reward, done, gamma, before):
    """Discounted returns so far, ``[envs, time]``, and those after the last step."""
    found = torch.empty_like(reward)
    now = list(before)
    for env in range(reward.shape[0]):
        for time in range(reward.shape[1]):
            now[env] = gamma * now[env] + reward[env, time].item()
            found[env, time] = now[env]
            if done[env, time]:
                now[env] = 0.0
    return found, now


@settings(deadline=None, max_examples=30, derandomize=True)
@given(gamma=st.sampled_from([-0.9, 0.0, 0.5, 0.99, 1.0]), sizes=st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_rewards_are_divided_by_the_deviation_of_returns_so_far(gamma, sizes):
    drawn = torch.Generator().manual_seed(len(sizes))
    scale, returns, now = RewardScale((2,), gamma), [], [0.0, 0.0]
    for size in sizes:
        reward = torch.randn(2, size, dtype=torch.float64, generator=drawn)
        done = torch.rand(2, size, generator=drawn) < 0.3
        part, now = by_hand(reward, done, gamma, now)
        returns.append(part.flatten())
        expected = reward / torch.cat(returns).var(correction=0).clamp_min(1e-4).sqrt()
        assert torch.allclose(scale(reward, done), expected)


def test_as_in_an_env():
    """After the same rewards, the transform knows the same deviation."""
    norm = RewardNorm(gamma=0.9)
    envs = SerialEnv(3, lambda: GymEnv("Pendulum-v1"))
    inside, outside = TransformedEnv(envs, norm), SerialEnv(3, lambda: GymEnv("Pendulum-v1"))
    inside.set_seed(0)
    outside.set_seed(0)
    inside.rollout(50)
    steps = outside.rollout(50)["next"]
    scale = RewardScale((3,), gamma=0.9)
    reward = steps["reward"].squeeze(-1)
    scaled = scale(reward, steps["done"].squeeze(-1))
    assert torch.allclose(reward / scaled, norm.statistics.loc_scale(torch.float32)[1])


def test_agents_that_left_do_not_count():
    reward, alive = torch.tensor([[[1.0, 9.0], [3.0, 9.0]]]), torch.tensor([[[True, False], [True, False]]])
    done = torch.zeros_like(alive)
    alone = RewardScale((1, 1), gamma=0.0)(reward[..., :1], done[..., :1])
    assert torch.equal(RewardScale((1, 2), gamma=0.0)(reward, done, alive)[..., :1], alone)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_reward_that_is_not_finite_leaves_what_is_known(wrong):
    never = torch.zeros(1, 3, dtype=torch.bool)
    scale = RewardScale((1,), gamma=0.9)
    scale(torch.tensor([[1.0, 2.0, 3.0]]), never)
    reward = torch.tensor([[1.0, wrong, 3.0]])
    assert torch.equal(scale(reward, never).nan_to_num(), reward.nan_to_num())
    other = RewardScale((1,), gamma=0.9)
    other(torch.tensor([[1.0, 2.0, 3.0]]), never)
    assert torch.equal(scale(torch.ones(1, 3), never), other(torch.ones(1, 3), never))


@pytest.mark.parametrize("envs", [2, 3])
def test_what_goes_on_after_loading(envs):
    drawn = torch.Generator().manual_seed(0)
    reward = torch.rand(2, 4, generator=drawn)
    never = torch.zeros(2, 4, dtype=torch.bool)
    scale, loaded = RewardScale((2,), 0.9), RewardScale((envs,), 0.9)
    scale(reward, never)
    loaded(torch.ones(envs, 1), torch.zeros(envs, 1, dtype=torch.bool))
    loaded.load_state_dict(scale.state_dict())
    if envs == 2:
        assert torch.equal(loaded(reward, never), scale(reward, never))
    scale.restart()
    more = torch.rand(envs, 4, generator=drawn)
    assert scale.state_dict()["open_returns"] == [0.0, 0.0]
    assert loaded(more, torch.zeros(envs, 4, dtype=torch.bool)).isfinite().all()
