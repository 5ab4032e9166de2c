"""Values of discrete actions."""

from __future__ import annotations

import torch
from torch import Tensor

from agents.returns.shapes import check_same_shape

__all__ = ["chosen_value", "greedy_value"]


def chosen_value(values: Tensor, action: Tensor) -> Tensor:
    """Return the values of the actions that were taken.

    Args:
        values: values of all actions, shape ``[*batch, n]``.
        action: indices, shape ``[*batch]`` or ``[*batch, 1]``, or one-hot vectors, shape ``[*batch, n]``.

    Returns:
        Shape ``[*batch]``.

    Raises:
        ValueError: if ``action`` has another shape.

    Example:
        >>> import torch
        >>> values = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> chosen_value(values, torch.tensor([1, 0]))
        tensor([2., 3.])
        >>> chosen_value(values, torch.tensor([[False, True], [True, False]]))
        tensor([2., 3.])
    """
    batch, found = values.shape[:-1], action.shape
    if found == batch:
        return values.gather(-1, action.long().unsqueeze(-1)).squeeze(-1)
    if found == values.shape and found[-1] != 1:
        return (values * action).sum(-1)
    if found == (*batch, 1):
        return values.gather(-1, action.long()).squeeze(-1)
    raise ValueError(
        f"chosen_value: expected action of shape {list(batch)} (indices) or {list(values.shape)} (one-hot), "
        f"found {list(found)}"
    )


def greedy_value(values: Tensor, selector: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
    """Return the values of the best actions.

    Args:
        values: values of all actions, shape ``[*batch, n]``.
        selector: what the best ones are chosen by, same shape: with the values of the network that learns this is
            double Q-learning (van Hasselt et al. 2016, https://arxiv.org/abs/1509.06461, eq. 4). ``values`` by default.
        mask: which actions are possible, bool, same shape. All of them by default.

    Returns:
        Shape ``[*batch]``.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> import torch
        >>> values, selector = torch.tensor([[1.0, 2.0, 5.0]]), torch.tensor([[8.0, 9.0, 7.0]])
        >>> greedy_value(values), greedy_value(values, selector)
        (tensor([5.]), tensor([2.]))
        >>> greedy_value(values, mask=torch.tensor([[True, False, False]]))
        tensor([1.])
    """
    selector = values if selector is None else selector
    check_same_shape("greedy_value", values=values, selector=selector)
    if mask is not None:
        check_same_shape("greedy_value", values=values, mask=mask)
        selector = selector.masked_fill(~mask, -torch.inf)
    return values.gather(-1, selector.argmax(-1, keepdim=True)).squeeze(-1)
