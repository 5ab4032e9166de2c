"""Dueling networks and those of DDPG."""

import pytest
import torch
from torch import nn

from agents.nn import DdpgCnnActor, DdpgCnnQNet, DdpgMlpActor, DdpgMlpQNet, DuelingCnnDQNet, DuelingMlpDQNet


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (DuelingMlpDQNet(4, mlp_kwargs_feature={"num_cells": [8], "out_features": 8}), (3,)),
        (DuelingCnnDQNet(4, cnn_kwargs={"num_cells": [2], "kernel_sizes": 3}), (3, 8, 8)),
    ],
    ids=["mlp", "cnn"],
)
def test_advantages_are_centred_at_the_value(net, shape):
    inputs = torch.randn(5, *shape)
    values, features = net(inputs), net.features(inputs)
    torch.testing.assert_close(values.mean(-1, keepdim=True), net.head.value(features), atol=1e-5, rtol=1e-5)
    advantage = net.head.advantage(features)
    torch.testing.assert_close(values - values[:, :1], advantage - advantage[:, :1], atol=1e-5, rtol=1e-5)
    assert values.shape == (5, 4)


def test_defaults_of_dueling_networks():
    net = DuelingMlpDQNet(4)
    assert (net.features.num_cells, net.head.value.num_cells) == ([256, 256], [512])
    assert isinstance(net.features[-1], nn.ELU)
    assert DuelingCnnDQNet(4)(torch.zeros(2, 4, 84, 84)).shape == (2, 4)


def test_a_value_for_each_action_is_possible():
    assert DuelingMlpDQNet(4, out_features_value=4)(torch.zeros(5, 3)).shape == (5, 4)
    with pytest.raises(ValueError, match="out_features_value: expected 1 or 4, found 2"):
        DuelingMlpDQNet(4, out_features_value=2)


def test_networks_of_ddpg_start_near_zero():
    observation, action, images = torch.randn(5, 3), torch.randn(5, 2), torch.randn(5, 3, 16, 16)
    actor, critic = DdpgMlpActor(2), DdpgMlpQNet()
    assert actor(observation).shape == (5, 2)
    assert critic(observation, action).shape == (5, 1)
    assert (actor.mlp.num_cells, critic.mlp1.out_features, critic.mlp2.num_cells) == ([400, 300], 400, [300])
    for net, bound in [(actor.mlp, 3e-3), (critic.mlp2, 3e-3), (DdpgCnnActor(2).mlp, 3e-4), (DdpgCnnQNet().mlp, 3e-4)]:
        assert 0.5 * bound < net[-1].weight.abs().max() <= bound
    moved, hidden = DdpgCnnActor(2)(images)
    assert moved.shape == (5, 2)
    assert hidden.ndim == 2
    assert DdpgCnnQNet()(images, action).shape == (5, 1)


def test_critic_sees_the_action():
    critic, observation = DdpgMlpQNet(), torch.randn(5, 3)
    assert not torch.equal(critic(observation, torch.zeros(5, 2)), critic(observation, torch.ones(5, 2)))


def test_average_pooling_makes_networks_of_ddpg_blind_to_size():
    actor = DdpgCnnActor(2, use_avg_pooling=True)
    assert [actor(torch.zeros(3, 3, n, n))[1].shape for n in (16, 24)] == [(3, 32)] * 2


def test_arguments_go_to_the_parts():
    actor = DdpgMlpActor(2, {"num_cells": [7], "activation_class": nn.Tanh})
    assert (actor.mlp.num_cells, type(actor.mlp[1])) == ([7], nn.Tanh)
    assert DdpgMlpActor(2, {"depth": 0, "num_cells": None})(torch.zeros(5, 3)).shape == (5, 2)
