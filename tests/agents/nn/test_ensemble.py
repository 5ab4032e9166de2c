import copy

import pytest
import torch
from tensordict import TensorDict
from torch import nn

from agents.nn import MLP, Ensemble
from agents.nn import ensemble as ensemble_file


def make(activation_class=nn.ReLU, num_cells=(8, 16), members=3):
    torch.manual_seed(0)
    return Ensemble(members, 5, 2, num_cells, activation_class)


def make_separate(activation_class=nn.ReLU, num_cells=(8, 16), members=3):
    torch.manual_seed(0)
    return [MLP(5, 2, num_cells=list(num_cells), activation_class=activation_class) for _ in range(members)]


@pytest.fixture(params=[1 << 60, 0], ids=["batched", "fused"])
def _size(request, monkeypatch):
    monkeypatch.setattr(ensemble_file, "FUSED_FROM", request.param)


@pytest.mark.usefixtures("_size")
@pytest.mark.parametrize("activation_class", [nn.ReLU, nn.Tanh, nn.SiLU])
@pytest.mark.parametrize("num_cells", [(8, 16), (8,), ()])
@pytest.mark.parametrize("members", [1, 3])
def test_is_its_members_in_values_and_gradients(activation_class, num_cells, members):
    ensemble = make(activation_class, num_cells, members)
    separate = make_separate(activation_class, num_cells, members)
    inputs = torch.randn(32, 5, requires_grad=True)
    ours, theirs = ensemble(inputs), torch.stack([net(inputs) for net in separate])
    torch.testing.assert_close(ours, theirs)
    (to_inputs,) = torch.autograd.grad(ours.square().mean(), [inputs], retain_graph=True)
    ours.square().mean().backward()
    inputs.grad = None
    theirs.square().mean().backward()
    torch.testing.assert_close(to_inputs, inputs.grad)
    for layer in range(len(num_cells) + 1):
        weights = torch.stack([net[2 * layer].weight.grad.t() for net in separate])
        biases = torch.stack([net[2 * layer].bias.grad for net in separate])
        torch.testing.assert_close(getattr(ensemble, f"weight_{layer}").grad, weights)
        torch.testing.assert_close(getattr(ensemble, f"bias_{layer}").grad, biases)


@pytest.mark.usefixtures("_size")
def test_joins_inputs_and_keeps_batch_dimensions():
    ensemble, first, second = make(), torch.randn(4, 6, 3), torch.randn(4, 6, 2)
    outputs = ensemble(first, second)
    assert outputs.shape == (3, 4, 6, 2)
    single = ensemble(torch.cat([first[1, 2], second[1, 2]]))
    assert single.shape == (3, 2)
    torch.testing.assert_close(outputs[:, 1, 2], single)


@pytest.mark.usefixtures("_size")
def test_takes_other_parameters_for_a_call():
    ensemble, other, inputs = make(), Ensemble(3, 5, 2, (8, 16)), torch.randn(8, 5)
    with TensorDict.from_module(other).to_module(ensemble):
        outputs = ensemble(inputs)
    assert torch.equal(outputs, other(inputs))
    assert not torch.equal(outputs, ensemble(inputs))


@pytest.mark.usefixtures("_size")
def test_frozen_calls_give_gradients_to_inputs_alone():
    ensemble, inputs = make(), torch.randn(8, 5, requires_grad=True)
    assert torch.equal(ensemble.frozen(inputs), ensemble(inputs))
    ensemble.frozen(inputs).sum().backward()
    (expected,) = torch.autograd.grad(ensemble(inputs).sum(), [inputs])
    assert torch.equal(inputs.grad, expected)
    assert all(parameter.grad is None for parameter in ensemble.parameters())


def test_without_gradients_values_are_the_same():
    ensemble, inputs = make(), torch.randn(8, 5)
    with torch.no_grad():
        still = ensemble(inputs)
    assert not still.requires_grad
    torch.testing.assert_close(still, ensemble(inputs).detach())


@pytest.mark.usefixtures("_size")
def test_one_member_alone():
    ensemble, first, second = make(), torch.randn(4, 6, 3), torch.randn(4, 6, 2)
    for index in range(3):
        torch.testing.assert_close(ensemble.one(index, first, second), ensemble(first, second)[index])
    ensemble.one(1, first, second).square().sum().backward()
    expected = torch.autograd.grad(ensemble(first, second)[1].square().sum(), list(ensemble.parameters()))
    torch.testing.assert_close([parameter.grad for parameter in ensemble.parameters()], list(expected))


@pytest.mark.usefixtures("_size")
@pytest.mark.parametrize("reduce", [lambda q: q.amin(0), lambda q: q[1], lambda q: q.mean(0), lambda q: 0.0 * q[0]])
def test_frozen_calls_teach_through_any_choice_of_members(reduce):
    ensemble, inputs = make(), torch.randn(64, 5, requires_grad=True)
    separate = [ensemble.member(index) for index in range(3)]
    (ours,) = torch.autograd.grad(reduce(ensemble.frozen(inputs)).square().sum(), [inputs])
    theirs = reduce(torch.stack([net(inputs) for net in separate])).square().sum()
    torch.testing.assert_close(ours, torch.autograd.grad(theirs, [inputs])[0])


def test_members_are_copies():
    ensemble, inputs = make(), torch.randn(8, 5)
    before = copy.deepcopy(ensemble.state_dict())
    member = ensemble.member(1)
    torch.testing.assert_close(member(inputs), ensemble(inputs)[1])
    nn.init.zeros_(member[0].weight)
    assert all(torch.equal(before[name], value) for name, value in ensemble.state_dict().items())


def test_passes_through_vmap(monkeypatch):
    monkeypatch.setattr(ensemble_file, "FUSED_FROM", 0)
    ensemble, inputs = make(), torch.randn(4, 8, 5)
    torch.testing.assert_close(torch.vmap(ensemble)(inputs), ensemble(inputs).transpose(0, 1))


def test_needs_members():
    with pytest.raises(ValueError, match="num_members: expected at least 1, found 0"):
        Ensemble(0, 5, 2)
