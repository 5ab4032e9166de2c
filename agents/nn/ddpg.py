"""The networks of DDPG (Lillicrap et al. 2016, https://arxiv.org/abs/1509.02971)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from agents.nn.convnet import ConvNet
from agents.nn.mlp import MLP

__all__ = ["DdpgCnnActor", "DdpgCnnQNet", "DdpgMlpActor", "DdpgMlpQNet"]

Kwargs = dict[str, Any]
Device = torch.device | str | int | None
# Section 7 of the paper: bounds of the last layer's weights, which keep the first outputs near zero.
LAST_LAYER, LAST_LAYER_PIXELS = 3e-3, 3e-4


class DdpgMlpActor(nn.Module):
    """An :class:`MLP` from observations to actions, with hidden layers of 400 and 300 and ELU.

    Args:
        action_dim: size of the action.
        mlp_net_kwargs: arguments of the MLP, over those.
        device: device of the parameters.

    Example:
        >>> import torch
        >>> DdpgMlpActor(2)(torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(self, action_dim: int, mlp_net_kwargs: Kwargs | None = None, device: Device = None) -> None:
        super().__init__()
        self.mlp = _mlp(action_dim, [400, 300], mlp_net_kwargs, device)
        _shrink_last_layer(self.mlp, LAST_LAYER)

    def forward(self, observation: Tensor) -> Tensor:
        """Actions, ``[*batch, action_dim]``, without a bound."""
        return self.mlp(observation)


class DdpgMlpQNet(nn.Module):
    """Values of observations and actions: a layer of 400 sees the observation, one of 300 the action as well.

    Args:
        mlp_net_kwargs_net1: arguments of the :class:`MLP` over observations.
        mlp_net_kwargs_net2: arguments of the MLP over its output and actions.
        device: device of the parameters.

    Example:
        >>> import torch
        >>> DdpgMlpQNet()(torch.zeros(5, 3), torch.zeros(5, 2)).shape
        torch.Size([5, 1])
    """

    def __init__(
        self,
        mlp_net_kwargs_net1: Kwargs | None = None,
        mlp_net_kwargs_net2: Kwargs | None = None,
        device: Device = None,
    ) -> None:
        super().__init__()
        self.mlp1 = _mlp(400, [], {"activate_last_layer": True, **(mlp_net_kwargs_net1 or {})}, device)
        self.mlp2 = _mlp(1, [300], mlp_net_kwargs_net2, device)
        _shrink_last_layer(self.mlp2, LAST_LAYER)

    def forward(self, observation: Tensor, action: Tensor) -> Tensor:
        """Values, ``[*batch, 1]``."""
        return self.mlp2(self.mlp1(observation), action)


class DdpgCnnActor(nn.Module):
    """A :class:`ConvNet` (three layers of 32, 3x3, ELU) and an :class:`MLP` (two of 200, ELU) from images to actions.

    Args:
        action_dim: size of the action.
        conv_net_kwargs: arguments of the ConvNet.
        mlp_net_kwargs: arguments of the MLP.
        use_avg_pooling: whether images are averaged to one value a channel, rather than flattened.
        device: device of the parameters.

    Example:
        >>> import torch
        >>> action, hidden = DdpgCnnActor(2)(torch.zeros(5, 3, 64, 64))
        >>> action.shape, hidden.shape
        (torch.Size([5, 2]), torch.Size([5, 23328]))
    """

    def __init__(
        self,
        action_dim: int,
        conv_net_kwargs: Kwargs | None = None,
        mlp_net_kwargs: Kwargs | None = None,
        use_avg_pooling: bool = False,
        device: Device = None,
    ) -> None:
        super().__init__()
        self.convnet = _convnet(conv_net_kwargs, use_avg_pooling, device)
        self.mlp = _mlp(action_dim, [200, 200], mlp_net_kwargs, device)
        _shrink_last_layer(self.mlp, LAST_LAYER_PIXELS)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Actions, ``[*batch, action_dim]``, and the features of the images, which a critic may share."""
        hidden = self.convnet(pixels)
        return self.mlp(hidden), hidden


class DdpgCnnQNet(nn.Module):
    """Values of images and actions: a :class:`ConvNet` as in :class:`DdpgCnnActor`, and an MLP that sees actions too.

    Args:
        conv_net_kwargs: arguments of the ConvNet.
        mlp_net_kwargs: arguments of the MLP.
        use_avg_pooling: whether images are averaged to one value a channel, rather than flattened.
        device: device of the parameters.

    Example:
        >>> import torch
        >>> DdpgCnnQNet(use_avg_pooling=True)(torch.zeros(5, 3, 64, 64), torch.zeros(5, 2)).shape
        torch.Size([5, 1])
    """

    def __init__(
        self,
        conv_net_kwargs: Kwargs | None = None,
        mlp_net_kwargs: Kwargs | None = None,
        use_avg_pooling: bool = False,
        device: Device = None,
    ) -> None:
        super().__init__()
        self.convnet = _convnet(conv_net_kwargs, use_avg_pooling, device)
        self.mlp = _mlp(1, [200, 200], mlp_net_kwargs, device)
        _shrink_last_layer(self.mlp, LAST_LAYER_PIXELS)

    def forward(self, pixels: Tensor, action: Tensor) -> Tensor:
        """Values, ``[*batch, 1]``."""
        return self.mlp(self.convnet(pixels), action)


def _mlp(out_features: int, num_cells: list[int], kwargs: Kwargs | None, device: Device) -> MLP:
    defaults = {"num_cells": num_cells, "activation_class": nn.ELU, "device": device}
    return MLP(**{"out_features": out_features, **defaults, **(kwargs or {})})


def _convnet(kwargs: Kwargs | None, use_avg_pooling: bool, device: Device) -> ConvNet:
    defaults: Kwargs = {"num_cells": [32, 32, 32], "kernel_sizes": 3, "strides": [2, 1, 1], "device": device}
    if use_avg_pooling:
        defaults["aggregator_class"] = lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return ConvNet(**{**defaults, **(kwargs or {})})


@torch.no_grad()
def _shrink_last_layer(net: MLP, bound: float) -> None:
    last = [layer for layer in net if isinstance(layer, nn.Linear)][-1]
    # A lazy layer has no weights yet; it is so only in a network of one layer.
    if not isinstance(last, nn.LazyLinear):
        last.weight.uniform_(-bound, bound)
        if last.bias is not None:
            last.bias.uniform_(-bound, bound)
