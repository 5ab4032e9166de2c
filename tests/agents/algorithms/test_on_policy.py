"""What agents that learn from what they have just collected have in common."""

import math

import pytest
import torch

from agents import A2C, PPO, REINFORCE, reward_to_go
from envkit import RewardScaling, SerialEnv, TransformedEnv

AGENTS = {
    "ppo": (PPO, {"num_minibatches": 2, "epochs": 2}),
    "ppo kl": (PPO, {"num_minibatches": 2, "epochs": 2, "variant": "kl", "kl_target": 1e-4}),
    "ppo none": (PPO, {"num_minibatches": 2, "epochs": 2, "variant": "none"}),
    "a2c": (A2C, {}),
    "reinforce": (REINFORCE, {}),
    "reinforce without baseline": (REINFORCE, {"baseline": False}),
}


@pytest.fixture(params=AGENTS)
def kind(request):
    return AGENTS[request.param]


@pytest.fixture(params=["cart_pole", "pendulum"])
def make(request, kind, tools):
    def make(seed=0, unit=1.0, **changes):
        agent, options = kind
        env = SerialEnv(2, getattr(tools, request.param))
        env = env if unit == 1.0 else TransformedEnv(env, RewardScaling(0.0, unit))
        return agent(env, agent.Config(**{"steps_per_env": 32, "hidden_sizes": (8,), **options, **changes}), seed=seed)

    return make


def test_same_seed_same_numbers(make, tools):
    records = [tools.records(make(seed=seed), max_iters=8) for seed in (3, 3, 4)]
    assert records[0] == records[1] != records[2]


@pytest.mark.parametrize("normalize_reward", [False, True])
def test_an_agent_that_resumes_goes_on_as_if_nothing_had_happened(make, tools, tmp_path, normalize_reward):
    whole = make(normalize_reward=normalize_reward)
    expected = tools.records(whole, max_iters=9)
    agent = make(normalize_reward=normalize_reward)
    with pytest.raises(InterruptedError):
        agent.train(max_iters=9, callback=tools.interrupt_at(4))
    agent.save(tmp_path / "agent.safetensors")
    torch.rand(7)
    loaded = type(agent).load(tmp_path / "agent.safetensors", make(seed=9).env)
    assert tools.records(loaded, max_iters=9) == expected[4:]
    assert tools.same(tools.learnt(loaded), tools.learnt(whole))


def test_normalised_rewards_have_no_unit(make, tools):
    """Rewards of another unit, a power of two to have no rounding, teach the same, and are reported as they are."""

    def trained(unit, **changes):
        agent = make(unit=unit, **changes)
        metrics = agent.train(max_iters=8)
        return agent.optimizer.flat, metrics["return_mean"]

    (one, reported), (other, reported_other) = (trained(unit, normalize_reward=True) for unit in (4.0, 1024.0))
    assert torch.equal(one, other)
    assert reported_other == 256 * reported
    assert not torch.equal(one, trained(4.0)[0])


def test_from_config(kind, tools):
    agent, options = kind
    made = agent.from_config({**options, "steps_per_env": 7}, tools.cart_pole(), seed=None)
    assert made.config == agent.Config(**options, steps_per_env=7)
    with pytest.raises(TypeError, match="steps_per_envs"):
        agent.from_config({"steps_per_envs": 7}, tools.cart_pole())


def test_the_penalty_follows_the_divergence(tools):
    def kl_coefs(target):
        config = PPO.Config(steps_per_env=64, variant="kl", kl_target=target, lr=1e-2)
        records = tools.records(PPO(tools.cart_pole(), config), max_iters=4)
        return [record["kl_coef"] for record in records]

    assert kl_coefs(1e-9) == [1.0, 2.0, 4.0, 8.0]
    assert kl_coefs(1e9) == [1.0, 0.5, 0.25, 0.125]


def test_variants_that_there_are_not(tools):
    with pytest.raises(ValueError, match=r"PPOConfig\.variant: expected one of .*, found 'klip'"):
        PPO.Config(variant="klip")


def test_reinforce_learns_from_episodes_that_ended(tools):
    agent = REINFORCE(SerialEnv(2, tools.cart_pole), REINFORCE.Config(steps_per_env=60, gamma=0.9))
    batch = agent.collector.next()
    data = agent.estimate(batch)
    rows = []
    for env in range(2):
        done = batch["next", "done"][env]
        last = int(done.flatten().nonzero()[-1]) + 1
        returns = reward_to_go(batch["next", "reward"][env, :last], done[:last], gamma=0.9)
        rows.append((batch["observation"][env, :last], batch["action"][env, :last], returns.flatten()))
    observation, action, returns = (torch.cat(column) for column in zip(*rows, strict=True))
    assert torch.equal(data["observation", "observation"], observation)
    assert torch.equal(data["action"], action)
    assert torch.allclose(data["target"], returns)


def test_reinforce_waits_for_an_episode_to_end(tools):
    agent = REINFORCE(tools.pendulum(), REINFORCE.Config(steps_per_env=150))
    before = agent.optimizer.flat.clone()
    agent.train(max_iters=1)
    assert torch.equal(agent.optimizer.flat, before)
    metrics = agent.train(max_iters=2)  # the first episode ends after 200 steps
    assert not torch.equal(agent.optimizer.flat, before)
    assert math.isfinite(metrics["loss_objective"])


def test_a2c_makes_one_step_with_each_batch(tools):
    agent = A2C(SerialEnv(2, tools.cart_pole))
    agent.train(max_iters=3)
    assert agent.optimizer.state_dict()["step"] == 3
