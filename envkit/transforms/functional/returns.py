"""Returns of recorded rewards."""

from __future__ import annotations

import torch

__all__ = ["reward_to_go"]


def reward_to_go(reward: torch.Tensor, done: torch.Tensor, gamma: float = 1.0) -> torch.Tensor:
    """The discounted sum of rewards from each step to the end of its episode, or of the data.

    ``G[t] = r[t] + gamma * G[t + 1]``, without the second term where step ``t`` was the last of its episode.

    Args:
        reward: shape ``[*batch, time, 1]``.
        done: whether step ``t`` was the last, a boolean of the same shape.
        gamma: the discount.

    Examples:
        >>> reward_to_go(torch.ones(4, 1), torch.tensor([[False], [True], [False], [False]]), gamma=0.5).squeeze(-1)
        tensor([1.5000, 1.0000, 1.5000, 1.0000])
    """
    out = torch.empty_like(reward)
    rest = torch.zeros_like(reward[..., 0, :])
    for t in reversed(range(reward.shape[-2])):
        rest = reward[..., t, :] + gamma * rest.masked_fill(done[..., t, :], 0.0)
        out[..., t, :] = rest
    return out
