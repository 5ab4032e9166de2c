"""A vector of independent normals."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import constraints

from agents.nn.distributions.gaussian import HALF_LOG_TWO_PI, draw_noise, log_density
from agents.nn.distributions.lean import LeanDistribution

__all__ = ["IndependentNormal"]


class IndependentNormal(LeanDistribution):
    """A normal distribution with a diagonal covariance; the last dimension is the event.

    Args:
        loc: mean, shape ``[*batch, n]``, floating point.
        scale: standard deviation, positive, of that shape or one that broadcasts to it.

    Example:
        >>> import torch
        >>> dist = IndependentNormal(torch.zeros(4, 2), torch.ones(2))
        >>> dist.batch_shape, dist.event_shape
        (torch.Size([4]), torch.Size([2]))
        >>> dist.log_prob(torch.zeros(4, 2))
        tensor([-1.8379, -1.8379, -1.8379, -1.8379])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "loc": constraints.real_vector,
        "scale": constraints.positive,
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        if loc.shape != scale.shape:
            loc, scale = torch.broadcast_tensors(loc, scale)
        self.loc = loc
        self.scale = scale

    @property
    def batch_shape(self) -> torch.Size:
        """Shape of the parameters without their last dimension."""
        return self.loc.shape[:-1]

    @property
    def event_shape(self) -> torch.Size:
        """The last dimension of the parameters."""
        return self.loc.shape[-1:]

    @property
    def mean(self) -> Tensor:
        """The parameter ``loc``."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """The parameter ``loc``."""
        return self.loc

    @property
    def deterministic_sample(self) -> Tensor:
        """The parameter ``loc``."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """The square of ``scale``."""
        return self.scale.square()

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:  # type: ignore[override]
        """Values of shape ``[*sample_shape, *batch_shape, n]``, without a gradient."""
        loc = self.loc.detach()
        return torch.addcmul(loc, self.scale.detach(), draw_noise(loc, sample_shape))

    def rsample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:  # type: ignore[override]
        """Values of shape ``[*sample_shape, *batch_shape, n]``, differentiable in the parameters."""
        return torch.addcmul(self.loc, self.scale, draw_noise(self.loc, sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of values ``[*sample_shape, *batch_shape, n]``, without the last dimension.

        Raises:
            ValueError: if the last dimensions of ``value`` are not ``[*batch_shape, n]``.
        """
        self._check_value(value, self.loc.shape)
        return log_density(value, self.loc, self.scale).sum(-1)

    def entropy(self) -> Tensor:
        """Entropy in nats, shape ``batch_shape``."""
        return self.scale.log().sum(-1) + self.loc.shape[-1] * (0.5 + HALF_LOG_TWO_PI)
