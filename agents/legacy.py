"""Old spellings of public names, kept so that older pages run."""

from __future__ import annotations

from typing import Any

from tensordict.nn import NormalParamExtractor
from torch import Tensor, nn

__all__ = ["NormalParamWrapper"]


class NormalParamWrapper(nn.Module):
    """Old spelling of a network followed by :class:`NormalParamExtractor`: returns ``loc`` and ``scale``.

    Args:
        operator: network whose last output dimension is twice that of the distribution.
        scale_mapping: name of what makes the second half positive, see :class:`NormalParamExtractor`.
        scale_lb: lower bound of the scale.

    Example:
        >>> import torch
        >>> loc, scale = NormalParamWrapper(nn.Linear(5, 4))(torch.randn(3, 5))
        >>> loc.shape, bool((scale > 0).all())
        (torch.Size([3, 2]), True)
    """

    def __init__(
        self,
        operator: nn.Module,
        scale_mapping: str = "biased_softplus_1.0",
        scale_lb: float = 1e-4,
    ) -> None:
        super().__init__()
        self.operator = operator
        self.extractor = NormalParamExtractor(scale_mapping=scale_mapping, scale_lb=scale_lb)  # type: ignore[arg-type]

    def forward(self, *inputs: Tensor) -> Any:
        """Return ``(loc, scale)`` for the inputs of the operator."""
        return self.extractor(self.operator(*inputs))
