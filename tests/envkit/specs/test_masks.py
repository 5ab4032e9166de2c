from __future__ import annotations

import pytest
import torch

from envkit.errors import SpecError
from envkit.specs import Categorical, MultiCategorical, MultiOneHot, OneHot
from envkit.specs.masks import nearest_allowed, sample_allowed

MASKED = [
    Categorical(3, (2,)),
    OneHot(3, (2, 3)),
    MultiCategorical([1, 2], (2, 2)),
    MultiOneHot([1, 2], (2, 3)),
]


@pytest.mark.parametrize("spec", MASKED, ids=lambda spec: type(spec).__name__)
def test_wrong_masks(spec):
    spec = spec.clone()
    spec.update_mask([1, 1, 0])
    kept = spec.mask
    assert kept.tolist() == [[True, True, False]] * 2
    with pytest.raises(SpecError, match="mask: expected at least one allowed category for each element, found none"):
        spec.update_mask([[1, 1, 1], [0, 0, 0]])
    with pytest.raises(SpecError, match=r"mask: expected a shape that broadcasts to \[2, 3\], found \[2\]"):
        spec.update_mask([1, 1])
    assert spec.mask is kept


@pytest.mark.parametrize("spec", MASKED, ids=lambda spec: type(spec).__name__)
def test_indexing_keeps_masks(spec):
    spec = spec.clone()
    spec.update_mask([[1, 1, 0], [1, 0, 1]])
    assert spec[0].mask.tolist() == [True, True, False]
    assert spec[1].mask.tolist() == [True, False, True]
    assert spec[0] == spec.unbind()[0]
    assert spec[0] != spec[1]
    assert spec.expand(4, *spec.shape)[2] == spec


@pytest.mark.parametrize("make", [MultiCategorical, MultiOneHot])
def test_each_variable_needs_an_allowed_category(make):
    with pytest.raises(SpecError, match="at least one allowed category"):
        make([2, 2], mask=[1, 1, 0, 0])


def test_sample_allowed_of_nothing():
    mask = torch.ones(2, 3, dtype=torch.bool)
    assert sample_allowed(mask, torch.Size([0, 2]), None).shape == (0, 2)
    assert sample_allowed(mask[:0], torch.Size([5, 0]), None).shape == (5, 0)


def test_nearest_allowed_prefers_the_smaller_of_two():
    mask = torch.tensor([True, False, True])
    assert nearest_allowed(torch.tensor([0, 1, 2]), mask).tolist() == [0, 0, 2]
