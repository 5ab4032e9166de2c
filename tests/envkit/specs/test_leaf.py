from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

from envkit.errors import SpecError
from envkit.specs import Bounded, Composite, NonTensor, OneHot, Unbounded


def test_dynamic_shapes():
    spec = Unbounded((3, -1, 2))
    assert spec.has_dynamic_shape
    assert spec.numel() == 6
    assert spec.zero((4,)).shape == (4, 3, 1, 2)
    assert spec.rand().shape == (3, 1, 2)
    assert spec.is_in(torch.zeros(3, 9, 2))
    assert not spec.is_in(torch.zeros(9, 2))
    assert spec.expand(4, 3, -1, 2).shape == (4, 3, -1, 2)
    assert spec[0].shape == (-1, 2)
    assert not spec[:, 0].has_dynamic_shape
    assert spec.unsqueeze(0).squeeze().shape == (3, -1, 2)
    assert spec.unbind(0)[0].shape == (-1, 2)
    for refused in (
        lambda: spec[:, 1:],
        lambda: spec.flatten(),
        lambda: spec.unbind(1),
        lambda: spec.reshape(-1),
    ):
        with pytest.raises(SpecError, match="unknown"):
            refused()


def test_dynamic_shapes_keep_bounds():
    spec = Bounded(torch.tensor([[[0.0, 1.0]]]), 2.0, (3, -1, 2))
    assert spec.is_in(torch.ones(3, 9, 2))
    assert not spec.is_in(torch.zeros(3, 9, 2))
    assert spec.expand(4, 3, -1, 2)[1, :, 5] == Bounded([0.0, 1.0], 2.0, (2,)).expand(3, 2)
    assert torch.stack([spec, spec.clone()]).shape == (2, 3, -1, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.expand(4, 5), r"cannot expand to \[4, 5\] a Unbounded of shape \[2, 3\]"),
        (lambda s: s.reshape(4, 5), r"cannot reshape to \[4, 5\]"),
        (lambda s: s.unflatten(0, (3, 3)), "cannot unflatten dim 0"),
        (lambda s: s.squeeze(2), r"dim 2: expected one of the 2 leading dimensions"),
        (lambda s: s[0, 0, 0], "at most 2 indexed dimensions, found 3"),
    ],
)
def test_wrong_shape_changes(change, message):
    with pytest.raises(SpecError, match=message):
        change(Unbounded((2, 3)))


def test_scalars_have_shape_methods():
    spec = Unbounded(())
    assert spec.expand(()).shape == ()
    assert spec.expand(3).shape == (3,)
    assert spec.flatten().shape == (1,)
    assert spec.reshape(()) == spec
    with pytest.raises(SpecError):
        spec.unbind()
    with pytest.raises(IndexError):
        Unbounded((2,))[5]


def test_indexing_with_lists_and_arrays():
    spec = Bounded(torch.arange(3.0), 9)
    for index in ([2, 0], np.array([2, 0]), range(2, -1, -2), torch.tensor([2, 0])):
        assert spec[index] == Bounded([2.0, 0.0], 9)


def test_event_dimensions_are_protected():
    spec = OneHot(3, (2, 3))
    for change in (
        lambda: spec[..., 0, 0],
        lambda: spec.unbind(-1),
        lambda: spec.unsqueeze(-1),
        lambda: spec.expand(2, 4),
        lambda: spec.reshape(6),
        lambda: spec.unflatten(1, (3, 1)),
    ):
        with pytest.raises(SpecError):
            change()
    assert spec.reshape(-1, 3) == spec
    assert spec.flatten() == spec
    assert spec[..., 0].shape == (3,)


def test_stack_refuses_other_kinds():
    for name, other in (
        ("dtype", Bounded(0, 1, (2,), dtype=torch.float64)),
        ("dtype", NonTensor((2,))),
        ("number of dimensions", Unbounded((2, 1))),
    ):
        message = (
            rf"cannot stack specs of different kinds: expected the {name} of Bounded\(.*found {type(other).__name__}"
        )
        with pytest.raises(SpecError, match=message):
            torch.stack([Bounded(0, 1, (2,)), other])
    with pytest.raises(SpecError, match="expected a leaf, found Composite"):
        torch.stack([Unbounded((2,)), Composite()])
    with pytest.raises(TypeError):
        torch.cat([Bounded(0, 1, (2,)), Bounded(0, 1, (2,))])


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64])
def test_pickling_of_unsigned_bounds(dtype):
    spec = Bounded([0, 5], 7, (3, 2), dtype=dtype)
    for twin in (pickle.loads(pickle.dumps(spec)), copy.deepcopy(spec)):
        assert twin == spec
        assert twin.is_in(spec.rand())


def test_to():
    spec = Bounded(0.1, 0.7, (2,), dtype=torch.float64)
    single = spec.to(torch.float32)
    assert single.is_in(torch.full((2,), 0.7, dtype=torch.float64).float())
    assert spec.to("cpu", torch.float32) == single
    assert Bounded(-1e300, 0, (1,), dtype=torch.float64).to(torch.float32).low.item() == -torch.inf
    with pytest.raises(SpecError, match="low: expected numbers that int64 can hold"):
        spec.to(torch.int64)
