from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from envkit.errors import SpecError
from envkit.specs import Bounded, Unbounded


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"low": -1, "high": 1}, "shape: expected one for scalar bounds -1 and 1, found None"),
        ({"low": 2, "high": 1, "shape": (1,)}, "expected low <= high, found low=2.0, high=1.0"),
        ({"low": math.nan, "high": 1, "shape": (1,)}, "low: expected real bounds, found nan"),
        ({"low": [0, 0], "high": [1, 1, 1]}, r"expected shapes that broadcast, found \[2\] and \[3\]"),
        (
            {"low": [0, 0], "high": 1, "shape": (3,)},
            r"low: expected a shape that broadcasts to \[3\], found \[2\]",
        ),
        (
            {"low": 0, "high": 300, "shape": (1,), "dtype": torch.uint8},
            "high: expected numbers that uint8 can hold, found 300",
        ),
        (
            {"low": 0.5, "high": 3, "shape": (1,), "dtype": torch.int64},
            "low: expected numbers that int64 can hold, found 0.5",
        ),
        ({"low": -1e300, "high": 0, "shape": (1,)}, "low: expected numbers that float32 can hold"),
        (
            {"low": 0, "high": 1, "shape": (1,), "dtype": torch.complex64},
            "expected an ordered dtype, found complex64",
        ),
        ({"low": "a", "high": 1, "shape": (1,)}, "expected numbers, found str 'a'"),
    ],
)
def test_wrong_bounds(kwargs, message):
    with pytest.raises(SpecError, match=message):
        Bounded(**kwargs)


def test_bounds_broadcast():
    spec = Bounded(np.zeros((3, 1)), torch.tensor([1.0, 2.0]))
    assert spec.shape == (3, 2)
    assert spec.space.high.tolist() == [[1.0, 2.0]] * 3
    assert spec.low.shape == spec.high.shape == (3, 2)
    assert spec.low.dtype is torch.float32


def test_bounds_are_copied():
    low = torch.zeros(2)
    spec = Bounded(low, 1)
    low += 5
    assert spec == Bounded(0, 1, (2,))


def test_the_default_dtype_is_torchs():
    assert Bounded(0, 1, (1,)).dtype is Unbounded().dtype is torch.float32
    assert Unbounded().shape == (1,)


def test_domain():
    assert Bounded(0, 1, (1,)).domain == Unbounded().domain == "continuous"
    assert Bounded(0, 1, (1,), dtype=torch.uint8).domain == Unbounded(dtype=torch.int64).domain == "discrete"


def test_infinite_bounds_of_integers_are_the_limits():
    for dtype in (torch.int8, torch.int64, torch.uint64):
        assert Bounded(-math.inf, math.inf, (1,), dtype=dtype).space == Unbounded((1,), dtype=dtype).space


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint64])
def test_rand_covers_the_full_range(dtype):
    for spec in (Bounded(-math.inf, math.inf, (1,), dtype=dtype), Unbounded((1,), dtype=dtype)):
        draws = spec.rand((2000,), torch.Generator().manual_seed(0)).double()
        low, high = torch.iinfo(dtype).min, torch.iinfo(dtype).max
        assert abs(draws.mean() - (low + high) / 2) < 0.05 * (high - low)
        assert draws.min() < low + 0.01 * (high - low)
        assert draws.max() > high - 0.01 * (high - low)


def test_rand_reaches_both_integer_bounds():
    spec = Bounded([0, 250], [2, 255], dtype=torch.uint8)
    draws = spec.rand((500,), torch.Generator().manual_seed(0))
    assert set(draws[:, 0].tolist()) == {0, 1, 2}
    assert set(draws[:, 1].tolist()) == set(range(250, 256))
    assert set(Bounded(0, 255, (1,), dtype=torch.uint8).rand((9000,)).flatten().tolist()) == set(range(256))


def test_rand_between_finite_bounds_is_uniform():
    for spec in (Bounded(-1, 3, (2,)), Bounded([-1, -1.5], [3, 3.5])):
        draws = spec.rand((20_000,), torch.Generator().manual_seed(0))
        assert torch.allclose(draws.mean(0), torch.tensor(1.0), atol=0.03)
        assert torch.allclose(draws.std(0), (spec.high - spec.low) / math.sqrt(12), atol=0.03)


def test_rand_with_open_ends_is_gymnasiums():
    draws = Bounded([2.0, -math.inf], [math.inf, 2.0]).rand((20_000,), torch.Generator().manual_seed(0))
    assert torch.allclose(draws.mean(0), torch.tensor([3.0, 1.0]), atol=0.03)
    draws = Bounded(-math.inf, math.inf, (2,)).rand((20_000,), torch.Generator().manual_seed(0))
    assert torch.allclose(draws.mean(0), torch.zeros(2), atol=0.03)


def test_8_bit_floats():
    spec = Bounded(-1, 1, (3,), dtype=torch.float8_e4m3fn)
    assert spec.is_in(spec.rand((50,)))
    assert not spec.is_in(torch.full((3,), 2.0).to(torch.float8_e4m3fn))
    assert Unbounded((3,), dtype=torch.float8_e4m3fn).is_in(spec.rand())


def test_infinity_is_a_member_where_there_is_no_bound():
    infinity = torch.tensor([math.inf])
    assert Unbounded((1,)).is_in(infinity)
    assert Bounded(0, math.inf, (1,)).is_in(infinity)
    assert not Bounded(-math.inf, 0, (1,)).is_in(infinity)
    assert Bounded(0, math.inf, (1,)).project(infinity).item() == math.inf


def test_unbounded_spaces():
    assert Unbounded((2,)).space.low.tolist() == [-math.inf] * 2
    assert Unbounded((2,), dtype=torch.int8).space.high.tolist() == [127] * 2
    assert Unbounded((2,), dtype=torch.complex64).space is None


def test_cardinality_of_integers():
    assert Bounded([0, 1], [2, 1], dtype=torch.int64).cardinality() == 3
    assert Unbounded((2,), dtype=torch.uint8).cardinality() == 2**16
    assert Unbounded((1,), dtype=torch.int64).cardinality() == 2**64
    assert Bounded([0, 1], [2, 1], dtype=torch.int64).enumerate().tolist() == [[0, 1], [1, 1], [2, 1]]


def test_repr():
    assert repr(Bounded([0, 1], 2)) == "Bounded(shape=[2], low=[0.0, 1.0], high=2.0, dtype=float32)"
    assert "low=Tensor[20]" in repr(Bounded(torch.arange(20.0), 30))
    assert repr(Unbounded((3, -1))) == "Unbounded(shape=[3, ?], dtype=float32)"
