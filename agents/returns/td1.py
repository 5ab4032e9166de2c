"""Returns of as many steps as there are."""

from __future__ import annotations

from torch import Tensor

from agents.returns.td_lambda import td_lambda, td_lambda_target

__all__ = ["td1", "td1_target"]


def td1_target(reward: Tensor, next_value: Tensor, done: Tensor, terminated: Tensor, *, gamma: float) -> Tensor:
    """Return the discounted rewards up to the end of the episode, or of the data, and the value that follows.

    Sutton and Barto 2018, eq. 12.8: :func:`td_lambda_target` with ``lmbda=1``, arguments and errors included. A
    terminated episode has no value that follows; a truncated one has.

    Example:
        >>> import torch
        >>> reward, value = torch.ones(2, 1), torch.full((2, 1), 4.0)
        >>> going = torch.zeros(2, 1, dtype=torch.bool)
        >>> td1_target(reward, value, going, going, gamma=0.5).squeeze(-1)
        tensor([2.5000, 3.0000])
    """
    return td_lambda_target(reward, next_value, done, terminated, gamma=gamma, lmbda=1.0)


def td1(
    reward: Tensor, value: Tensor, next_value: Tensor, done: Tensor, terminated: Tensor, *, gamma: float
) -> tuple[Tensor, Tensor]:
    """Return advantages ``target - value`` and the targets of :func:`td1_target`, shape ``[*batch, T, 1]``."""
    return td_lambda(reward, value, next_value, done, terminated, gamma=gamma, lmbda=1.0)
