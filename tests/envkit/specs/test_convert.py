from __future__ import annotations

import numpy as np
import pytest
import torch

from envkit.errors import SpecError
from envkit.specs.convert import as_tensor, cast_exact, fit_shape, numpy_dtype, to_array, torch_dtype

CPU = torch.device("cpu")


def test_as_tensor_copies_all_memory_layouts():
    frozen = np.arange(3.0)
    frozen.flags.writeable = False
    for array in (np.arange(6).reshape(2, 3).T, np.arange(3)[::-1], frozen, np.float32(2)):
        tensor = as_tensor(array)
        assert np.array_equal(tensor.numpy(), array)
        assert tensor.is_contiguous()
        assert not np.shares_memory(tensor.numpy(), array)
    assert as_tensor(2**64 - 1).dtype is torch.uint64
    assert as_tensor([torch.tensor(1.0), 2.0]).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("value", ["text", None, [[1], [1, 2]], {"a": 1}, 2**70, np.longdouble(1)])
def test_as_tensor_refuses(value):
    with pytest.raises(SpecError, match="expected numbers, found"):
        as_tensor(value)


@pytest.mark.parametrize(
    ("value", "dtype", "culprit"),
    [
        ([0, 300], torch.uint8, "300"),
        ([-1], torch.uint8, "-1"),
        ([1.0, 1.5], torch.int64, "1.5"),
        ([float("nan")], torch.int64, "nan"),
        ([2], torch.bool, "2"),
        ([1j], torch.float32, "1j"),
        ([2**63 - 1], torch.int32, str(2**63 - 1)),
    ],
)
def test_cast_exact_refuses_loss(value, dtype, culprit):
    with pytest.raises(SpecError, match=f"{str(dtype)[6:]} can hold, found {culprit}"):
        cast_exact(torch.tensor(value), dtype, CPU)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [([1.0, 2.0], torch.int8), ([0, 1], torch.bool), ([0.1], torch.float16), ([1], torch.uint64)],
)
def test_cast_exact_keeps_values(value, dtype):
    cast = cast_exact(torch.tensor(value), dtype, CPU)
    assert cast.dtype is dtype
    assert cast.to(torch.float64).tolist() == pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize(
    ("found", "expected"), [((), (1,)), ((1, 1), ()), ((1, 3), (3,)), ((3, 1), (1, 3, 1)), ((3, 5), (3, -1))]
)
def test_fit_shape(found, expected):
    shape = fit_shape(torch.zeros(found), torch.Size(expected)).shape
    assert all(e in (-1, s) for s, e in zip(shape, expected, strict=True))


@pytest.mark.parametrize(("found", "expected"), [((2, 3), (3, 2)), ((3,), ()), ((5, 3), (3,)), ((2, 5), (3, -1))])
def test_fit_shape_refuses(found, expected):
    with pytest.raises(SpecError, match=rf"found \[{', '.join(map(str, found))}\]"):
        fit_shape(torch.zeros(found), torch.Size(expected))


def test_to_array():
    value = torch.arange(3.0, requires_grad=True)
    array = to_array(value)
    array[0] = 7
    assert value[0] == 0
    assert to_array(torch.ones(2, dtype=torch.bfloat16)).dtype == np.float32


def test_dtypes():
    assert torch_dtype(np.float64) is torch.float64
    assert numpy_dtype(torch.uint16) == np.uint16
    with pytest.raises(SpecError, match="found <U3"):
        torch_dtype(np.dtype("U3"))
    with pytest.raises(SpecError, match="found bfloat16"):
        numpy_dtype(torch.bfloat16)
