"""One-step returns."""

from __future__ import annotations

import torch
from torch import Tensor

from agents.returns.shapes import check_same_shape

__all__ = ["td0", "td0_target"]


def td0_target(reward: Tensor, next_value: Tensor, terminated: Tensor, gamma: float | Tensor) -> Tensor:
    """Return ``reward + gamma * (1 - terminated) * next_value``, the target of TD(0) and of Q-learning.

    Sutton 1988 (Machine Learning 3). A truncated step is not terminated: its next value counts. What stands as next
    value of a terminated step is ignored, even if it is not finite.

    Args:
        reward: rewards, any shape; for transitions of n steps, the discounted sum of theirs.
        next_value: values of the true observations after the steps, same shape.
        terminated: whether the env's rules ended the episode, bool, same shape.
        gamma: discount factor, or one for each step (``gamma ** n``), same shape.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> import torch
        >>> terminated = torch.tensor([False, True])
        >>> td0_target(torch.ones(2), torch.tensor([4.0, 4.0]), terminated, 0.5)
        tensor([3., 1.])
    """
    check_same_shape("td0_target", reward=reward, next_value=next_value, terminated=terminated)
    if isinstance(gamma, Tensor):
        check_same_shape("td0_target", reward=reward, gamma=gamma)
    return torch.where(terminated, reward, reward + gamma * next_value)


def td0(
    reward: Tensor, value: Tensor, next_value: Tensor, terminated: Tensor, *, gamma: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Return advantages ``target - value`` and the targets of :func:`td0_target`, of any shape, without gradient.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> import torch
        >>> going = torch.zeros(2, dtype=torch.bool)
        >>> td0(torch.ones(2), torch.tensor([3.0, 1.0]), torch.full((2,), 4.0), going, gamma=0.5)
        (tensor([0., 2.]), tensor([3., 3.]))
    """
    check_same_shape("td0", reward=reward, value=value)
    with torch.no_grad():
        target = td0_target(reward, next_value, terminated, gamma)
        return target - value, target
