from __future__ import annotations

import math

import pytest
import torch

from envkit.specs.sampling import between, random_bits, uniform_integers

CPU = torch.device("cpu")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_random_bits_are_fair():
    bits = random_bits(torch.Size([4000]), CPU, generator())
    shares = torch.stack([(bits >> i & 1).float().mean() for i in range(64)])
    assert (shares - 0.5).abs().max() < 0.05


@pytest.mark.parametrize(
    ("low", "high"),
    [(0, 0), (0, 5), (-3, 2), (-(2**63), 2**63 - 1), (-(2**63), -(2**63) + 2), (2**63 - 3, 2**63 - 1)],
)
def test_uniform_integers_stay_within_bounds(low, high):
    draws = uniform_integers(torch.tensor(low), torch.tensor(high), torch.Size([500]), generator())
    assert draws.min() >= low
    assert draws.max() <= high
    if high - low < 10:
        counts = torch.bincount(draws - low, minlength=high - low + 1)
        assert (counts / 500 - 1 / len(counts)).abs().max() < 0.1


def test_uniform_integers_of_a_wide_range_are_uniform():
    # Three quarters of a power of two, where a plain remainder would favour small numbers.
    high = 3 * 2**60
    draws = uniform_integers(torch.tensor(0), torch.tensor(high), torch.Size([4000]), generator())
    assert abs((draws < 2**61).float().mean() - 2 / 3) < 0.03


def test_between_follows_the_bounds():
    low = torch.tensor([1.0, 1.0, -math.inf, -math.inf])
    high = torch.tensor([3.0, math.inf, 1.0, math.inf])
    draws = between(low, high, torch.Size([20_000, 4]), generator())
    assert (draws >= low).all()
    assert (draws <= high).all()
    # Uniform on [1, 3], 1 + exponential, 1 - exponential, standard normal.
    assert torch.allclose(draws.mean(0), torch.tensor([2.0, 2.0, 0.0, 0.0]), atol=0.03)
    assert torch.allclose(draws.std(0), torch.tensor([2 / math.sqrt(12), 1.0, 1.0, 1.0]), atol=0.03)


def test_between_survives_a_width_beyond_the_dtype():
    low, high = torch.tensor(-3e38), torch.tensor(3e38)
    draws = between(low, high, torch.Size([100]), generator())
    assert draws.isfinite().all()
    assert draws.min() < -1e38
    assert draws.max() > 1e38
