import pytest
import torch
from torch import nn

from agents.nn.batch_renorm import BatchRenorm1d
from agents.nn.target import TargetNetwork


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))


def test_starts_as_a_copy_without_gradients():
    source = net()
    target = TargetNetwork(source)
    x = torch.randn(4, 2)
    assert torch.equal(target.module(x), source(x))
    assert not any(parameter.requires_grad for parameter in target.module.parameters())
    assert all(parameter.requires_grad for parameter in source.parameters())


@pytest.mark.parametrize("tau", [0.0, 0.3, 1.0])
def test_moves_by_the_share(tau):
    source = net()
    target = TargetNetwork(source)
    before = [parameter.clone() for parameter in target.module.parameters()]
    for parameter in source.parameters():
        nn.init.normal_(parameter)
    target.follow(tau)
    for old, new, goal in zip(before, target.module.parameters(), source.parameters(), strict=True):
        torch.testing.assert_close(new, old + tau * (goal - old))
    if tau == 1.0:
        assert all(torch.equal(*pair) for pair in zip(target.module.parameters(), source.parameters(), strict=True))


def test_buffers_are_copied():
    source = nn.Sequential(nn.Linear(2, 2), BatchRenorm1d(2))
    target = TargetNetwork(source)
    source(torch.randn(16, 2))
    target.follow(0.01)
    for own, other in zip(target.module.buffers(), source.buffers(), strict=True):
        assert torch.equal(own, other)


def test_state_goes_on():
    one, other = TargetNetwork(net()), TargetNetwork(net())
    nn.init.constant_(one.source[0].weight, 2.0)
    one.follow(0.5)
    other.load_state_dict(one.state_dict())
    nn.init.constant_(other.source[0].weight, 2.0)
    for target in (one, other):
        target.follow(0.5)  # the flat copy of the weights is the loaded one
    for own, loaded in zip(one.module.parameters(), other.module.parameters(), strict=True):
        assert torch.equal(own, loaded)
