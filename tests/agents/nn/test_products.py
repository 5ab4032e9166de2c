from itertools import pairwise

import pytest
import torch

from agents.nn import products
from agents.nn.perceptrons import perceptrons
from agents.nn.products import multiply, multiply_into, onednn_pays

SIZES = [(256, 256, 256), (256, 23, 256), (256, 256, 1), (256, 256, 6), (8, 64, 64), (128, 128, 64), (1, 3, 2)]


DECIDES = products._onednn_is_quicker.__wrapped__


@pytest.fixture(params=[False, True], ids=["mkl", "onednn"], autouse=True)
def _library(request, monkeypatch):
    if request.param and not torch.backends.mkldnn.is_available():
        pytest.skip("this build of PyTorch has no oneDNN")
    monkeypatch.setattr(products, "_onednn_is_quicker", lambda: request.param)
    torch.manual_seed(0)


def leaves(*shapes):
    return [torch.randn(shape, requires_grad=True) for shape in shapes]


def gradients(output, inputs):
    weights = torch.linspace(-1.0, 1.0, output.numel()).reshape(output.shape)
    return torch.autograd.grad((output * weights).sum(), inputs)


@pytest.mark.parametrize(("rows", "inner", "columns"), SIZES)
def test_multiply_with_relu(rows, inner, columns):
    left, right, bias = torch.randn(rows, inner), torch.randn(inner, columns), torch.randn(columns)
    expected = left.double() @ right.double() + bias.double()
    torch.testing.assert_close(multiply(left, right, bias), expected.float(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(multiply(left, right, bias, relu=True), expected.relu().float(), rtol=1e-4, atol=1e-4)
    place = torch.empty(rows, columns)
    multiply_into(place, left, right)
    assert torch.equal(place, multiply(left, right))


def test_only_large_float32_products_ask_for_onednn():
    square = torch.ones(256, 256)
    assert onednn_pays(square, square) == products._onednn_is_quicker()
    assert not onednn_pays(square.double(), square.double())
    assert not onednn_pays(torch.ones(8, 64), torch.ones(64, 64))


@pytest.mark.parametrize(
    ("vendor", "family", "expected"),
    [("AuthenticAMD", 26, True), ("AuthenticAMD", 25, False), ("GenuineIntel", 26, False), (None, None, False)],
    ids=["zen5", "zen4", "intel", "untold"],
)
def test_the_processor_tells_which_library_is_quicker(vendor, family, expected, monkeypatch, tmp_path):
    told = tmp_path / "cpuinfo"
    if vendor is not None:
        told.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: 2\n")
    monkeypatch.setattr(products, "Path", lambda _: told)
    assert DECIDES() == (expected and torch.backends.mkldnn.is_available())


def plain(inputs, weights, biases):
    outputs = []
    for member in range(len(weights[0])):
        features = inputs
        for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            features = features @ weight[member] + bias[member]
            if layer < len(weights) - 1:
                features = features.relu()
        outputs.append(features)
    return torch.stack(outputs)


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("widths", [(5, 2), (5, 8, 2), (23, 256, 256, 1), (17, 256, 256, 12)])
def test_perceptrons_are_their_layers_with_all_gradients(members, widths):
    inputs = torch.randn(128, widths[0], requires_grad=True)
    weights = leaves(*((members, a, b) for a, b in pairwise(widths)))
    biases = leaves(*((members, b) for b in widths[1:]))
    # In place, so that the largest gradients are about 1.
    with torch.no_grad():
        for weight in weights:
            weight.mul_(weight.shape[1] ** -0.5)
    ours, theirs = perceptrons(inputs, weights, biases), plain(inputs, weights, biases)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        assert torch.equal(perceptrons(inputs, weights, biases), ours)
    given = [inputs, *weights, *biases]
    for mine, own in zip(gradients(ours, given), gradients(theirs, given), strict=True):
        torch.testing.assert_close(mine, own, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("needed", [(0,), (1,), (2,), (3,), (4,), (0, 4), (1, 5), (2, 6)])
def test_perceptrons_give_gradients_only_where_they_are_needed(needed):
    widths = (4, 8, 8, 2)
    given = [torch.randn(16, 4), *(torch.randn(2, a, b) for a, b in pairwise(widths))]
    given += [torch.randn(2, b) for b in widths[1:]]
    for index in needed:
        given[index].requires_grad_()
    asked = [given[index] for index in needed]
    ours = gradients(perceptrons(given[0], given[1:4], given[4:]), asked)
    theirs = gradients(plain(given[0], given[1:4], given[4:]), asked)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_perceptrons_take_weights_in_any_layout():
    layers = [torch.nn.Linear(6, 128), torch.nn.Linear(128, 3)]
    inputs = torch.randn(64, 6)
    weights, biases = [f.weight.t().unsqueeze(0) for f in layers], [f.bias.unsqueeze(0) for f in layers]
    parameters = [*layers[0].parameters(), *layers[1].parameters()]
    ours, theirs = perceptrons(inputs, weights, biases)[0], layers[1](layers[0](inputs).relu())
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradients(ours, parameters), gradients(theirs, parameters), rtol=1e-4, atol=1e-4)
