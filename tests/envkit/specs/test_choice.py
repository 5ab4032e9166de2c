from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from tensordict import NonTensorData, NonTensorStack

from envkit.errors import SpecError
from envkit.specs import Binary, Bounded, Categorical, Choice, Composite, MultiCategorical, NonTensor, Unbounded


def low_or_high():
    return Choice([Bounded(0, 1, (2,)), Bounded(8, 9, (2,))])


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ([], "expected at least one option, found none"),
        ([Binary(1), Unbounded((1,), dtype=torch.int8)], "expected the class of Binary"),
        ([Binary(1), Binary(2)], r"expected the shape of Binary\(shape=\[1\].*found Binary\(shape=\[2\]"),
        ([Binary(1), Binary(1, dtype=torch.bool)], "expected the dtype of Binary"),
        ([Composite(), Composite()], "expected leaves, or objects that are no tensors, found Composite"),
        ([Binary(1), "text"], "expected leaves, or objects that are no tensors, found text"),
        ([torch.zeros(2)], "found a Tensor"),
    ],
)
def test_wrong_options(choices, message):
    with pytest.raises(SpecError, match=message):
        Choice(choices)


def test_a_value_lies_in_one_option_as_a_whole():
    spec = low_or_high()
    assert (spec.shape, spec.dtype, spec.domain, spec.space) == ((2,), torch.float32, "continuous", None)
    assert spec.is_in(torch.tensor([0.5, 1.0]))
    assert spec.is_in(torch.tensor([[0.5, 1.0], [8.5, 8.5]]))
    assert spec.is_in(torch.tensor([0.5, 8.5])) is False
    for wrong in (torch.zeros(3), torch.zeros(2, dtype=torch.int64), "text", torch.zeros(())):
        assert spec.is_in(wrong) is False
        assert spec.violations(wrong)[0].expected.startswith("one of [Bounded(")
    (violation,) = spec.violations(torch.tensor([[0.5, 0.5], [3.0, 3.0], [4.0, 4.0]]))
    assert violation.found == "float32 [3.0, 3.0] of shape [2] (2 wrong elements in all)"


def test_each_element_of_leading_dimensions_chooses():
    spec = low_or_high()
    value = spec.rand((50,), torch.Generator().manual_seed(0))
    chosen = (value > 5).all(-1)
    assert torch.equal(chosen, (value > 5).any(-1))
    assert 10 < int(chosen.sum()) < 40
    wide = spec.expand(4, 2)
    assert wide.is_in(torch.tensor([[0.5, 0.5], [8.5, 8.5], [0, 0], [9, 9]]))
    assert wide[1] == spec
    assert wide.zero((3,)).shape == wide.one((3,)).shape == wide.rand((3,)).shape == (3, 4, 2)
    assert spec.rand((0,)).shape == (0, 2)
    with pytest.raises(SpecError, match="at most 0 indexed dimensions"):
        spec[0]


def test_project_takes_the_closest_option():
    spec = low_or_high()
    given = torch.tensor([[2.0, 0.5], [7.0, 7.0], [0.25, 1.0]])
    assert spec.project(given).tolist() == [[1.0, 0.5], [8.0, 8.0], [0.25, 1.0]]
    assert spec.is_in(spec.project(torch.full((2,), torch.nan)))
    with pytest.raises(SpecError, match=r"expected shape \[2\], found float32 \[0.0\] of shape \[1\]"):
        spec.project(torch.zeros(1))


def test_encode_and_to_numpy():
    spec = Choice([Categorical(2, start=5), Categorical(4, start=0)])
    assert spec.encode(6) == 1
    assert spec.encode(3) == 3
    assert spec.to_numpy(torch.tensor(1)) == 6
    assert spec.to_numpy(torch.tensor([1, 3])).tolist() == [6, 3]
    assert spec.expand(2).encode([6, 3]).tolist() == [1, 3]
    assert spec.expand(2).encode(torch.tensor([1, 3])).tolist() == [1, 3]
    with pytest.raises(SpecError, match=r"expected one of .*found 4"):
        spec.encode(4)
    for wrong in (3, [1, 2, 3]):
        with pytest.raises(SpecError, match="expected 2 values in dim 0"):
            spec.expand(2).encode(wrong)
    with pytest.raises(SpecError, match="expected one of"):
        spec.to_numpy(torch.tensor(9))


def test_members_are_counted_once():
    spec = Choice([Categorical(3, mask=[1, 1, 0]), Categorical(3, mask=[0, 1, 1])])
    assert spec.cardinality() == 3
    assert spec.enumerate().tolist() == [0, 1, 2]
    assert spec.expand(2).cardinality() == 9
    assert spec.expand(2).enumerate().shape == (9, 2)
    assert Choice([MultiCategorical([1, 2]), MultiCategorical([2, 1])]).enumerate().tolist() == [[0, 0], [0, 1], [1, 0]]
    with pytest.raises(SpecError, match="continuum"):
        low_or_high().cardinality()


def test_objects():
    spec = Choice(["left", NonTensorData("right"), {"a": [1]}])
    assert (spec.shape, spec.dtype, spec.domain) == ((), None, None)
    assert spec.is_in("left")
    assert spec.is_in(NonTensorData({"a": [1]}))
    assert spec.is_in(NonTensorStack("left", "right"))
    for wrong in ("up", NonTensorData("up"), torch.zeros(()), 3):
        assert spec.is_in(wrong) is False
    (violation,) = spec.violations("up")
    assert str(violation) == "value: expected one of ['left', 'right', {'a': [1]}], found 'up'"
    assert set(map(str, spec.rand((50,)).tolist())) == {"left", "right", "{'a': [1]}"}
    assert spec.zero().data == spec.one().data == "left"
    assert spec.cardinality() == 3
    assert spec.enumerate().tolist() == ["left", "right", {"a": [1]}]
    assert Choice(["a", "a"]).cardinality() == 1
    assert spec.encode("right").data == "right"
    assert spec.to_numpy(spec.encode("right")) == "right"
    assert spec.expand(2).encode(["left", "right"]).tolist() == ["left", "right"]
    assert spec.expand(2).to_numpy(NonTensorStack("left", "right")) == ["left", "right"]
    assert spec.project("left") == "left"
    with pytest.raises(SpecError, match="found 'up'"):
        spec.project("up")
    # True is no 1.
    assert not Choice([1, 2]).is_in(True)
    arrays = Choice([np.zeros(2), [np.ones(2)]])
    assert arrays.is_in([np.ones(2)])
    assert not arrays.is_in(np.ones(2))
    assert arrays == arrays.clone()


def test_leaves_of_objects_are_options_too():
    spec = Choice([NonTensor((), example_data="a"), NonTensor((), example_data="b")])
    assert spec.is_in("anything")


def test_copies():
    spec = low_or_high()
    mask = Categorical(2)
    masked = Choice([mask, Categorical(2)])
    mask.update_mask([True, False])
    assert masked.choices[0].mask is None
    assert masked.choices[0].is_locked
    for twin in (spec.clone(), copy.deepcopy(spec), pickle.loads(pickle.dumps(spec))):
        assert twin == spec
    assert spec != Choice([Bounded(0, 1, (2,))])
    assert Choice(["a"]) != Choice([NonTensor((), example_data="a")])
    assert spec.to("cpu") is spec
    assert spec.to(torch.float64).is_in(torch.full((2,), 8.5, dtype=torch.float64))
    assert Composite(a=spec.expand(3, 2), shape=(3,))[0]["a"] == spec
    assert np.asarray(spec.to_numpy(spec.rand())).shape == (2,)
    spec.type_check(torch.zeros(2))
    with pytest.raises(SpecError, match="'act': expected dtype float32"):
        spec.type_check(torch.zeros(2, dtype=torch.int64), "act")


def test_repr():
    assert repr(Choice(["a", 1])) == "Choice(shape=[], choices=['a', 1])"
    assert repr(low_or_high()).startswith("Choice(shape=[2], choices=[Bounded(shape=[2], low=0.0, high=1.0")
