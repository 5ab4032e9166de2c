"""Running mean and variance, of tensors and of numpy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

__all__ = ["update_moments"]


def update_moments(
    weight: Any, mean: Any, spread: Any, value: Any, *, batch_dims: int, decay: float = 1.0, mask: Any = None
) -> None:
    """Takes a batch of values into a running mean and variance, in place.

    All that was known before counts ``decay`` times as much as it did. Distances are taken from the old mean, so that
    no precision is lost to a large one (Chan, Golub and LeVeque, 1983, "Algorithms for computing the sample variance"):
    with ``d = value - mean`` and the new weight ``W``, the mean moves by ``m = sum(d) / W``, and the spread becomes
    ``decay * spread + sum(d ** 2) - W * m ** 2``.

    Args:
        weight: how many values are known, discounted; float64 of shape ``[*feature]``.
        mean: their mean; likewise.
        spread: the sum of their squared distances from it: the variance times ``weight``; likewise.
        value: new values, at least one, of shape ``[*batch, *feature]``.
        batch_dims: the number of dimensions of ``batch``.
        decay: the discount, in (0, 1].
        mask: which values count, a boolean that broadcasts to ``value``; all by default.

    Examples:
        >>> weight, mean, spread = np.zeros((3, 1))
        >>> update_moments(weight, mean, spread, np.array([[1.0], [3.0]]), batch_dims=1)
        >>> weight.item(), mean.item(), (spread / weight).item()
        (2.0, 2.0, 1.0)
    """
    xp: Any = np if isinstance(value, np.ndarray) else torch
    dims = tuple(range(batch_dims))
    weight *= decay
    if mask is None:
        if not weight.any():
            mean[...] = value[(0,) * batch_dims]
        weight += value.size // max(mean.size, 1) if xp is np else value.numel() // max(mean.numel(), 1)
        away, known = value - mean, weight
    else:
        mask = xp.broadcast_to(mask, value.shape)
        weight += _sum(mask, dims)
        away, known = xp.where(mask, value - mean, 0.0), weight + (weight == 0)
    move = _sum(away, dims) / known
    mean += move
    away *= away
    spread *= decay
    spread += _sum(away, dims)
    move *= move
    move *= weight
    spread -= move


def _sum(value: Any, dims: tuple[int, ...]) -> Any:
    if not dims:
        return value
    return np.add.reduce(value, dims) if isinstance(value, np.ndarray) else torch.sum(value, dims)
