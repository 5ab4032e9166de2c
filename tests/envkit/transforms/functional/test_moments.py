from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envkit.transforms.functional import update_moments

few = settings(deadline=None, max_examples=40, derandomize=True)


@few
@given(data=st.data(), decay=st.sampled_from([1.0, 0.9, 0.5]))
def test_weighted_mean_and_spread_of_all_values(data, decay):
    shape = data.draw(st.sampled_from([(), (2,), (2, 3)]))
    batch = data.draw(st.sampled_from([(), (3,), (2, 2)]))
    draw = np.random.default_rng(data.draw(st.integers(0, 99)))
    steps = [draw.normal(5, 2, (*batch, *shape)) for _ in range(data.draw(st.integers(1, 5)))]
    masks = [draw.random((*batch, *shape)) < 0.6 if data.draw(st.booleans()) else None for _ in steps]
    state = [np.zeros(shape) for _ in range(3)]
    for value, mask in zip(steps, masks, strict=True):
        update_moments(*state, value, batch_dims=len(batch), decay=decay, mask=mask)
    ages = range(len(steps) - 1, -1, -1)
    weights = np.stack(
        [
            decay**age * (1.0 if mask is None else mask) * np.ones((*batch, *shape))
            for age, mask in zip(ages, masks, strict=True)
        ]
    )
    weights, values = (array.reshape(-1, *shape) for array in (weights, np.stack(steps)))
    total = weights.sum(0)
    np.testing.assert_allclose(state[0], total, rtol=1e-12)
    seen = total > 0
    mean = (weights * values).sum(0) / np.where(seen, total, 1)
    np.testing.assert_allclose(np.where(seen, state[1], 0), mean, rtol=1e-10)
    spread = (weights * (values - mean) ** 2).sum(0)
    np.testing.assert_allclose(np.where(seen, state[2], 0), spread, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("masked", [False, True])
def test_tensors_as_arrays(masked):
    draw = np.random.default_rng(0)
    arrays, tensors = [np.zeros(3) for _ in range(3)], list(torch.zeros(3, 3, dtype=torch.float64))
    for _ in range(4):
        value = draw.normal(size=(5, 3))
        mask = value > -0.5 if masked else None
        update_moments(*arrays, value, batch_dims=1, decay=0.9, mask=mask)
        update_moments(
            *tensors,
            torch.from_numpy(value),
            batch_dims=1,
            decay=0.9,
            mask=None if mask is None else torch.from_numpy(mask),
        )
    for array, tensor in zip(arrays, tensors, strict=True):
        np.testing.assert_allclose(array, tensor.numpy(), rtol=1e-12)
