from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envkit.transforms.functional import clip, expand_to, sign, weighted_sum

few = settings(deadline=None, max_examples=30, derandomize=True)
numbers = st.floats(-9, 9, width=32)


@few
@given(st.lists(numbers, min_size=1, max_size=4), numbers | st.none(), st.lists(numbers, min_size=4, max_size=4))
def test_arrays_as_tensors(values, low, weights):
    tensor, array = torch.tensor(values), np.array(values, np.float32)
    high = None if low is not None else 1.5
    assert np.array_equal(clip(tensor, low, high).numpy(), clip(array, low, high))
    assert np.array_equal(sign(tensor).numpy(), sign(array))
    weights = weights[: len(values)]
    assert np.array_equal(weighted_sum(tensor, weights).numpy(), weighted_sum(array, weights))


def test_weighted_sum():
    assert weighted_sum(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), [1.0, -1.0]).tolist() == [[-1.0], [-1.0]]


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_expand_to(shape):
    value = torch.arange(2.0).reshape(shape)
    expected = torch.tensor([[[0.0], [0.0], [0.0]], [[1.0], [1.0], [1.0]]])
    assert torch.equal(expand_to(value, (2, 3, 1)), expected)


def test_shapes_that_do_not_fit():
    with pytest.raises(RuntimeError):
        expand_to(torch.zeros(2), (3, 3))
