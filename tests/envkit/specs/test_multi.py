from __future__ import annotations

import numpy as np
import pytest
import torch

from envkit.errors import SpecError
from envkit.specs import Binary, MultiCategorical, MultiOneHot, Stacked


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MultiCategorical(3), "nvec: expected one number of categories for each variable, found 3"),
        (lambda: MultiCategorical([2, 0]), r"nvec: expected positive numbers of categories, found \[2, 0\]"),
        (
            lambda: MultiCategorical([2, 3], (3,)),
            r"nvec: expected a shape that broadcasts to \[3\], found \[2\]",
        ),
        (
            lambda: MultiCategorical([2, 3], start=[1, 1, 1]),
            r"start: expected a shape that broadcasts to \[2\]",
        ),
        (lambda: MultiCategorical([2, 300], dtype=torch.uint8), "category numbers 0 to 299, found uint8"),
        (lambda: MultiCategorical([[2, 3], [4, 5]], mask=[1]), "the same numbers of categories in all rows"),
        (
            lambda: MultiCategorical([[2, 3], [4, 5]]).to_one_hot_spec(),
            "the same numbers of categories in all rows",
        ),
        (lambda: MultiOneHot([[2, 3]]), "nvec: expected a list"),
        (lambda: MultiOneHot([2, 3], (4,)), r"sum\(nvec\) = 5, found \(4,\)"),
        (lambda: Binary(), "expected a length n or a shape, found neither"),
        (lambda: Binary(3, shape=(2,)), r"n = 3, found \(2,\)"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(SpecError, match=message):
        make()


def test_rows_may_differ():
    spec = MultiCategorical([[2, 3], [4, 5]])
    draws = spec.rand((500,), torch.Generator().manual_seed(0))
    assert draws.amax(0).tolist() == [[1, 2], [3, 4]]
    assert draws.amin() == 0
    assert spec[1] == MultiCategorical([4, 5])
    assert spec.cardinality() == 120
    assert torch.stack([MultiCategorical([2, 3]), MultiCategorical([4, 5])]) == spec
    with pytest.raises(SpecError, match=r"from 0 to \[3, 4\], found \[0, 5\] at index \[1\]"):
        spec.assert_is_in(torch.tensor([[0, 0], [0, 5]]))


def test_masks_restrict_each_variable():
    spec = MultiCategorical([2, 3], mask=[1, 0, 1, 0, 1])
    assert spec.enumerate().tolist() == [[0, 0], [0, 2]]
    assert set(map(tuple, spec.rand((50,)).tolist())) == {(0, 0), (0, 2)}
    assert spec.project(torch.tensor([1, 1])).tolist() == [0, 0]
    assert spec.to_one_hot_spec().mask.tolist() == [True, False, True, False, True]
    with pytest.raises(SpecError, match="that the mask allows"):
        spec.assert_is_in(torch.tensor([1, 0]))


def test_rows_that_share_no_mask_stay_apart():
    first, second = MultiCategorical([2, 3], mask=[1, 0, 1, 1, 1]), MultiCategorical([3, 2])
    for specs in ((first, second), (second, first), (first.to_one_hot_spec(), second.to_one_hot_spec())):
        stacked = torch.stack(list(specs))
        assert isinstance(stacked, Stacked)
        assert stacked[0] == specs[0]
        assert stacked.is_in(stacked.rand((5,)))


def test_start_concerns_the_outside_only():
    spec = MultiCategorical([2, 3], start=[-1, 5])
    assert spec.encode([-1, 7]).tolist() == [0, 2]
    assert spec.encode(torch.tensor([0, 2])).tolist() == [0, 2]
    assert np.array_equal(spec.to_numpy(torch.tensor([0, 2])), [-1, 7])
    assert spec.to_one_hot_spec().encode([-1, 7]).int().tolist() == [1, 0, 0, 0, 1]
    assert "start=[-1, 5]" in repr(spec)


def test_multi_one_hot_members():
    spec = MultiOneHot([2, 3])
    assert spec.nvec.tolist() == [2, 3]
    assert spec.is_in(torch.tensor([True, False, False, False, True]))
    assert not spec.is_in(torch.tensor([True, True, False, False, False]))
    assert spec.project(torch.tensor([0.1, 0.2, 3.0, 1.0, 2.0])).int().tolist() == [0, 1, 1, 0, 0]
    assert spec.to_categorical(torch.tensor([0, 1, 0, 0, 1])).tolist() == [1, 2]
    with pytest.raises(SpecError, match=r"length 2 \+ 3"):
        spec.assert_is_in(torch.zeros(5, dtype=torch.bool))


def test_binary():
    spec = Binary(1, shape=(1,), dtype=torch.bool)
    assert spec == Binary(shape=(1,), dtype=torch.bool)
    assert spec.zero().tolist() == [False]
    assert Binary(3).n == Binary(3).space.n == 3
    assert Binary(3).dtype is torch.int8
    assert not Binary(3).is_in(torch.tensor([0, 1, 2], dtype=torch.int8))
    assert Binary(3, dtype=torch.float32).project(torch.tensor([-1.0, 0.7, 9.0])).tolist() == [0.0, 1.0, 1.0]
    assert set(Binary(1).rand((50,)).flatten().tolist()) == {0, 1}
    assert Binary(2).enumerate().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
