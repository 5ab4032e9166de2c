"""How far a policy has moved from the one that acted."""

from __future__ import annotations

from torch import Tensor

__all__ = ["approximate_kl", "clip_fraction", "effective_sample_size"]


def approximate_kl(log_ratio: Tensor) -> Tensor:
    """Return an estimate of the KL divergence from the old policy to the new one, a scalar.

    The mean of ``exp(x) - 1 - x`` over samples of the old policy, ``x`` their log-ratio new to old; never
    negative (http://joschu.net/blog/kl-approx.html, estimator k3).

    Example:
        >>> import torch
        >>> approximate_kl(torch.zeros(5))
        tensor(0.)
    """
    return (log_ratio.expm1() - log_ratio).mean()


def clip_fraction(log_ratio: Tensor, clip_epsilon: float) -> Tensor:
    """Return the share of samples whose ratio lies outside of the clipping range, a scalar.

    Example:
        >>> import torch
        >>> clip_fraction(torch.tensor([0.0, 1.0, -1.0, 0.1]), 0.2)
        tensor(0.5000)
    """
    return (log_ratio.expm1().abs() > clip_epsilon).float().mean()


def effective_sample_size(log_ratio: Tensor) -> Tensor:
    """Return how many equally weighted samples the weights ``exp(log_ratio)`` are worth, a scalar.

    ``(sum w) ** 2 / sum w ** 2`` (Kong 1992).

    Example:
        >>> import torch
        >>> effective_sample_size(torch.zeros(5))
        tensor(5.)
    """
    weights = log_ratio.flatten()
    return (2.0 * weights.logsumexp(0) - (2.0 * weights).logsumexp(0)).exp()
