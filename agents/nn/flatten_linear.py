"""A linear layer on inputs of any shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

__all__ = ["FlattenLinear"]


class FlattenLinear(nn.Linear):
    """Flattens the last dimensions of the input, and applies a linear layer.

    Shapes: input ``[*batch, *in_features]``, output ``[*batch, *out_features]``.

    Args:
        in_features: shape of one input, or its width.
        out_features: shape of one output, or its width.
        **kwargs: further arguments of :class:`torch.nn.Linear`.

    Raises:
        ValueError: if a shape has no dimension, or one below 1; on a call, if the input has another shape.

    Example:
        >>> import torch
        >>> layer = FlattenLinear([3, 8, 8], 16)
        >>> layer(torch.zeros(5, 3, 8, 8)).shape, layer(torch.zeros(3, 8, 8)).shape
        (torch.Size([5, 16]), torch.Size([16]))
        >>> FlattenLinear(4, [2, 3])(torch.zeros(5, 4)).shape
        torch.Size([5, 2, 3])
    """

    def __init__(self, in_features: int | Sequence[int], out_features: int | Sequence[int], **kwargs: Any) -> None:
        self.in_shape, self.out_shape = _shape("in_features", in_features), _shape("out_features", out_features)
        super().__init__(math.prod(self.in_shape), math.prod(self.out_shape), **kwargs)

    def forward(self, input: Tensor) -> Tensor:
        """The product, with the shape of an output."""
        lead = input.ndim - len(self.in_shape)
        if lead < 0 or tuple(input.shape[lead:]) != self.in_shape:
            raise ValueError(
                f"FlattenLinear: expected shape [*batch, {str(list(self.in_shape))[1:-1]}], found {list(input.shape)}"
            )
        out = super().forward(input.flatten(lead))
        return out if len(self.out_shape) == 1 else out.unflatten(-1, self.out_shape)


def _shape(name: str, features: int | Sequence[int]) -> tuple[int, ...]:
    shape = (features,) if isinstance(features, int) else tuple(features)
    if not shape or not all(isinstance(size, int) and size > 0 for size in shape):
        raise ValueError(f"FlattenLinear: {name}: expected a positive width or a shape of such, found {features}")
    return shape
