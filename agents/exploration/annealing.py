"""A number that moves along a line as an agent gathers experience."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["LinearAnnealing"]


class LinearAnnealing(nn.Module):
    """Goes from ``start`` to ``end`` in ``num_steps`` steps, and stays there.

    How far it is, is a buffer: it is saved, resumed and published with the weights of the policy it is part of. The
    value is computed from that count, so that many small steps end exactly where one large step does.

    Args:
        start: value before the first step.
        end: value after ``num_steps`` steps.
        num_steps: how many steps it takes, at least 1.

    Raises:
        ValueError: if ``num_steps`` is not positive.

    Example:
        >>> eps = LinearAnnealing(1.0, 0.2, 100)
        >>> eps.step(50)
        >>> eps.value
        0.6
    """

    count: torch.Tensor

    def __init__(self, start: float, end: float, num_steps: int) -> None:
        super().__init__()
        if num_steps < 1:
            raise ValueError(f"annealing_num_steps: expected at least 1, found {num_steps}")
        self.start, self.end, self.num_steps = float(start), float(end), num_steps
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    @property
    def value(self) -> float:
        """Where the line is now."""
        done = min(self.count.item() / self.num_steps, 1.0)
        return self.start + done * (self.end - self.start)

    def step(self, frames: int = 1) -> None:
        """Go on by ``frames`` steps.

        Raises:
            ValueError: if ``frames`` is negative.
        """
        if frames < 0:
            raise ValueError(f"step: expected a number of frames of at least 0, found {frames}")
        self.count += frames

    def extra_repr(self) -> str:
        """The line."""
        return f"start={self.start}, end={self.end}, num_steps={self.num_steps}"
