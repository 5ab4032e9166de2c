import pytest
import torch
from torch import nn

from agents.nn.flat import flat_parameter


def test_parameters_and_gradients_are_views():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    values = [parameter.detach().clone() for parameter in net.parameters()]
    flat = flat_parameter(net.parameters())
    assert flat.shape == (13,)
    assert torch.equal(flat.detach(), torch.cat([value.flatten() for value in values]))
    net(torch.ones(2)).backward()
    assert torch.equal(flat.grad, torch.cat([parameter.grad.flatten() for parameter in net.parameters()]))
    with torch.no_grad():
        flat.zero_()
    assert not any(parameter.any() for parameter in net.parameters())


def test_a_step_of_the_flat_one_is_a_step_of_each():
    torch.manual_seed(0)
    one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    other.load_state_dict(one.state_dict())
    flat = flat_parameter(one.parameters())
    steps = torch.optim.SGD([flat], lr=0.1), torch.optim.SGD(other.parameters(), lr=0.1)
    for net, optimizer in zip((one, other), steps, strict=True):
        net(torch.ones(2)).square().sum().backward()
        optimizer.step()
    assert torch.equal(one.weight, other.weight)
    assert torch.equal(one.bias, other.bias)


def test_shared_parameters_count_once():
    shared = nn.Linear(2, 2)
    assert flat_parameter([*shared.parameters(), *shared.parameters()]).numel() == 6


@pytest.mark.parametrize(
    "parameters", [[], [nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1, dtype=torch.float64))]]
)
def test_of_one_kind(parameters):
    with pytest.raises(ValueError, match="expected parameters of one dtype and device"):
        flat_parameter(parameters)
