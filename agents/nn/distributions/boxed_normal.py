"""What normals between bounds have in common."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import constraints

from agents.nn.distributions.lean import LeanDistribution

__all__ = ["BoxedNormal"]


class BoxedNormal(LeanDistribution):
    """A distribution over a box, made of normals with ``loc`` and ``scale``.

    A subclass sets these, ``low``, ``high`` and ``event_dims``.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "loc": constraints.real,
        "scale": constraints.positive,
    }
    has_rsample = True
    loc: Tensor
    scale: Tensor
    low: Any
    high: Any
    event_dims: int

    @property
    def support(self) -> Any:
        """The box between the bounds."""
        return constraints.independent(constraints.interval(self.low, self.high), self.event_dims)

    @property
    def batch_shape(self) -> torch.Size:
        """Shape of the parameters without the event dimensions."""
        return self.loc.shape[: self.loc.ndim - self.event_dims]

    @property
    def event_shape(self) -> torch.Size:
        """The last ``event_dims`` dimensions of the parameters."""
        return self.loc.shape[self.loc.ndim - self.event_dims :]
