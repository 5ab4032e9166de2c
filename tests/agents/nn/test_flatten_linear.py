import pytest
import torch
from torch import nn

from agents import FlattenLinear


@pytest.mark.parametrize("batch", [(), (5,), (2, 5)])
def test_is_a_linear_layer_on_flat_inputs(batch):
    layer = FlattenLinear([2, 3], [4, 5], bias=False)
    value = torch.randn(*batch, 2, 3)
    expected = nn.functional.linear(value.reshape(*batch, 6), layer.weight).reshape(*batch, 4, 5)
    assert torch.equal(layer(value), expected)
    with pytest.raises(ValueError, match=r"expected shape \[\*batch, 2, 3\], found \[3, 2\]"):
        layer(torch.zeros(3, 2))


@pytest.mark.parametrize("features", [0, [], [2, 0]])
def test_refuses_shapes_without_features(features):
    with pytest.raises(ValueError, match="out_features: expected a positive width"):
        FlattenLinear(3, features)
