"""What proximal policy optimisation maximises."""

from __future__ import annotations

import torch
from torch import Tensor

from agents.returns.shapes import check_same_shape

__all__ = ["clipped_surrogate", "kl_penalty", "surrogate"]


def surrogate(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor) -> Tensor:
    """Return the negated surrogate of Schulman et al. 2017 (https://arxiv.org/abs/1707.06347, eq. 6), per sample.

    ``-ratio * advantage`` with ``ratio = exp(log_prob - old_log_prob)``. Its mean is the loss.

    Args:
        log_prob: log-probabilities of the actions under the policy that learns, shape ``[*batch]``.
        old_log_prob: those under the policy that acted, same shape.
        advantage: advantages, same shape.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> import torch
        >>> surrogate(torch.tensor([0.0, 1.0]), torch.zeros(2), torch.tensor([2.0, 1.0]))
        tensor([-2.0000, -2.7183])
    """
    check_same_shape("surrogate", log_prob=log_prob, old_log_prob=old_log_prob, advantage=advantage)
    return -(log_prob - old_log_prob).exp() * advantage


def clipped_surrogate(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip_epsilon: float) -> Tensor:
    """Return the negated clipped surrogate of Schulman et al. 2017 (https://arxiv.org/abs/1707.06347, eq. 7).

    ``-min(ratio * advantage, clip(ratio, 1 - clip_epsilon, 1 + clip_epsilon) * advantage)`` per sample, where
    ``ratio = exp(log_prob - old_log_prob)``. Its mean is the loss.

    Args:
        log_prob: log-probabilities of the actions under the policy that learns, shape ``[*batch]``.
        old_log_prob: those under the policy that acted, same shape.
        advantage: advantages, same shape.
        clip_epsilon: how far the ratio may move from 1 before its gradient is cut.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> import torch
        >>> old = torch.zeros(2)
        >>> clipped_surrogate(torch.tensor([1.0, -1.0]), old, torch.tensor([1.0, 1.0]), 0.2)
        tensor([-1.2000, -0.3679])
    """
    check_same_shape("clipped_surrogate", log_prob=log_prob, old_log_prob=old_log_prob, advantage=advantage)
    ratio = (log_prob - old_log_prob).exp()
    # Clipping the ratio matters on one side only, the one that the sign of the advantage names, so the second
    # term is a constant; that halves the cost of the backward pass.
    bound = torch.add(advantage, advantage.abs(), alpha=clip_epsilon)
    return -(ratio * advantage).clamp_max(bound)


def kl_penalty(log_prob: Tensor, old_log_prob: Tensor) -> Tensor:
    """Return an estimate, per sample, of the KL divergence from the policy that acted to the one that learns.

    ``exp(x) - 1 - x`` with ``x = log_prob - old_log_prob`` (http://joschu.net/blog/kl-approx.html, estimator k3): its
    mean over samples of the policy that acted is right, and so is its gradient; it is never negative.

    Args:
        log_prob: log-probabilities of the actions under the policy that learns, shape ``[*batch]``.
        old_log_prob: those under the policy that acted, same shape.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> import torch
        >>> kl_penalty(torch.tensor([0.0, 1.0]), torch.zeros(2))
        tensor([0.0000, 0.7183])
    """
    check_same_shape("kl_penalty", log_prob=log_prob, old_log_prob=old_log_prob)
    log_ratio = log_prob - old_log_prob
    return torch.expm1(log_ratio) - log_ratio
