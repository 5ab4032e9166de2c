from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from tensordict import NonTensorStack

from envkit.errors import SpecError
from envkit.specs import (
    Binary,
    Bounded,
    Categorical,
    Composite,
    MultiCategorical,
    NonTensor,
    OneHot,
    Stacked,
    Unbounded,
)


def dense():
    return torch.stack([Unbounded((3, 2)), Bounded(0, 1, (3, 2))], 1)


def ragged():
    return torch.stack([Unbounded((2, 3)), Bounded(0, 1, (2, 4))], 1)


def test_elements_of_one_shape_have_tensors_as_values():
    spec = dense()
    assert isinstance(spec, Stacked)
    assert (spec.shape, spec.stack_dim, spec.dtype, spec.domain) == ((3, 2, 2), 1, torch.float32, "continuous")
    assert not spec.has_dynamic_shape
    value = torch.full((5, 3, 2, 2), 0.5)
    value[:, :, 0] = 7
    assert spec.is_in(value)
    value[1, 2, 1, 0] = 7
    assert spec.is_in(value) is False
    (violation,) = spec.violations(value)
    assert str(violation) == "value: expected a number in [0.0, 1.0], found 7.0 at index [1, 2, 0] in element 1"
    assert torch.equal(spec.project(value)[:, :, 0], value[:, :, 0])
    assert spec.is_in(spec.project(value))


def test_elements_of_unequal_shapes_have_lists_as_values():
    spec = ragged()
    assert spec.shape == (2, 2, -1)
    assert spec.has_dynamic_shape
    value = spec.rand((5,))
    assert [part.shape for part in value] == [(5, 2, 3), (5, 2, 4)]
    assert spec.is_in(value)
    assert [part.shape for part in spec.project([part * 9 for part in value])] == [(5, 2, 3), (5, 2, 4)]
    assert spec.is_in(spec.project([part * 9 for part in value]))
    for wrong in (value[:1], torch.zeros(2, 3, 4), 3):
        assert not spec.is_in(wrong)
        assert spec.violations(wrong)[0].expected.startswith("a list of 2 values, of shapes [2, 3], [2, 4]") or (
            "in element" in spec.violations(wrong)[0].found
        )
    with pytest.raises(SpecError, match=r"cannot project: expected a list of 2 values.*found a list of length 1"):
        spec.project(value[:1])


@pytest.mark.parametrize("make", [dense, ragged])
def test_indexing(make):
    spec = make()
    first, second = spec.unbind(1)
    assert (type(first), type(second)) == (Unbounded, Bounded)
    assert spec[:, 0] == first
    assert spec[:, -1] == second
    assert spec[0, 1] == second[0]
    assert spec[0] == torch.stack([first[0], second[0]])
    assert spec[:, [1, 0]] == torch.stack([second, first], 1)
    assert spec[:, :1] == torch.stack([first], 1)
    assert spec[:, [1, 1]] == torch.stack([second, second], 1)
    grid = spec[:, torch.tensor([[0, 1], [1, 0]])]
    assert grid[:, 1, 0] == second
    assert grid.is_in(grid.rand())
    with pytest.raises(IndexError):
        spec[:, 5]


@pytest.mark.parametrize("make", [dense, ragged])
def test_shapes(make):
    spec = make()
    wide = spec.expand(4, *spec.shape)
    assert wide.shape == (4, *spec.shape)
    assert wide.stack_dim == 2
    assert wide[3] == spec
    assert spec.unsqueeze(1).squeeze(1) == spec
    assert spec.unsqueeze(0)[0] == spec
    assert spec.flatten(0, 1).shape[0] == spec.shape[0] * 2
    assert spec.flatten(0, 1)[3] == spec[1, 1]
    assert wide.flatten(0, 1).unflatten(0, (4, -1)) == wide


def test_shapes_that_depend_on_unequal_sizes_are_refused():
    for refused in (lambda: ragged().flatten(), lambda: ragged().unbind(2), lambda: ragged().reshape(-1)):
        with pytest.raises(SpecError, match="unknown"):
            refused()
    unknown = torch.stack([Unbounded((-1,)), Bounded(0, 1, (-1,))])
    assert unknown.shape == (2, -1)
    assert unknown.is_in(torch.zeros(2, 9))
    assert unknown.expand(3, 2, -1).shape == (3, 2, -1)
    with pytest.raises(SpecError, match="unknown"):
        unknown.flatten()


def test_event_dimensions_are_protected():
    spec = torch.stack([Unbounded((2, 3), dtype=torch.bool), OneHot(3, (2, 3))])
    assert spec[:, 0].shape == (2, 3)
    with pytest.raises(SpecError, match="at most 2 indexed dimensions"):
        spec[:, :, 0]
    with pytest.raises(SpecError):
        torch.stack([Unbounded((2,), dtype=torch.int64), MultiCategorical([2, 3])], 1)


def test_encode_and_to_numpy():
    spec = torch.stack([Categorical(3, start=1), Categorical(4, start=-1)])
    for value in ([1, 2], (1, 2), np.array([1, 2])):
        assert spec.encode(value).tolist() == [0, 3]
    assert spec.encode(torch.tensor([0, 3])).tolist() == [0, 3]
    assert spec.to_numpy(torch.tensor([0, 3])) == (1, 2)
    columns = torch.stack([Unbounded((2,)), Bounded(0, 9, (2,))], 1)
    assert columns.encode(np.array([[1, 2], [3, 4]])).tolist() == [[1, 2], [3, 4]]
    assert columns.encode([[1, 3], [2, 4]]).tolist() == [[1, 2], [3, 4]]
    with pytest.raises(SpecError, match="expected 2 values along dim 0, found a list of length 3"):
        spec.encode([1, 2, 3])
    with pytest.raises(SpecError, match=r"element 1: expected numbers that int64 can hold, found 0.5"):
        spec.encode([1, 0.5])
    hot = torch.stack([OneHot(2), OneHot(3)])
    assert [part.int().tolist() for part in hot.encode([1, 2])] == [[0, 1], [0, 0, 1]]
    assert hot.to_numpy(hot.encode([1, 2])) == (1, 2)


def test_enumerate():
    spec = torch.stack([Categorical(2), Categorical(3, start=1)])
    assert spec.cardinality() == 6
    assert spec.enumerate().tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    hot = torch.stack([OneHot(2), OneHot(3)])
    assert [part.shape for part in hot.enumerate()] == [(6, 2), (6, 3)]
    with pytest.raises(SpecError, match=r"element 0: .*continuum"):
        dense().cardinality()


def test_objects():
    spec = torch.stack([NonTensor((), example_data="go"), NonTensor((), example_data="stop")])
    assert spec.rand((2,)).tolist() == [["go", "stop"], ["go", "stop"]]
    assert spec.is_in(spec.rand((2,)))
    assert spec.is_in(NonTensorStack("x", "y"))
    assert not spec.is_in(NonTensorStack("x", "y", "z"))
    assert spec.encode(["x", "y"]).tolist() == ["x", "y"]
    assert spec.to_numpy(spec.zero()) == ("go", "stop")


def test_stacks_of_stacks():
    spec = torch.stack([dense(), ragged_free()])
    assert spec.shape == (2, 3, 2, 2)
    assert spec[1] == ragged_free()
    assert spec.is_in(spec.rand((4,)))
    nested = torch.stack([ragged(), torch.stack([Unbounded((2, 5)), Unbounded((2, 6))], 1)])
    assert nested.shape == (2, 2, 2, -1)
    assert [[p.shape for p in part] for part in nested.rand()] == [[(2, 3), (2, 4)], [(2, 5), (2, 6)]]
    assert nested.is_in(nested.rand((3,)))


def ragged_free():
    return torch.stack([Bounded(0, 2, (3, 2)), Unbounded((3, 2))], 1)


def test_copies():
    spec = ragged()
    mask = Categorical(2)
    masked = torch.stack([mask, Categorical(2, start=3)])
    mask.update_mask([True, False])
    assert masked[0].mask is None
    for twin in (spec.clone(), copy.deepcopy(spec), pickle.loads(pickle.dumps(spec))):
        assert twin == spec
    assert spec != dense()
    assert spec != Unbounded((2, 3))
    assert spec.to("cpu") is spec
    assert spec.to(torch.float64).dtype is torch.float64
    assert spec.lock_().is_locked
    assert not spec.clone().is_locked
    assert pickle.loads(pickle.dumps(spec)).is_locked
    assert Composite(a=dense(), shape=(3,)).lock_()["a"].is_locked


def test_wrong_elements():
    with pytest.raises(SpecError, match="expected at least one"):
        Stacked()
    with pytest.raises(SpecError, match=r"the dtype of Binary\(.*found Unbounded"):
        torch.stack([Binary(2), Unbounded((2,))])
    with pytest.raises(SpecError, match="'act': expected dtype float32, found int64"):
        dense().type_check(torch.zeros(3, 2, 2, dtype=torch.int64), "act")


def test_repr():
    assert repr(ragged()) == (
        "Stacked(\n"
        "    Unbounded(shape=[2, 3], dtype=float32),\n"
        "    Bounded(shape=[2, 4], low=0.0, high=1.0, dtype=float32),\n"
        "    shape=[2, 2, ?], stack_dim=1)"
    )


def test_the_multi_agent_form_of_the_documentation():
    actions = [Bounded(-1, 1, (2,)), Bounded(-2, 2, (2,)), Unbounded((2,))]
    spec = Composite({"agents": Composite({"action": torch.stack(actions)}, shape=(3,))})
    assert spec["agents", "action"].shape == (3, 2)
    assert spec[()]["agents"][1]["action"] == actions[1]
    batch = spec.expand(4)
    assert batch["agents"].shape == (4, 3)
    assert batch.is_in(batch.rand())
    assert batch.rand()["agents", "action"].shape == (4, 3, 2)
