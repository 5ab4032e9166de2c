"""Advantages on a common scale."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["standardize"]

SMALLEST_SCALE = 1e-6


def standardize(values: Tensor) -> Tensor:
    """Bring values of any shape to mean 0 and standard deviation 1 over all elements.

    Values that hardly differ are divided by ``1e-6`` instead of their deviation; a single value becomes 0.

    Example:
        >>> import torch
        >>> standardize(torch.tensor([1.0, 2.0, 3.0]))
        tensor([-1.,  0.,  1.])
    """
    scale, mean = torch.std_mean(values, correction=min(1, values.numel() - 1))
    return (values - mean) / scale.clamp_min(SMALLEST_SCALE)
