"""The loss whose gradient is that of the expected return."""

from __future__ import annotations

from torch import Tensor

from agents.returns.shapes import check_same_shape

__all__ = ["policy_gradient_loss"]


def policy_gradient_loss(log_prob: Tensor, advantage: Tensor) -> Tensor:
    """Return ``-log_prob * advantage`` per sample, the advantage without gradient.

    The gradient of its mean over steps of the policy is that of the expected return, negated (Williams 1992, Machine
    Learning 8; Sutton et al. 2000).

    Args:
        log_prob: log-probabilities of the actions, shape ``[*batch]``.
        advantage: advantages, or returns, same shape.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> import torch
        >>> policy_gradient_loss(torch.tensor([-1.0, -2.0]), torch.tensor([3.0, -1.0]))
        tensor([ 3., -2.])
    """
    check_same_shape("policy_gradient_loss", log_prob=log_prob, advantage=advantage)
    return -log_prob * advantage.detach()
