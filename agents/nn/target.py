"""Networks that follow others."""

from __future__ import annotations

import copy

import torch
from torch import nn

from agents.nn.flat import flat_parameter

__all__ = ["TargetNetwork"]


class TargetNetwork:
    """A copy of a network that follows it slowly (Mnih et al. 2015, Lillicrap et al. 2016).

    Args:
        source: the network.

    Attributes:
        module: the copy, whose parameters have no gradients.

    Examples:
        >>> source = nn.Linear(1, 1, bias=False)
        >>> target = TargetNetwork(source)
        >>> _ = nn.init.constant_(source.weight, 1.0), nn.init.constant_(target.module.weight, 0.0)
        >>> target.follow(0.25)
        >>> target.module.weight.item()
        0.25
    """

    def __init__(self, source: nn.Module) -> None:
        self.source = source
        self.module = copy.deepcopy(source)
        self._flat = flat_parameter(self.module.parameters()).detach()
        self.module.requires_grad_(False)
        self._pairs = list(zip(self.module.buffers(), source.buffers(), strict=True))

    @torch.no_grad()
    def follow(self, tau: float = 1.0) -> None:
        """Moves the copy towards the network, by the share ``tau`` of the way; buffers are copied."""
        flat = torch.cat([parameter.detach().flatten() for parameter in self.source.parameters()])
        self._flat.lerp_(flat, tau)
        for own, other in self._pairs:
            own.copy_(other)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """That of the copy."""
        return self.module.state_dict()

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Takes over what :meth:`state_dict` returned."""
        self.module.load_state_dict(state)
