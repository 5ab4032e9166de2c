"""One network out of an ensemble of one."""

from __future__ import annotations

from torch import Tensor, nn

from agents.nn.ensemble import Ensemble

__all__ = ["OnlyMember"]


class OnlyMember(nn.Module):
    """An :class:`Ensemble` of one member as a plain network, for its quick forward and backward.

    Args:
        ensemble: the ensemble.

    Raises:
        ValueError: it has several members.

    Examples:
        >>> import torch
        >>> OnlyMember(Ensemble(1, in_features=3, out_features=2))(torch.ones(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(self, ensemble: Ensemble) -> None:
        super().__init__()
        if ensemble.num_members != 1:
            raise ValueError(f"OnlyMember: expected an ensemble of one member, found {ensemble.num_members}")
        self.ensemble = ensemble

    def forward(self, *inputs: Tensor) -> Tensor:
        """Outputs, ``[*batch, out_features]``."""
        return self.ensemble(*inputs)[0]
