"""A foreign trainer on exported envs."""

from __future__ import annotations

import warnings

import gymnasium
import pytest

from envkit import Compose, DoubleToFloat, GymEnv, RewardSum, StepCounter, TransformedEnv, as_gymnasium

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what it imports
    sb3 = pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.env_checker import check_env

ENVS = {
    "plain": lambda: as_gymnasium(GymEnv("CartPole-v1")),
    "continuous": lambda: as_gymnasium(GymEnv("MountainCarContinuous-v0")),
    "transformed": lambda: as_gymnasium(
        TransformedEnv(GymEnv("CartPole-v1"), Compose(StepCounter(max_steps=50), RewardSum(), DoubleToFloat())),
        info_keys=["step_count", "episode_reward"],
    ),
    "dict": lambda: as_gymnasium(TransformedEnv(GymEnv("CartPole-v1"), RewardSum())),
    "registered": lambda: gymnasium.make("envkit/CartPole-v0"),
}


@pytest.mark.parametrize("name", ENVS)
def test_its_checker_finds_nothing_wrong(name):
    check_env(ENVS[name](), warn=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENVS)
def test_its_ppo_trains(name):
    env = ENVS[name]()
    policy = "MultiInputPolicy" if name == "dict" else "MlpPolicy"
    model = sb3.PPO(policy, env, n_steps=512, seed=0, device="cpu")
    model.learn(2048)
    assert model.num_timesteps == 2048
    if name != "continuous":  # whose first episode has not ended yet, or has taught nothing
        lengths = [episode["l"] for episode in model.ep_info_buffer]
        assert len(lengths) > 10
