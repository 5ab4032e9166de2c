"""Normalisation by known statistics, of tensors and of numpy arrays."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch

__all__ = ["affine", "standardize"]

Array = TypeVar("Array", torch.Tensor, np.ndarray)


def affine(value: Array, loc: Array, scale: Array) -> Array:
    """``value * scale + loc``, the inverse of :func:`standardize`.

    Two operations, each rounded: fused into one they would give other bits on other processors.

    Args:
        value: any shape.
        loc: the offset; broadcasts to ``value``.
        scale: the factor; broadcasts to ``value``.

    Examples:
        >>> affine(torch.tensor([0.0, 1.0]), torch.tensor(1.0), torch.tensor(2.0))
        tensor([1., 3.])
    """
    return value * scale + loc


def standardize(value: Array, loc: Array, scale: Array) -> Array:
    """``(value - loc) / scale``: mean 0 and standard deviation 1, for the mean ``loc`` and the deviation ``scale``.

    Args:
        value: any shape.
        loc: the mean; broadcasts to ``value``.
        scale: the standard deviation, not 0; broadcasts to ``value``.

    Examples:
        >>> standardize(np.array([1.0, 3.0]), np.array(1.0), np.array(2.0)).tolist()
        [0.0, 1.0]
    """
    return (value - loc) / scale
