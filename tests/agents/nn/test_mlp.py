import pytest
import torch
from tensordict import TensorDict
from torch import nn

from agents.nn import MLP
from envkit.core.inlined_layers import on_tensors


def widths(net):
    return [(layer.in_features, layer.out_features) for layer in net if isinstance(layer, nn.Linear)]


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ({}, [(3, 32), (32, 32), (32, 32), (32, 2)]),
        ({"depth": 0}, [(3, 2)]),
        ({"depth": 1, "num_cells": 8}, [(3, 8), (8, 2)]),
        ({"num_cells": [8, 16]}, [(3, 8), (8, 16), (16, 2)]),
        ({"depth": 2, "num_cells": (8, 16)}, [(3, 8), (8, 16), (16, 2)]),
        ({"num_cells": []}, [(3, 2)]),
    ],
)
def test_widths(kwargs, expected):
    assert widths(MLP(3, 2, **kwargs)) == expected


def test_depth_and_widths_must_agree():
    with pytest.raises(ValueError, match=r"expected 3 widths, found 2 in \[8, 16\]"):
        MLP(3, 2, depth=3, num_cells=[8, 16])


def test_out_features_is_required():
    with pytest.raises(ValueError, match="out_features"):
        MLP(3)


def test_lazy_input_prints_as_such_and_is_inferred():
    net = MLP(num_cells=[32, 64], out_features=4, activation_class=nn.ELU)
    assert str(net).splitlines()[1] == "  (0): LazyLinear(in_features=0, out_features=32, bias=True)"
    assert net(torch.randn(10, 3)).shape == (10, 4)
    assert widths(net) == [(3, 32), (32, 64), (64, 4)]


def test_other_layers_have_no_lazy_form():
    with pytest.raises(ValueError, match="layer_class=Other"):
        MLP(out_features=2, layer_class=type("Other", (nn.Linear,), {}))


def test_inputs_are_concatenated():
    net = MLP(5, 1)
    first, second = torch.randn(10, 3), torch.randn(10, 2)
    torch.testing.assert_close(net(first, second), net(torch.cat([first, second], -1)))


def test_order_within_a_hidden_layer():
    net = MLP(3, 2, num_cells=[4], dropout=0.1, norm_class=nn.LayerNorm, activation_class=nn.ReLU)
    assert [type(layer) for layer in net] == [nn.Linear, nn.Dropout, nn.LayerNorm, nn.ReLU, nn.Linear]
    assert net[2].normalized_shape == (4,)


def test_norm_arguments_that_name_the_size_stand():
    options = {"normalized_shape": 4, "eps": 1e-3}
    net = MLP(3, 2, num_cells=[4], norm_class=nn.LayerNorm, norm_kwargs=options)
    assert net[1].eps == 1e-3


def test_norm_without_a_size_argument():
    net = MLP(3, 2, num_cells=[4], norm_class=nn.LazyBatchNorm1d)
    assert net(torch.randn(5, 3)).shape == (5, 2)


def test_last_layer_can_be_activated():
    assert isinstance(MLP(3, 2, activate_last_layer=True)[-1], nn.Tanh)


def test_keyword_arguments_reach_the_layers():
    net = MLP(
        3,
        2,
        depth=1,
        layer_kwargs={"bias": False},
        activation_class=nn.ELU,
        activation_kwargs={"alpha": 2.0},
        dtype=torch.float64,
    )
    assert net[0].bias is None
    assert net[0].weight.dtype is torch.float64
    assert net[1].alpha == 2.0


@pytest.mark.parametrize("bias", [True, False])
def test_output_and_gradients_are_those_of_sequential(bias):
    net = MLP(3, 2, layer_kwargs={"bias": bias})
    reference = nn.Sequential(*net)
    inputs = torch.randn(7, 3)
    torch.testing.assert_close(net(inputs), reference(inputs))
    gradients = torch.autograd.grad(net(inputs).sum(), list(net.parameters()))
    expected = torch.autograd.grad(reference(inputs).sum(), list(net.parameters()))
    for gradient, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, other)


@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_forward_hooks_of_layers_run(register):
    net = MLP(3, 2)
    calls = []
    getattr(net[2], register)(lambda *arguments: calls.append(len(arguments)))
    net(torch.randn(1, 3))
    assert len(calls) == 1


def test_backward_hooks_of_layers_run():
    net = MLP(3, 2)
    calls = []
    net[2].register_full_backward_hook(lambda *arguments: calls.append(len(arguments)))
    net(torch.randn(1, 3)).sum().backward()
    assert calls == [3]


def test_global_hooks_run():
    net = MLP(3, 2, depth=0)
    calls = []
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: calls.append(type(module)))
    try:
        net(torch.randn(1, 3))
    finally:
        handle.remove()
    assert calls == [nn.Linear, MLP]


def test_parameters_can_be_swapped_and_mapped_over():
    net = MLP(3, 2)
    ensemble = TensorDict.from_modules(*[MLP(3, 2) for _ in range(4)], as_module=False)
    inputs = torch.randn(5, 3)

    def call(params):
        with params.to_module(net):
            return net(inputs)

    outputs = torch.vmap(call)(ensemble)
    with ensemble[1].to_module(net):
        expected = net(inputs)
    assert outputs.shape == (4, 5, 2)
    torch.testing.assert_close(outputs[1], expected)


def test_layers_by_number_and_by_slice():
    net = MLP(4, 2, num_cells=[8, 8])
    assert net[0].in_features == 4
    body, head = net[:-1], net[-1]
    assert type(body) is torch.nn.Sequential
    x = torch.randn(5, 4)
    assert torch.equal(head(body(x)), net(x))
    assert [tuple(layer.weight.shape) for layer in net[::2]] == [(8, 4), (8, 8), (2, 8)]
    assert net[:2].state_dict().keys() == {"0.weight", "0.bias"}


@pytest.mark.parametrize(
    "make",
    [
        lambda: MLP(3, 2, num_cells=[8, 8], activation_class=nn.ReLU),
        lambda: MLP(3, 2, num_cells=[8, 8], activation_class=nn.ELU, activate_last_layer=True),
        lambda: MLP(3, 2, num_cells=[8], norm_class=nn.LayerNorm),
        lambda: MLP(3, 2, num_cells=[8], layer_kwargs={"bias": False}),
        lambda: MLP(3, 2, num_cells=[8], layer_class=type("Other", (nn.Linear,), {})),
        lambda: MLP(3, 2, depth=0),
    ],
)
@pytest.mark.parametrize("batch", [(), (1,), (7,), (2, 5)])
def test_as_a_function_without_gradients(make, batch):
    net, inputs = make(), torch.randn(*batch, 3)
    with torch.no_grad():
        assert torch.equal(on_tensors(net)(inputs), net(inputs))
        assert torch.equal(on_tensors(net)(inputs[..., :1], inputs[..., 1:]), net(inputs))


def test_as_a_function_of_a_subclass_with_another_call():
    class Halved(MLP):
        def forward(self, *inputs):
            return super().forward(*inputs) / 2

    net, inputs = Halved(3, 2), torch.randn(5, 3)
    assert torch.equal(on_tensors(net)(inputs), net(inputs))


def test_as_a_function_that_hooks_see():
    net, inputs, seen = MLP(3, 2, num_cells=[4], activation_class=nn.Tanh), torch.randn(5, 3), []
    net[0].register_forward_hook(lambda layer, args, out: seen.append(out))
    net[1].register_forward_hook(lambda layer, args, out: 2 * out)
    with torch.no_grad():
        assert torch.equal(on_tensors(net)(inputs), net(inputs))
        assert torch.equal(seen[0], nn.functional.linear(inputs, net[0].weight, net[0].bias))
