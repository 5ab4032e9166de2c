"""Standard deviations that do not depend on the input."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from envkit.core.inlined_layers import on_tensors

__all__ = ["FreeDeviation"]


class FreeDeviation(nn.Module):
    """The mean of a normal distribution from a network, its standard deviation from a parameter.

    Args:
        net: from inputs to means, ``[*batch, size]``.
        size: number of means; or a shape, ``[*batch, *size]``, for deviations that differ along all of it.
        log_std: first value of the logarithms of the standard deviations.

    Examples:
        >>> loc, scale = FreeDeviation(nn.Linear(3, 2), 2, log_std=0.0)(torch.ones(5, 3))
        >>> loc.shape, scale[0]
        (torch.Size([5, 2]), tensor([1., 1.], grad_fn=<SelectBackward0>))
    """

    def __init__(self, net: nn.Module, size: int | Sequence[int], log_std: float = 0.0) -> None:
        super().__init__()
        self.net = net
        self.log_std = nn.Parameter(torch.full((size,) if isinstance(size, int) else size, float(log_std)))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Means and standard deviations, ``[*batch, size]`` each."""
        loc = self.net(*inputs)
        return loc, self.log_std.exp().expand_as(loc)

    def on_tensors(self) -> Callable[..., tuple[Tensor, Tensor]]:
        """The same without the price of calling modules; see ``on_tensors`` in ``envkit/core/inlined_layers.py``."""
        net = on_tensors(self.net)

        def run(*inputs: Tensor) -> tuple[Tensor, Tensor]:
            loc = net(*inputs)
            return loc, self.log_std.exp().expand_as(loc)

        return run
