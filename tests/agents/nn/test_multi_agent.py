import pytest
import torch
from torch import nn

from agents.nn import MLP
from agents.nn.multi_agent import MultiAgentConvNet, MultiAgentMLP, MultiAgentNetwork
from envkit.core.inlined_layers import on_tensors

KINDS = [(centralized, share) for centralized in (False, True) for share in (False, True)]
IMAGE = {"num_cells": [4, 4], "kernel_sizes": 3}


def perceptron(centralized, share, agents=3, **options):
    return MultiAgentMLP(4, 2, agents, centralized=centralized, share_params=share, num_cells=[8], **options)


@pytest.mark.parametrize(("centralized", "share"), KINDS)
def test_shapes_and_numbers_of_networks(centralized, share):
    net = perceptron(centralized, share)
    assert len(net.agent_networks) == (1 if share else 3)
    assert all(isinstance(one, MLP) for one in net.agent_networks)
    assert net.agent_networks[0][0].in_features == (12 if centralized else 4)
    for batch in ((), (5,), (5, 7)):
        assert net(torch.randn(*batch, 3, 4)).shape == (*batch, 3, 2)


@pytest.mark.parametrize(("centralized", "share"), KINDS)
def test_who_sees_what(centralized, share):
    net, seen = perceptron(centralized, share), torch.randn(5, 3, 4)
    changed = seen.clone()
    changed[:, 1] += 1.0
    moved = (net(changed) != net(seen)).flatten(2).any(-1).any(0)
    assert moved.tolist() == ([True, True, True] if centralized else [False, True, False])


@pytest.mark.parametrize(("centralized", "share"), KINDS)
def test_the_same_as_networks_called_one_by_one(centralized, share):
    net, seen = perceptron(centralized, share), torch.randn(5, 3, 4)
    nets = [net.agent_networks[0 if share else agent] for agent in range(3)]
    own = [seen.flatten(1) if centralized else seen[:, agent] for agent in range(3)]
    expected = torch.stack([one(features) for one, features in zip(nets, own, strict=True)], 1)
    torch.testing.assert_close(net(seen), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("centralized", "share"), KINDS)
def test_agents_without_shared_parameters_differ(centralized, share):
    alike = torch.randn(1, 1, 4).expand(5, 3, 4)
    out = perceptron(centralized, share)(alike)
    assert torch.equal(out[:, 0], out[:, 1]) == share


@pytest.mark.parametrize(("centralized", "share"), KINDS)
def test_several_inputs_are_joined(centralized, share):
    net, seen = perceptron(centralized, share), torch.randn(5, 3, 4)
    assert torch.equal(net(seen[..., :1], seen[..., 1:]), net(seen))


@pytest.mark.parametrize(("centralized", "share"), KINDS)
def test_the_inlined_form_says_the_same(centralized, share):
    net, seen = perceptron(centralized, share), torch.randn(5, 3, 4)
    run = on_tensors(net)
    assert run is not net
    with torch.no_grad():
        assert torch.equal(run(seen), net(seen))
        assert torch.equal(run(seen[..., :1], seen[..., 1:]), net(seen))


@pytest.mark.parametrize(("centralized", "share"), KINDS)
def test_the_first_call_may_tell_the_width(centralized, share):
    net = MultiAgentMLP(None, 2, 3, centralized=centralized, share_params=share)
    assert net(torch.randn(5, 3, 4)).shape == (5, 3, 2)
    assert net.agent_networks[0][0].in_features == (12 if centralized else 4)


@pytest.mark.parametrize("share", [True, False])
def test_an_input_for_each_agent_of_a_centralized_network(share):
    net, seen = perceptron(True, share), torch.randn(5, 3, 4)
    views = seen.flatten(1).unsqueeze(1).repeat(1, 3, 1)
    torch.testing.assert_close(net.each(views), net(seen))
    views[:, 1] += 1.0
    moved = (net.each(views) - net(seen)).abs().flatten(2).amax(-1).amax(0) > 1e-4
    assert moved.tolist() == [False, True, False]


@pytest.mark.parametrize(("centralized", "share"), KINDS)
def test_images(centralized, share):
    net = MultiAgentConvNet(3, centralized, share, in_features=2, **IMAGE)
    assert net.agent_networks[0][0].in_channels == (6 if centralized else 2)
    seen = torch.randn(5, 3, 2, 16, 16)
    out = net(seen)
    assert out.shape == (5, 3, 36)
    assert net(seen[0]).shape == (3, 36)
    changed = seen.clone()
    changed[:, 1] += 1.0
    moved = ((net(changed) - out).abs() > 1e-4).flatten(2).any(-1).any(0)
    assert moved.tolist() == ([True, True, True] if centralized else [False, True, False])
    lazy = MultiAgentConvNet(3, centralized, share, **IMAGE)
    assert lazy(seen).shape == out.shape


def test_any_network():
    net = MultiAgentNetwork(lambda: nn.Linear(4, 2), 3, share_params=False)
    assert net(torch.randn(3, 4)).shape == (3, 2)


def test_another_number_of_agents():
    with pytest.raises(ValueError, match=r"MLP: expected shape \[\*batch, 3, features\] .* found \[5, 2, 4\]"):
        perceptron(False, True)(torch.randn(5, 2, 4))
    with pytest.raises(ValueError, match=r"expected shape .* found \[4\]"):
        perceptron(False, True)(torch.randn(4))
    with pytest.raises(ValueError, match="MultiAgentConvNet: expected shape"):
        MultiAgentConvNet(3, False, True, **IMAGE)(torch.randn(5, 2, 2, 16, 16))
    with pytest.raises(ValueError, match="n_agents: expected at least 1, found 0"):
        perceptron(False, True, agents=0)
