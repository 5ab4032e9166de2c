"""How much entropy is worth."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["Temperature", "temperature_loss"]


def temperature_loss(log_alpha: Tensor, log_prob: Tensor, target_entropy: float) -> Tensor:
    """Return ``-log_alpha * (log_prob + target_entropy)`` per step, with a gradient in ``log_alpha`` alone.

    Haarnoja et al. 2018 (https://arxiv.org/abs/1812.05905, eq. 18), with the logarithm in place of the temperature, as
    in the code of its authors: the sign of the gradient is the same, and the temperature stays positive.

    Args:
        log_alpha: logarithm of the temperature, a scalar.
        log_prob: log-probabilities of actions, or negated entropies, any shape.
        target_entropy: wanted entropy, in nats.

    Example:
        >>> import torch
        >>> temperature_loss(torch.tensor(0.5), torch.tensor([1.0, -3.0]), -1.0)
        tensor([-0., 2.])
    """
    return -log_alpha * (log_prob.detach() + target_entropy)


class Temperature(nn.Module):
    """The weight of entropy, ``alpha = exp(log_alpha)``.

    Args:
        alpha_init: its first value, positive.
        min_alpha: lower bound.
        max_alpha: upper bound.
        fixed: whether ``log_alpha`` is a buffer, which no optimizer sees.

    Raises:
        ValueError: if ``alpha_init`` is not positive, or not within the bounds.

    Example:
        >>> Temperature(0.5)()
        tensor(0.5000)
    """

    log_alpha: Tensor

    def __init__(
        self,
        alpha_init: float = 1.0,
        min_alpha: float | None = None,
        max_alpha: float | None = None,
        fixed: bool = False,
    ) -> None:
        super().__init__()
        low, high = 0.0 if min_alpha is None else min_alpha, math.inf if max_alpha is None else max_alpha
        if not alpha_init > 0.0 or not low <= alpha_init <= high:
            raise ValueError(f"alpha_init: expected a positive number from {low} to {high}, found {alpha_init}")
        self.low, self.high = low, high
        log_alpha = torch.tensor(math.log(alpha_init))
        if fixed:
            self.register_buffer("log_alpha", log_alpha)
        else:
            self.log_alpha = nn.Parameter(log_alpha)

    def forward(self) -> Tensor:
        """The temperature, a scalar without gradient."""
        return self.log_alpha.detach().exp().clamp(self.low, self.high)
