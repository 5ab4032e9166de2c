"""A distribution of one value, squashed into a box."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from agents.nn.distributions.delta import Delta

__all__ = ["TanhDelta"]


class TanhDelta(Delta):
    """All probability at ``low + (high - low) / 2 * (tanh(param) + 1)``.

    Args:
        param: the point before squashing, shape ``[*batch, *event]``, floating point.
        low: lower bound, a number or a tensor that broadcasts to ``param``.
        high: upper bound, likewise.
        event_dims: how many trailing dimensions make up one event.
        atol: see :class:`Delta`.
        rtol: see :class:`Delta`.

    Raises:
        ValueError: if numbers have ``low >= high``.

    Example:
        >>> import torch
        >>> TanhDelta(torch.tensor([0.0, 100.0, -100.0]), low=-2.0, high=4.0).mode
        tensor([ 1.,  4., -2.])
    """

    def __init__(
        self,
        param: Tensor,
        low: float | Tensor = -1.0,
        high: float | Tensor = 1.0,
        event_dims: int = 1,
        atol: float = 1e-6,
        rtol: float = 1e-6,
    ) -> None:
        if not isinstance(low, Tensor) and not isinstance(high, Tensor) and not low < high:
            raise ValueError(f"TanhDelta: expected low < high, found low={low} and high={high}")
        half_width = (high - low) / 2
        super().__init__(torch.tanh(param) * half_width + (low + half_width), atol, rtol, event_dims)
        self.low, self.high = low, high

    @property
    def support(self) -> Any:
        """The box between the bounds."""
        return constraints.independent(constraints.interval(self.low, self.high), self.event_dims)
