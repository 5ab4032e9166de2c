from __future__ import annotations

import numpy as np
import pytest
import torch

from envkit.errors import SpecError
from envkit.specs import Bounded, Categorical, OneHot, Unbounded


def test_extra_leading_dimensions_are_accepted():
    spec = Bounded(0, 1, (2,))
    assert spec.is_in(torch.zeros(7, 5, 2))
    assert not spec.is_in(torch.zeros(2, 7))


@pytest.mark.parametrize(
    ("spec", "value", "message"),
    [
        (
            Bounded(0, 1, (2,)),
            torch.tensor([[0.5, 3.0], [-1, 0]]),
            r"in \[0.0, 1.0\], found 3.0 at index \[0, 1\] \(2 wrong",
        ),
        (
            Bounded([0, 1], 2),
            torch.tensor([0.0, 0.5]),
            r"a number in \[1.0, 2.0\], found 0.5 at index \[1\]$",
        ),
        (Bounded(0, 1, (2,)), torch.zeros(3), r"float32 of shape \[2\], found float32 of shape \[3\]"),
        (
            Bounded(0, 1, (2,)),
            torch.zeros(2).double(),
            r"float32 of shape \[2\], found float64 of shape \[2\]",
        ),
        (Bounded(0, 1, (2,)), np.zeros(2), r"a tensor of shape \[2\], found a numpy array of shape \[2\]"),
        (Bounded(0, 1, (2,)), 0.5, "a tensor of shape .*, found float 0.5"),
        (Categorical(3), torch.tensor(3), r"a category in \[0, 2\], found 3$"),
        (Categorical(3, mask=[1, 0, 1]), torch.tensor(1), r"one of the categories \[0, 2\], found 1$"),
        (OneHot(2), torch.tensor([True, True]), r"a one-hot vector of length 2, found \[True, True\]"),
        (Unbounded((1,)), torch.tensor([torch.nan]), r"a number, found nan at index \[0\]"),
        (Bounded(0, 1, (-1,)), torch.tensor([0.0, 0.0, 2.0]), r"in \[0.0, 1.0\], found 2.0 at index \[2\]"),
    ],
)
def test_messages(spec, value, message):
    with pytest.raises(SpecError, match=message):
        spec.assert_is_in(value)


def test_type_check():
    spec = Unbounded((2,))
    spec.type_check(torch.full((9,), torch.nan))
    with pytest.raises(SpecError, match="'reward': expected dtype float32, found int64"):
        spec.type_check(torch.zeros(2, dtype=torch.int64), "reward")
    with pytest.raises(SpecError, match="value: expected dtype float32, found a numpy array"):
        spec.type_check(np.zeros(2))


def test_enumerate_refuses_what_is_too_large():
    with pytest.raises(SpecError, match="found a continuum"):
        Unbounded((1,)).enumerate()
    with pytest.raises(SpecError, match="at most 10000000 members, found 18446744073709551616"):
        Unbounded((1,), dtype=torch.int64).enumerate()
    with pytest.raises(SpecError, match="expected a fixed shape"):
        Categorical(2, (-1,)).enumerate()


def test_projection_keeps_gradients():
    value = torch.tensor([0.5, 3.0], requires_grad=True)
    Bounded(-1, 1, (2,)).project(value).sum().backward()
    assert value.grad.tolist() == [1.0, 0.0]
    with pytest.raises(SpecError, match=r"cannot project: expected shape \[2\], found \[3\]"):
        Bounded(-1, 1, (2,)).project(torch.zeros(3))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(
    "spec", [Bounded([0.0, 1.0], 2), OneHot(3, mask=[1, 0, 1]), Categorical(3, (2,)), Unbounded((2,))]
)
def test_cuda(spec):
    there = spec.to("cuda")
    assert there.device == torch.device("cuda", torch.cuda.current_device())
    value = there.rand((5,), torch.Generator("cuda").manual_seed(0))
    assert value.is_cuda
    assert there.is_in(value)
    assert spec.is_in(value)
    assert spec.project(value).is_cuda
    assert there.encode(spec.to_numpy(value[0])).is_cuda
    assert there.expand(4, *spec.shape)[torch.tensor([1, 0])].cpu() == spec.expand(2, *spec.shape)
