"""Arithmetic shared by the distributions built on independent normals."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["HALF_LOG_TWO_PI", "draw_noise", "log_density", "sum_last"]

HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


def log_density(value: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """Elementwise log-density of ``Normal(loc, scale)`` at ``value``, up to broadcasting.

    Example:
        >>> import torch
        >>> log_density(torch.zeros(1), torch.zeros(1), torch.ones(1))
        tensor([-0.9189])
    """
    standardised = (value - loc) / scale
    return -HALF_LOG_TWO_PI - torch.addcmul(scale.log(), standardised, standardised, value=0.5)


def draw_noise(loc: Tensor, sample_shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise of shape ``[*sample_shape, *loc.shape]``, of the dtype and device of ``loc``.

    Example:
        >>> import torch
        >>> draw_noise(torch.zeros(3), (2,)).shape
        torch.Size([2, 3])
    """
    if sample_shape:
        return torch.randn((*sample_shape, *loc.shape), dtype=loc.dtype, device=loc.device)
    return torch.randn_like(loc)


def sum_last(values: Tensor, dims: int) -> Tensor:
    """Sum over the last ``dims`` dimensions; none of them when ``dims`` is 0.

    Example:
        >>> import torch
        >>> sum_last(torch.ones(4, 3), 1)
        tensor([3., 3., 3., 3.])
    """
    if dims == 1:
        return values.sum(-1)
    return values.flatten(-dims).sum(-1) if dims else values
