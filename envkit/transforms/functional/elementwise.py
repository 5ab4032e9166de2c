"""Changes of single numbers, of tensors and of numpy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch

__all__ = ["clip", "expand_to", "sign", "weighted_sum"]

Array = TypeVar("Array", torch.Tensor, np.ndarray)


def clip(value: Array, low: float | None, high: float | None) -> Array:
    """The nearest numbers between ``low`` and ``high``; None stands for no bound, but not for both.

    Examples:
        >>> clip(torch.tensor([-3.0, 0.5]), -1.0, None)
        tensor([-1.0000,  0.5000])
    """
    out: Any = value.clip(low, high)  # type: ignore[arg-type]
    return out


def sign(value: Array) -> Array:
    """-1, 0 or 1.

    Examples:
        >>> sign(np.array([-3.0, 0.0])).tolist()
        [-1.0, 0.0]
    """
    out: Any = value.sign() if isinstance(value, torch.Tensor) else np.sign(value)
    return out


def weighted_sum(value: Array, weights: Sequence[float]) -> Array:
    """The sum over the last dimension, each place times its weight, in their order.

    Args:
        value: shape ``[*, n]``.
        weights: ``n`` numbers.

    Returns:
        Shape ``[*, 1]``.

    Examples:
        >>> weighted_sum(torch.tensor([[1.0, 2.0]]), [1.0, 10.0])
        tensor([[21.]])
    """
    total = value[..., :1] * weights[0]
    for i, weight in enumerate(weights[1:], 1):
        total = total + value[..., i : i + 1] * weight
    return total


def expand_to(value: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """``value`` in another shape: dimensions of size 1 are added on the right, then expanded.

    Args:
        value: shape ``[*batch]`` or ``[*batch, 1]``.
        shape: ``[*batch, *more]``.

    Raises:
        RuntimeError: the shapes do not fit.

    Examples:
        >>> expand_to(torch.tensor([[True], [False]]), (2, 3, 1)).shape
        torch.Size([2, 3, 1])
    """
    return value.reshape((*value.shape, *(1,) * (len(shape) - value.ndim))).expand(tuple(shape))
