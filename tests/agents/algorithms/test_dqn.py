"""What only DQN does: acting at random now and then."""

import pytest
import torch
from torch import nn

from agents import DQN, DQNConfig
from envkit import ExplorationType, SerialEnv, TicTacToeEnv


class Counting(nn.Module):
    """Values of actions, and how often they were asked for."""

    def __init__(self, width, actions):
        super().__init__()
        self.linear = nn.Linear(width, actions)
        self.calls = 0

    def forward(self, observation):
        self.calls += 1
        return self.linear(observation.flatten(observation.ndim - 1).float())


def make(env, width, actions, eps):
    config = DQNConfig(buffer_size=300, eps_init=eps, eps_end=eps)
    return DQN(env, config, network=Counting(width, actions), observation_keys=["observation"])


def make_on_cart_pole(tools, envs, eps):
    env = tools.cart_pole() if envs == 1 else SerialEnv(envs, tools.cart_pole)
    return make(env, 4, 2, eps)


def actions(agent, policy):
    torch.manual_seed(1)
    agent.env.set_seed(1)
    run = agent.env.rollout(60, policy, exploration_type=ExplorationType.RANDOM, break_when_any_done=False)
    return run[agent.spaces.action_key]


@pytest.mark.parametrize("eps", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("envs", [1, 3])
def test_a_loop_acts_as_the_modules_do(tools, envs, eps):
    agent = make_on_cart_pole(tools, envs, eps)
    in_loop = actions(agent, agent.policy)
    by_modules = actions(agent, lambda tensordict: agent.policy(tensordict))
    assert torch.equal(in_loop, by_modules)


@pytest.mark.parametrize("eps", [0.4, 1.0])
def test_so_it_does_where_actions_are_masked(eps):
    env = SerialEnv(2, lambda: TicTacToeEnv(single_player=True, opponent="random", include_observation=True))
    width = env.observation_spec["observation"].shape[-1]
    agent = make(env, width, 9, eps)
    assert torch.equal(actions(agent, agent.policy), actions(agent, lambda tensordict: agent.policy(tensordict)))


def test_a_random_action_needs_no_network(tools):
    agent = make_on_cart_pole(tools, 1, 1.0)
    actions(agent, agent.policy)
    assert 1 <= agent.network.calls <= 3  # to see what the policy writes
    greedy = make_on_cart_pole(tools, 1, 0.0)
    actions(greedy, greedy.policy)
    assert greedy.network.calls >= 60
