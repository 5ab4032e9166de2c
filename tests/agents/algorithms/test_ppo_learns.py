import pytest

from agents import PPO, PPOConfig
from envkit import GymEnv, SerialEnv


def cart_pole():
    return GymEnv("CartPole-v1")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_cart_pole_is_solved(seed):
    """The hyper-parameters are those of the zoo's config for this env."""
    config = PPOConfig(
        steps_per_env=32,
        num_minibatches=1,
        epochs=20,
        gamma=0.98,
        gae_lambda=0.8,
        lr=1e-3,
        anneal_lr=True,
        clip_epsilon=0.2,
        anneal_clip=True,
        entropy_coef=0.0,
    )
    agent = PPO(SerialEnv(8, cart_pole), config, seed=seed)
    agent.train(max_steps=100_000)
    assert agent.steps <= 100_000
    score = agent.evaluate(cart_pole(), seeds=range(10_000, 10_100))
    assert len(score.returns) == 100
    assert score.mean >= 490
