import pytest
import torch
from torch import nn

from agents.nn import TensorDictModule
from agents.objectives import frozen_copy, hold_out_net


@pytest.mark.parametrize("make", [lambda: nn.Linear(3, 3), lambda: nn.LSTM(3, 3), lambda: nn.BatchNorm1d(3)])
def test_copy_does_the_same_and_learns_nothing(make):
    net = make()
    twin = frozen_copy(net)
    data = torch.randn(5, 3)
    torch.testing.assert_close(twin(data), net(data))
    assert list(twin.parameters()) == []
    assert {name: value.shape for name, value in twin.state_dict().items()} == {
        name: value.shape for name, value in net.state_dict().items()
    }
    next(net.parameters()).data.add_(1.0)
    assert not torch.equal(next(iter(twin.state_dict().values())), next(iter(net.state_dict().values())))


def test_copy_of_an_lstm_follows_its_buffers():
    net = nn.LSTM(3, 3)
    twin, data = frozen_copy(net), torch.randn(5, 3)
    with torch.no_grad():
        for name, buffer in twin.named_buffers():
            buffer.copy_(net.get_parameter(name).mul_(2.0))
    torch.testing.assert_close(twin(data)[0], net(data)[0])


def test_copy_of_lazy_parameters():
    with pytest.raises(ValueError, match="critic: expected parameters of known shape, found lazy ones"):
        frozen_copy(nn.LazyLinear(3), "critic")


def test_held_out():
    net, other, data = nn.Linear(3, 1), nn.Linear(3, 3), torch.randn(5, 3)
    net.bias.requires_grad_(False)
    with hold_out_net(net):
        net(other(data)).sum().backward()
    assert net.weight.grad is None
    assert other.weight.grad is not None
    assert net.weight.requires_grad
    assert not net.bias.requires_grad


def test_held_out_until_an_error():
    net = TensorDictModule(nn.Linear(3, 1), ["x"], ["y"])
    with pytest.raises(RuntimeError), hold_out_net(net):
        raise RuntimeError
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_shared_parameters_are_held_out():
    body = nn.Linear(3, 3)
    first, second = nn.Sequential(body, nn.Linear(3, 1)), nn.Sequential(body, nn.Linear(3, 1))
    with hold_out_net(first):
        second(torch.randn(5, 3)).sum().backward()
    assert body.weight.grad is None
    assert second[1].weight.grad is not None
    assert body.weight.requires_grad
