import copy

import pytest
import torch

from agents.nn import MLP, NoisyLazyLinear, NoisyLinear, reset_noise


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_weights_are_mean_plus_factorised_noise():
    layer, inputs = NoisyLinear(4, 3, std_init=0.5), torch.randn(5, 4)
    noise, own = layer.weight_epsilon, layer.bias_epsilon
    assert torch.linalg.matrix_rank(noise) == 1
    incoming = noise[0] / own[0]
    torch.testing.assert_close(noise, torch.outer(own, incoming))
    weight = layer.weight_mu + layer.weight_sigma * noise
    torch.testing.assert_close(layer(inputs), inputs @ weight.t() + layer.bias_mu + layer.bias_sigma * own)
    assert layer.weight_sigma.unique().tolist() == [0.25]


def test_noise_has_the_deviation_of_the_paper():
    # Var f(x) with f(x) = sign(x) sqrt|x| is E|x| = sqrt(2 / pi).
    layer = NoisyLinear(1, 40_000)
    torch.testing.assert_close(layer.bias_epsilon.var(), torch.tensor(2 / torch.pi).sqrt(), atol=0.02, rtol=0.0)


def test_noise_is_for_training_only_and_part_of_the_state():
    layer, inputs = NoisyLinear(4, 3), torch.randn(5, 4)
    other = copy.deepcopy(layer)
    layer.reset_noise()
    assert not torch.equal(layer(inputs), other(inputs))
    assert torch.equal(layer.eval()(inputs), other.eval()(inputs))
    other.load_state_dict(layer.state_dict())
    assert torch.equal(layer.train()(inputs), other.train()(inputs))


def test_means_and_deviations_learn():
    layer = NoisyLinear(4, 3)
    layer(torch.ones(4)).sum().backward()
    assert torch.equal(layer.weight_sigma.grad, layer.weight_epsilon)
    assert torch.equal(layer.weight_mu.grad, torch.ones(3, 4))
    assert torch.equal(layer.bias_sigma.grad, layer.bias_epsilon)


@pytest.mark.parametrize("bias", [True, False])
def test_lazy_layers_take_the_first_input(bias):
    layer = NoisyLazyLinear(3, bias=bias)
    layer.reset_noise()
    assert layer(torch.ones(5, 4)).shape == (5, 3)
    assert type(layer) is NoisyLinear
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()}.get("bias_mu") == ((3,) if bias else None)
    assert layer.weight_epsilon.shape == (3, 4)
    assert layer.weight_epsilon.any()
    assert layer.in_features == 4
    assert (layer.bias is None) is not bias


def test_all_layers_of_a_net_are_reset():
    net = MLP(3, 2, num_cells=[4], layer_class=NoisyLinear)
    before = [layer.weight_epsilon.clone() for layer in net if isinstance(layer, NoisyLinear)]
    reset_noise(net)
    after = [layer.weight_epsilon for layer in net if isinstance(layer, NoisyLinear)]
    assert len(after) == 2
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_perceptron_that_takes_its_width_from_the_first_input():
    net = MLP(out_features=2, num_cells=[4], layer_class=NoisyLinear)
    assert net(torch.ones(5, 3)).shape == (5, 2)
    assert [type(layer) for layer in net][::2] == [NoisyLinear] * 2
    assert net[0].in_features == 3
