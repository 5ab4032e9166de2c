"""Random tensors within bounds; every function honours ``generator`` and makes no loop over elements."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["between", "normal", "random_bits", "uniform_integers"]

_INT64_MIN = torch.iinfo(torch.int64).min


def random_bits(size: torch.Size, device: torch.device, generator: torch.Generator | None) -> Tensor:
    """Return int64 numbers with 64 independent random bits each."""
    return torch.empty(size, dtype=torch.int64, device=device).random_(_INT64_MIN, None, generator=generator)


def uniform_integers(low: Tensor, high: Tensor, size: torch.Size, generator: torch.Generator | None) -> Tensor:
    """Draw exactly uniform integers from ``low`` to ``high`` inclusive, for any int64 bounds.

    Each draw keeps as many random bits as the width ``high - low`` has and is repeated until it is at most
    the width, which takes less than two tries on average. Arithmetic modulo 2**64 makes it right for the full
    range too.
    """
    width = high - low
    keep = width
    for shift in (1, 2, 4, 8, 16, 32):
        keep = keep | (keep >> shift)
    offset = random_bits(size, low.device, generator) & keep
    # Flipping the sign bit makes signed comparison compare unsigned numbers.
    unsigned_width = width ^ _INT64_MIN
    while bool((over := (offset ^ _INT64_MIN) > unsigned_width).any()):
        offset = torch.where(over, random_bits(size, low.device, generator) & keep, offset)
    return low + offset


def normal(size: torch.Size, dtype: torch.dtype, device: torch.device, generator: torch.Generator | None) -> Tensor:
    """Draw from the standard normal distribution."""
    return torch.randn(size, dtype=dtype, device=device, generator=generator)


def between(low: Tensor, high: Tensor, size: torch.Size, generator: torch.Generator | None) -> Tensor:
    """Draw floats between bounds of which any may be infinite, as Gymnasium's ``Box.sample`` does.

    Two finite bounds: uniform. One: the bound plus (or minus) an exponential variable of mean 1. None:
    standard normal.
    """
    u = torch.rand(size, dtype=low.dtype, device=low.device, generator=generator)
    below, above = low.isfinite(), high.isfinite()
    floor, ceiling = torch.where(below, low, 0.0), torch.where(above, high, 0.0)
    # Not floor + u * (ceiling - floor): the difference of two finite bounds may overflow.
    value = floor * (1 - u) + ceiling * u
    if not bool((below & above).all()):
        step = -torch.log1p(-u)
        open_ended = torch.where(below, floor + step, ceiling - step)
        value = torch.where(below & above, value, open_ended)
        free = normal(size, low.dtype, low.device, generator)
        value = torch.where(below | above, value, free)
    # Rounding may leave the interval by one unit in the last place.
    return value.clamp(low, high)
