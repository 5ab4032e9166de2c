import pytest
import torch
from torch import nn

from agents import ActionLinear
from envkit import Bounded, Categorical, Composite, MultiCategorical, OneHot, Unbounded

DISCRETE, CONTINUOUS = {"shape": 3, "dtype": "int"}, {"shape": (2,), "dtype": "float"}


def test_puts_out_mean_and_standard_deviation():
    layer = ActionLinear(4, CONTINUOUS, log_std=-1.0)
    value = torch.randn(5, 4)
    loc, scale = layer(value)
    inner = layer.net.net
    assert torch.equal(loc, nn.functional.linear(value, inner.weight, inner.bias))
    assert torch.equal(scale, torch.tensor(-1.0).exp().expand(5, 2))
    scale.sum().backward()
    assert layer.net.log_std.grad is not None


@pytest.mark.parametrize(
    ("info", "discrete", "size"),
    [
        ({"shape": (3,), "dtype": int}, True, 3),
        ({"shape": 3, "dtype": torch.int64}, True, 3),
        ({"shape": (3,), "dtype": "discrete"}, True, 3),
        ({"shape": (3,), "dtype": float}, False, 3),
        ({"shape": (2, 2), "dtype": torch.float32}, False, 4),
        (Categorical(3), True, 3),
        (OneHot(3), True, 3),
        (MultiCategorical([2, 3]), True, 5),
        (Unbounded((3,)), False, 3),
        (Bounded(-1.0, 1.0, shape=(2, 2)), False, 4),
    ],
)
def test_reads_infos_and_specs(info, discrete, size):
    layer = ActionLinear(4, info, output="action")
    assert (layer.discrete, layer.action_size) == (discrete, size)
    assert layer(torch.zeros(5, 4)).shape == (5, size)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (({"shape": (3,)},), "expected shape and dtype, found no dtype"),
        (({"shape": (3,), "dtype": "complex"},), "dtype: expected one of .* found 'complex'"),
        (({"shape": 0, "dtype": "int"},), "at least one action"),
        ((CONTINUOUS, "std"), "output: expected one of .* found 'std'"),
        ((DISCRETE, "mean_and_log_std"), "with discrete actions"),
    ],
)
def test_refuses_what_it_cannot_read(arguments, words):
    with pytest.raises(ValueError, match=words):
        ActionLinear(4, *arguments)
    with pytest.raises(TypeError, match="discrete actions"):
        ActionLinear(4, Composite(a=Unbounded((2,))))
