"""Arithmetic that works for every dtype.

torch compares, clamps and samples only the common dtypes. :func:`widen` maps any other one to a common dtype
with the same order, and :func:`narrow` maps back, so that the specs need no case of their own for
``bool``, ``uint16`` to ``uint64`` and the 8-bit floats.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["is_integral", "limits", "narrow", "to_integers", "widen"]

_INT64_MIN = torch.iinfo(torch.int64).min
_INT64_MAX = torch.iinfo(torch.int64).max
# The largest doubles that convert to int64 and uint64 without overflow.
_FLOAT_INT64_MAX = float(2**63 - 1024)
_FLOAT_UINT64_MAX = float(2**64 - 2048)

_WIDE: dict[torch.dtype, torch.dtype] = {
    torch.bool: torch.uint8,
    torch.uint16: torch.int64,
    torch.uint32: torch.int64,
    torch.uint64: torch.int64,
    **{
        getattr(torch, name): torch.float32
        for name in dir(torch)
        if name.startswith("float8_") and isinstance(getattr(torch, name), torch.dtype)
    },
}


def wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of ``widen(tensor)``."""
    return _WIDE.get(dtype, dtype)


def is_integral(dtype: torch.dtype) -> bool:
    """Whether ``dtype`` holds integers or booleans.

    >>> is_integral(torch.bool), is_integral(torch.float16)
    (True, False)
    """
    return not (dtype.is_floating_point or dtype.is_complex)


def limits(dtype: torch.dtype) -> tuple[int, int]:
    """Return the smallest and largest value of an integer dtype (or bool).

    >>> limits(torch.uint8)
    (0, 255)
    """
    if dtype is torch.bool:
        return 0, 1
    info = torch.iinfo(dtype)
    return info.min, info.max


def widen(value: Tensor) -> Tensor:
    """Map to a dtype that torch computes with, keeping the order of values.

    Above the range of int64, ``uint64`` is moved down by 2**63 (the sign bit of the same 64 bits is flipped).
    """
    dtype = value.dtype
    if dtype not in _WIDE:
        return value
    if dtype is torch.uint64:
        return value.view(torch.int64) ^ _INT64_MIN
    return value.to(_WIDE[dtype])


def narrow(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Map back from :func:`widen` to ``dtype``."""
    if dtype is torch.uint64:
        return (value ^ _INT64_MIN).view(torch.uint64)
    return value.to(dtype)


def to_integers(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Round any real tensor to integers, in the widened form of the integer ``dtype``.

    NaN becomes 0; what int64 (for uint64: uint64) cannot hold becomes its nearest limit. The result is meant
    to be clamped further before :func:`narrow`.
    """
    if value.dtype is dtype:
        return widen(value)
    if value.is_complex():
        value = value.real
    unsigned = dtype is torch.uint64
    if value.is_floating_point():
        real = value.detach().to(torch.float64).nan_to_num(0.0).round()
        if unsigned:
            return widen(real.clamp(0.0, _FLOAT_UINT64_MAX).to(torch.uint64))
        return real.clamp(float(_INT64_MIN), _FLOAT_INT64_MAX).to(torch.int64)
    if value.dtype is torch.uint64:
        bits = value.view(torch.int64)
        return torch.where(bits < 0, _INT64_MAX, bits)
    integers = value.to(torch.int64)
    return integers.clamp(min=0) ^ _INT64_MIN if unsigned else integers
