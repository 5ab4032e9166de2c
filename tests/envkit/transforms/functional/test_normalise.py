from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envkit.transforms.functional import affine, standardize

numbers = st.floats(-100, 100, width=32)


@settings(deadline=None, max_examples=50, derandomize=True)
@given(
    values=st.lists(numbers, min_size=1, max_size=40),
    loc=numbers,
    scale=st.floats(0.125, 8, width=32),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_tensors_and_arrays_have_the_same_bits(values, loc, scale, dtype):
    given = [torch.tensor(number, dtype=dtype) for number in (values, loc, scale)]
    for function in (affine, standardize):
        found = function(*(tensor.numpy() for tensor in given))
        assert np.array_equal(found, function(*given).numpy())
        assert found.dtype == given[0].numpy().dtype


@pytest.mark.parametrize("value", [0.0, 3.0, -5.0])
def test_each_undoes_the_other(value):
    value, loc, scale = torch.tensor([value]), torch.tensor([1.0]), torch.tensor([4.0])
    assert standardize(affine(value, loc, scale), loc, scale) == value
    assert standardize(value, loc, scale) == (value - 1) / 4
    assert affine(value, loc, scale) == value * 4 + 1
