"""Exact conversion between Python numbers, numpy arrays and tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from envkit.errors import SpecError
from envkit.specs.numeric import is_integral
from envkit.specs.shapes import describe_shape, matches

__all__ = ["as_tensor", "cast_exact", "describe_dtype", "fit_shape", "numpy_dtype", "to_array", "torch_dtype"]


def describe_dtype(dtype: torch.dtype) -> str:
    """Print a dtype without its package name."""
    return str(dtype).removeprefix("torch.")


def torch_dtype(dtype: np.dtype | type) -> torch.dtype:
    """Return the torch dtype that holds the same values as a numpy dtype.

    Raises:
        SpecError: if torch has none.
    """
    try:
        return torch.from_numpy(np.empty(0, dtype)).dtype
    except (TypeError, ValueError) as error:
        raise SpecError(f"dtype: expected a numeric dtype that torch knows, found {np.dtype(dtype)}") from error


def numpy_dtype(dtype: torch.dtype) -> np.dtype:
    """Return the numpy dtype that holds the same values as a torch dtype.

    Raises:
        SpecError: if numpy has none.
    """
    try:
        return torch.empty(0, dtype=dtype).numpy().dtype
    except TypeError as error:
        raise SpecError(f"dtype: expected a dtype that numpy knows, found {describe_dtype(dtype)}") from error


def as_tensor(value: Any) -> Tensor:
    """Copy a number, a (nested) sequence of numbers or an array to a tensor that shares no memory with it.

    A tensor is returned as it is.

    Raises:
        SpecError: if ``value`` is not numeric.
    """
    if isinstance(value, Tensor):
        return value
    try:
        array = np.array(value, order="C")
        if array.dtype.char in "QL":
            # Large Python integers: the same 64 bits have two names in numpy, of which torch knows one.
            array = array.astype(np.uint64)
        return torch.from_numpy(array)
    except (TypeError, ValueError) as error:
        raise SpecError(f"expected numbers, found {type(value).__name__} {_shorten(value)}") from error


def cast_exact(value: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Cast without losing anything but float precision.

    Raises:
        SpecError: if a fraction, a NaN, a complex part or a number out of range would be lost.
    """
    if value.dtype is dtype:
        return value.to(device) if value.device != device else value
    if value.dtype.is_complex and not dtype.is_complex:
        lost = value.imag != 0
        cast = value.real.to(device, dtype)
    else:
        cast = value.to(device, dtype)
        if not is_integral(dtype):
            return cast
        lost = cast.to(value.device, value.dtype) != value
    if bool(lost.any()):
        raise SpecError(f"expected numbers that {describe_dtype(dtype)} can hold, found {value[lost][0].item()}")
    return cast


def fit_shape(value: Tensor, shape: torch.Size) -> Tensor:
    """Return ``value`` with the given shape, where dimensions of size 1 may be added or dropped.

    Raises:
        SpecError: if the other sizes differ.
    """
    found = value.shape
    if found == shape or (len(found) == len(shape) and matches(found, shape)):
        return value
    if -1 not in shape and [d for d in found if d != 1] == [d for d in shape if d != 1]:
        return value.reshape(shape)
    raise SpecError(f"expected shape {describe_shape(shape)}, found {describe_shape(found)}")


def to_array(value: Tensor) -> np.ndarray:
    """Copy a tensor to numpy; dtypes that numpy lacks become float32."""
    value = value.detach().cpu()
    try:
        return value.numpy().copy()
    except TypeError:
        return value.to(torch.float32).numpy()


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
