"""Monte Carlo returns."""

from __future__ import annotations

from torch import Tensor

from agents.returns.recursion import as_columns, as_tensors, carry_unless, solve_recursion

__all__ = ["reward_to_go"]


def reward_to_go(reward: Tensor, done: Tensor, *, gamma: float) -> Tensor:
    """Return the discounted sum of the rewards from each step to the end of its episode, or of the data.

    ``G_t = reward_t + gamma * (1 - done_t) * G_{t+1}``, without any estimate of what follows the last step:
    :func:`td1_target` has one.

    Args:
        reward: rewards, floating point, shape ``[*batch, T, 1]``: time is the last dimension but one.
        done: whether the episode ended with the step, bool, same shape.
        gamma: discount factor.

    Returns:
        A tensor of the shape of ``reward``, without gradient.

    Raises:
        ValueError: if the shapes differ or are not ``[*batch, T, 1]``, or ``done`` is not bool.

    Example:
        >>> import torch
        >>> done = torch.tensor([[False], [True], [False]])
        >>> reward_to_go(torch.ones(3, 1), done, gamma=0.5).squeeze(-1)
        tensor([1.5000, 1.0000, 1.0000])
    """
    xp, (reward, done) = as_columns("reward_to_go", {"reward": reward}, {"done": done})
    sums = reward + 0.0  # a copy in the same layout of memory
    solve_recursion(xp, sums, carry_unless(xp, done, gamma, sums))
    (returns,) = as_tensors(sums)
    return returns
