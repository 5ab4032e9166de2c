"""Noise on the actions of agents."""

import pytest
import torch

from agents import DDPG, SAC, TD3
from envkit import ExplorationType


def actions(agent, kind):
    """Those of four episodes of 50 steps each, in the agent's own env."""
    torch.manual_seed(0)
    runs = [agent.env.rollout(50, agent.policy, exploration_type=kind) for _ in range(4)]
    return torch.stack([run["action"] for run in runs])


def make(tools, kind, noise, std=0.1):
    config = kind.Config(hidden_sizes=(8,), batch_size=8, buffer_size=50, noise=noise, noise_std=std)
    agent = kind(tools.pendulum(), config)
    with torch.no_grad():  # so that the mode of what SAC draws is 0, and its deviation next to nothing
        for parameter in agent.actor.parameters():
            parameter.zero_()
        if kind is SAC:
            for parameter in list(agent.actor.parameters())[-1:]:
                parameter[..., 1] = -20.0
    return agent


@pytest.mark.parametrize("kind", [DDPG, TD3, SAC])
@pytest.mark.parametrize("noise", ["none", "gaussian", "ornstein-uhlenbeck"])
def test_noise_is_of_exploration_only(tools, kind, noise):
    agent = make(tools, kind, noise)
    assert actions(agent, ExplorationType.DETERMINISTIC).abs().max() < 1e-5
    spread = actions(agent, ExplorationType.RANDOM).std().item()
    assert spread < 1e-5 if noise == "none" else spread > 0.01


@pytest.mark.parametrize("kind", [DDPG, SAC])
def test_gaussian_noise_is_scaled_to_the_box(tools, kind):
    """Torques go from -2 to 2: a deviation of 0.1 in the box from -1 to 1 is 0.2 of them."""
    drawn = actions(make(tools, kind, "gaussian"), ExplorationType.RANDOM)
    assert drawn.std() == pytest.approx(0.2, rel=0.15)
    assert actions(make(tools, kind, "gaussian", 0.0), ExplorationType.RANDOM).abs().max() < 1e-5


@pytest.mark.parametrize("kind", [DDPG, SAC])
def test_the_other_noise_has_a_memory_of_an_episode(tools, kind):
    """Its steps have deviation ``std * sqrt(dt)``: 0.5 * 2 * 0.1; and it starts at 0 in each episode."""
    drawn = actions(make(tools, kind, "ornstein-uhlenbeck", 0.5), ExplorationType.RANDOM)
    steps = drawn.diff(dim=1)
    assert steps.std() == pytest.approx(0.1, rel=0.15)
    assert drawn[:, 0].abs().max() < 0.5
    assert drawn.std() > 2 * steps.std()


@pytest.mark.parametrize("kind", [DDPG, TD3, SAC])
def test_unknown_noise(kind):
    expected = (
        rf"{kind.__name__}Config\.noise: expected one of \['none', 'gaussian', 'ornstein-uhlenbeck'\], found 'ou'"
    )
    with pytest.raises(ValueError, match=expected):
        kind.Config(noise="ou")
