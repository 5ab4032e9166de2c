import statistics

import pytest
import torch

from agents import PPO, Evaluation, PPOConfig, evaluate
from envkit import Composite, GymEnv, PolicyError, RewardSum, SerialEnv, TransformedEnv, Unbounded


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def left(tensordict):
    return tensordict.set("action", torch.tensor(0))


def test_numbers_by_hand():
    result = Evaluation(seeds=[1, 2, 3], returns=[1.0, 2.0, 6.0], lengths=[4, 5, 6])
    assert (result.mean, result.min, result.max) == (3.0, 1.0, 6.0)
    assert result.std == statistics.pstdev([1.0, 2.0, 6.0])


def test_an_evaluation_does_not_change():
    with pytest.raises(AttributeError):
        Evaluation().returns = [1.0]


def test_one_whole_episode_from_each_seed(stations):
    result = evaluate(stations([(3, False), (2, True)]), left, seeds=[5, 7])
    assert result == Evaluation(seeds=[5, 7], returns=[1.0 + 2 + 3, 11.0 + 12], lengths=[3, 2])


def test_return_and_length_are_those_of_a_rollout(tools):
    env = tools.cart_pole()
    result = evaluate(env, left, seeds=range(20))
    assert result.seeds == list(range(20))
    for seed, total, length in zip(result.seeds, result.returns, result.lengths, strict=True):
        env.set_seed(seed)
        episode = env.rollout(1000, left)
        assert (total, length) == (episode["next", "reward"].sum().item(), len(episode))


def test_the_same_seeds_are_the_same_starts(tools):
    env = tools.cart_pole()
    first = evaluate(env, left, seeds=range(10))
    env.rollout(7)
    assert evaluate(env, left, seeds=range(10)) == first == evaluate(tools.cart_pole(), left, seeds=iter(range(10)))
    backwards = evaluate(env, left, seeds=reversed(range(10)))
    assert backwards.returns == first.returns[::-1]
    assert evaluate(env, left, seeds=range(10, 20)) != first


@pytest.mark.parametrize("name", ["cart_pole", "pendulum"])
def test_the_policy_acts_deterministically_and_draws_nothing(tools, name):
    agent = PPO(getattr(tools, name)(), PPOConfig())
    state = torch.get_rng_state()
    results = [evaluate(getattr(tools, name)(), agent.policy, seeds=[1, 2], max_steps=50) for _ in range(2)]
    assert results[0] == results[1]
    assert torch.equal(torch.get_rng_state(), state)


def test_an_endless_episode_is_cut(stations):
    assert evaluate(stations([(10**9, False)]), left, seeds=[0], max_steps=5) == Evaluation([0], [15.0], [5])


def test_rewards_are_summed_in_double_precision(stations):
    reward = torch.tensor(0.1).item()
    result = evaluate(stations([(1000, True)], reward=reward), left, seeds=[0])
    assert result.returns == [sum([reward] * 1000)]


def test_a_reward_under_another_key(stations):
    class Renamed(stations):
        def __init__(self):
            super().__init__()
            self.full_reward_spec = Composite(agent=Composite(reward=Unbounded((1,))))

        def _step(self, tensordict):
            out = super()._step(tensordict)
            return out.set(("agent", "reward"), out.pop("reward"))

    assert evaluate(Renamed(), left, seeds=[0]).returns == [6.0]


def test_a_transformed_env(tools):
    env = TransformedEnv(tools.cart_pole(), RewardSum())
    assert evaluate(env, left, seeds=range(5)) == evaluate(tools.cart_pole(), left, seeds=range(5))


def test_a_batch_is_refused(tools):
    with pytest.raises(ValueError, match=r"evaluate: expected an env without batch, found batch size \[2\]"):
        evaluate(SerialEnv(2, tools.cart_pole), left)


def test_a_policy_that_writes_no_action(tools):
    with pytest.raises(PolicyError, match="the policy wrote no 'action'"):
        evaluate(tools.cart_pole(), lambda tensordict: tensordict, seeds=[0])


def test_a_policy_for_another_env(tools):
    agent = PPO(tools.cart_pole(), PPOConfig())
    with pytest.raises(PolicyError, match=r"'action' written by the policy: expected torch\.float32"):
        evaluate(GymEnv("MountainCarContinuous-v0"), left, seeds=[0])
    with pytest.raises(RuntimeError, match="shapes"):
        evaluate(GymEnv("Acrobot-v1"), agent.policy, seeds=[0])
