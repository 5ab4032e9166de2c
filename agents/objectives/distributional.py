"""Distributions of the returns of discrete actions."""

from __future__ import annotations

import torch
from torch import Tensor

from agents.objectives.action_value import chosen_value
from agents.returns.shapes import check_same_shape

__all__ = ["chosen_distribution", "greedy_distribution"]


def chosen_distribution(values: Tensor, action: Tensor) -> Tensor:
    """The distributions ``[*batch, atoms]`` of the actions that were taken, of those of all, ``[*batch, atoms, n]``.

    Raises:
        ValueError: if ``action`` has a wrong shape, see :func:`chosen_value`.
    """
    one_hot = action.shape == (*values.shape[:-2], values.shape[-1]) and action.shape[-1] != 1
    action = action if one_hot or action.ndim == values.ndim - 2 else action.squeeze(-1)
    spread = action.unsqueeze(values.ndim - 2)
    return chosen_value(values, spread.expand(values.shape if one_hot else values.shape[:-1]))


def greedy_distribution(values: Tensor, means: Tensor, mask: Tensor | None = None) -> Tensor:
    """The distributions ``[*batch, atoms]`` of the possible actions of the highest ``means``, ``[*batch, n]``.

    Raises:
        ValueError: if ``mask`` has not the shape of ``means``.
    """
    if mask is not None:
        check_same_shape("greedy_distribution", means=means, mask=mask)
        means = means.masked_fill(~mask, -torch.inf)
    best = means.argmax(-1)[..., None, None]
    return values.gather(-1, best.expand(*values.shape[:-1], 1)).squeeze(-1)
