from __future__ import annotations

import pytest
import torch

from envkit.errors import SpecError
from envkit.specs import (
    Binary,
    BoxList,
    Categorical,
    CategoricalBox,
    ContinuousBox,
    MultiCategorical,
    TextBox,
)


def test_specs_expose_boxes():
    assert Categorical(3).space == CategoricalBox(3)
    assert Binary(4).space.n == 4
    assert [box.n for box in MultiCategorical([2, 5]).space] == [2, 5]
    nested = MultiCategorical([[2, 5], [3, 1]]).space
    assert len(nested) == 2
    assert nested[1] == BoxList.from_nvec([3, 1])


def test_continuous_boxes_compare_by_value():
    box = ContinuousBox(torch.zeros(2), torch.ones(2))
    assert box == ContinuousBox(torch.zeros(2), torch.ones(2))
    assert box != ContinuousBox(torch.zeros(2), torch.zeros(2))
    assert box != 3


def test_text_box():
    box = TextBox(3, 1, "ab")
    assert [box.contains(text) for text in ("", "a", "bab", "abba", "c", 3)] == [
        False,
        True,
        True,
        False,
        False,
        False,
    ]
    generator = torch.Generator().manual_seed(0)
    samples = {box.sample(generator) for _ in range(200)}
    assert all(box.contains(sample) for sample in samples)
    assert {len(sample) for sample in samples} == {1, 2, 3}
    assert TextBox(0, 0, "").sample() == ""
    with pytest.raises(SpecError, match="found 4 and 3"):
        TextBox(3, 4)
    with pytest.raises(SpecError, match="charset: expected at least one character"):
        TextBox(3, 1, "")
