from __future__ import annotations

import numpy as np
import pytest
import torch

from envkit.errors import SpecError
from envkit.specs import Categorical, OneHot, Stacked


@pytest.mark.parametrize("n", [0, -1, 2.5])
def test_wrong_n(n):
    for make in (Categorical, OneHot):
        with pytest.raises(SpecError, match=f"n: expected a positive number of categories, found {n}"):
            make(n)


def test_wrong_dtypes_and_shapes():
    with pytest.raises(SpecError, match="category numbers 0 to 2, found bool"):
        Categorical(3, dtype=torch.bool)
    with pytest.raises(SpecError, match="category numbers 0 to 256, found uint8"):
        Categorical(257).to(torch.uint8)
    with pytest.raises(SpecError, match=r"the number of categories 3, found \(3, 2\)"):
        OneHot(3, (3, 2))


def test_flags():
    spec = Categorical(2, shape=(4, 1), dtype=torch.bool)
    assert spec.zero().dtype is torch.bool
    assert set(spec.rand((50,)).flatten().tolist()) == {False, True}
    assert not Categorical(1, dtype=torch.bool).is_in(torch.tensor(True))
    assert not Categorical(2, dtype=torch.bool, mask=[True, False]).is_in(torch.tensor(True))


def test_start_concerns_the_outside_only():
    spec = Categorical(3, start=-1)
    assert spec.encode(-1) == 0
    assert spec.encode(np.int64(1)) == 2
    assert spec.encode(torch.tensor(2)) == 2
    assert spec.to_numpy(torch.tensor(0)) == -1
    assert not spec.is_in(torch.tensor(-1))
    assert spec.to_one_hot_spec().encode(1).tolist() == [False, False, True]
    assert spec.to_one_hot_spec().to_numpy(torch.tensor([True, False, False])) == -1


def test_to_numpy_gives_hashable_scalars():
    assert {2: "two"}[Categorical(3).to_numpy(torch.tensor(2))] == "two"


def test_rand_is_uniform_over_allowed_categories():
    spec = Categorical(4, (2,), mask=[[1, 0, 1, 0], [0, 1, 1, 1]])
    draws = spec.rand((6000,), torch.Generator().manual_seed(0))
    assert torch.allclose(torch.bincount(draws[:, 0], minlength=4) / 6000, torch.tensor([0.5, 0, 0.5, 0]), atol=0.03)
    third = 1 / 3
    assert torch.allclose(torch.bincount(draws[:, 1]) / 6000, torch.tensor([0, third, third, third]), atol=0.03)


@pytest.mark.parametrize(
    ("value", "nearest"),
    [(-7, 0), (1, 0), (2, 3), (3, 3), (99, 3), (2.4, 3), (float("nan"), 0), (float("inf"), 3)],
)
def test_projection_skips_masked_categories(value, nearest):
    assert Categorical(5, mask=[1, 0, 0, 1, 0]).project(torch.tensor(value)) == nearest


def test_stack_of_different_sizes_shares_the_largest():
    stacked = torch.stack([Categorical(2), Categorical(3)])
    assert stacked == Categorical(3, (2,), mask=[[1, 1, 0], [1, 1, 1]])
    # A start has no place beside the category numbers: the specs stay two.
    stacked = torch.stack([Categorical(2), Categorical(3, start=1)])
    assert isinstance(stacked, Stacked)
    assert stacked.to_numpy(torch.tensor([0, 0])) == (0, 1)
    hot = torch.stack([OneHot(3), OneHot(3, start=1)])
    assert isinstance(hot, Stacked)
    assert hot.is_in(hot.rand((5,)))


def test_one_hot_members():
    spec = OneHot(3, dtype=torch.int64)
    assert spec.is_in(torch.tensor([0, 1, 0]))
    for wrong in ([0, 0, 0], [1, 1, 0], [0, 2, 0], [0, -1, 1]):
        assert not spec.is_in(torch.tensor(wrong))
    assert spec.domain == "discrete"
    assert spec.n == spec.space.n == 3


def test_one_hot_projection_takes_the_largest_allowed():
    spec = OneHot(3, mask=[True, False, True])
    assert spec.project(torch.tensor([0.1, 9.0, 0.2])).tolist() == [False, False, True]
    for degenerate in (
        torch.full((3,), -torch.inf),
        torch.full((3,), torch.nan),
        torch.zeros(3, dtype=torch.bool),
    ):
        assert spec.is_in(spec.project(degenerate))


def test_one_hot_encodes_numbers_and_vectors():
    spec = OneHot(3, (2, 3))
    expected = torch.tensor([[False, True, False], [True, False, False]])
    for value in (
        [1, 0],
        np.array([1, 0]),
        torch.tensor([1, 0]),
        expected,
        expected.numpy(),
        [[0, 1, 0], [1, 0, 0]],
    ):
        assert torch.equal(spec.encode(value), expected)
    with pytest.raises(SpecError, match="found 3"):
        spec.encode([3, 0])
    with pytest.raises(SpecError, match="expected numbers that bool can hold, found 2"):
        spec.encode([[0, 2, 0], [1, 0, 0]])


def test_one_hot_of_a_single_category():
    spec = OneHot(1)
    for value in (0, [0], [1], torch.tensor([True])):
        assert spec.encode(value).tolist() == [True]
    assert OneHot(1, start=5).encode([5]).tolist() == [True]


def test_to_one_hot_refuses_other_numbers():
    with pytest.raises(SpecError, match=r"Categorical\(shape=\[\], n=3, dtype=int64\), found 3"):
        Categorical(3).to_one_hot(torch.tensor([0, 3]))


def test_repr():
    spec = Categorical(3, (2,), mask=[1, 0, 1], start=2)
    assert repr(spec) == "Categorical(shape=[2], n=3, start=2, mask=[[1, 0, 1], [1, 0, 1]], dtype=int64)"
    assert repr(OneHot(3)) == "OneHot(shape=[3], n=3, dtype=bool)"
    assert "mask=[30]" in repr(Categorical(30, mask=torch.ones(30)))
