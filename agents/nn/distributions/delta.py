"""A distribution of one value."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import constraints

from agents.nn.distributions.gaussian import sum_last
from agents.nn.distributions.lean import LeanDistribution

__all__ = ["Delta"]


class Delta(LeanDistribution):
    """All probability at one point: what makes a deterministic policy a stochastic one.

    Args:
        param: the point, shape ``[*batch, *event]``, floating point.
        atol: a value within ``atol + rtol * |param|`` of the point counts as the point.
        rtol: see ``atol``.
        event_dims: how many trailing dimensions make up one event.

    Example:
        >>> import torch
        >>> dist = Delta(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        >>> dist.log_prob(torch.tensor([[1.0, 2.0], [3.0, 5.0]]))
        tensor([inf, -inf])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {"param": constraints.real}
    has_rsample = True

    def __init__(self, param: Tensor, atol: float = 1e-6, rtol: float = 1e-6, event_dims: int = 1) -> None:
        self.param, self.atol, self.rtol = param, atol, rtol
        # The value of a scalar env has no dimensions at all.
        self.event_dims = min(event_dims, param.ndim)

    @property
    def support(self) -> Any:
        """All real numbers."""
        return constraints.independent(constraints.real, self.event_dims)

    @property
    def batch_shape(self) -> torch.Size:
        """Shape of the parameter without the event dimensions."""
        return self.param.shape[: self.param.ndim - self.event_dims]

    @property
    def event_shape(self) -> torch.Size:
        """The last ``event_dims`` dimensions of the parameter."""
        return self.param.shape[self.param.ndim - self.event_dims :]

    @property
    def deterministic_sample(self) -> Tensor:
        """The point."""
        return self.param

    @property
    def mode(self) -> Tensor:
        """The point."""
        return self.param

    @property
    def mean(self) -> Tensor:
        """The point."""
        return self.param

    @property
    def variance(self) -> Tensor:
        """Zero."""
        return torch.zeros_like(self.param)

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:  # type: ignore[override]
        """The point, ``[*sample_shape, *batch_shape, *event_shape]``, without a gradient."""
        return self.rsample(sample_shape).detach()

    def rsample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:  # type: ignore[override]
        """The point, ``[*sample_shape, *batch_shape, *event_shape]``."""
        return self.param.expand(*sample_shape, *self.param.shape) if sample_shape else self.param

    def log_prob(self, value: Tensor) -> Tensor:
        """Infinity where ``value`` is the point, minus infinity elsewhere, without the event dimensions.

        Raises:
            ValueError: if the last dimensions of ``value`` are not ``[*batch_shape, *event_shape]``.
        """
        self._check_value(value, self.param.shape)
        far = (value - self.param).abs() > self.atol + self.rtol * self.param.abs()
        misses = sum_last(far.to(self.param.dtype), self.event_dims)
        return torch.where(misses > 0, -torch.inf, torch.inf)
