"""Networks that tell the value of a state from the advantages of actions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from agents.nn.convnet import ConvNet
from agents.nn.mlp import MLP

__all__ = ["DuelingCnnDQNet", "DuelingMlpDQNet"]


class DuelingHead(nn.Module):
    """``value + advantage - mean(advantage)`` of the features (Wang et al. 2016, https://arxiv.org/abs/1511.06581).

    Args:
        out_features: number of actions.
        out_features_value: number of values, 1 or ``out_features``.
        mlp_kwargs: arguments of the two :class:`MLP`, over those of a hidden layer of 512 with ELU.
        device: device of the parameters.

    Example:
        >>> import torch
        >>> DuelingHead(4)(torch.zeros(5, 16)).shape
        torch.Size([5, 4])
    """

    def __init__(
        self,
        out_features: int,
        out_features_value: int = 1,
        mlp_kwargs: dict[str, Any] | None = None,
        device: torch.device | str | int | None = None,
    ) -> None:
        super().__init__()
        if out_features_value not in (1, out_features):
            raise ValueError(f"out_features_value: expected 1 or {out_features}, found {out_features_value}")
        kwargs = {"num_cells": [512], "activation_class": nn.ELU, "device": device, **(mlp_kwargs or {})}
        self.advantage = MLP(out_features=out_features, **kwargs)
        self.value = MLP(out_features=out_features_value, **kwargs)

    def forward(self, features: Tensor) -> Tensor:
        """Values of actions, ``[*batch, out_features]``."""
        advantage = self.advantage(features)
        return self.value(features) + advantage - advantage.mean(-1, keepdim=True)


class DuelingMlpDQNet(nn.Module):
    """A dueling network over vectors: shared features, then one MLP for the value and one for the advantages.

    Args:
        out_features: number of actions.
        out_features_value: number of values, 1 or ``out_features``.
        mlp_kwargs_feature: arguments of the :class:`MLP` of features, over two hidden layers and an output of 256, all
            with ELU.
        mlp_kwargs_output: arguments of those of value and advantages, over one hidden layer of 512 with ELU.
        device: device of the parameters.

    Raises:
        ValueError: if ``out_features_value`` is another number.

    Example:
        >>> import torch
        >>> DuelingMlpDQNet(4)(torch.zeros(5, 3)).shape
        torch.Size([5, 4])
    """

    def __init__(
        self,
        out_features: int,
        out_features_value: int = 1,
        mlp_kwargs_feature: dict[str, Any] | None = None,
        mlp_kwargs_output: dict[str, Any] | None = None,
        device: torch.device | str | int | None = None,
    ) -> None:
        super().__init__()
        defaults: dict[str, Any] = {"num_cells": [256, 256], "out_features": 256, "activation_class": nn.ELU}
        defaults |= {"activate_last_layer": True, "device": device}
        self.features = MLP(**{**defaults, **(mlp_kwargs_feature or {})})
        self.head = DuelingHead(out_features, out_features_value, mlp_kwargs_output, device)

    def forward(self, observation: Tensor) -> Tensor:
        """Values of actions, ``[*batch, out_features]``."""
        return self.head(self.features(observation))


class DuelingCnnDQNet(nn.Module):
    """A dueling network over images: convolutions, then one MLP for the value and one for the advantages.

    Args:
        out_features: number of actions.
        out_features_value: number of values, 1 or ``out_features``.
        cnn_kwargs: arguments of the :class:`ConvNet`; by default the layers of Mnih et al. 2015.
        mlp_kwargs: arguments of the :class:`MLP` of value and advantages, over one hidden layer of 512 with ELU.
        device: device of the parameters.

    Raises:
        ValueError: if ``out_features_value`` is another number.

    Example:
        >>> import torch
        >>> DuelingCnnDQNet(4)(torch.zeros(5, 3, 64, 64)).shape
        torch.Size([5, 4])
    """

    def __init__(
        self,
        out_features: int,
        out_features_value: int = 1,
        cnn_kwargs: dict[str, Any] | None = None,
        mlp_kwargs: dict[str, Any] | None = None,
        device: torch.device | str | int | None = None,
    ) -> None:
        super().__init__()
        self.features = ConvNet(**{"device": device, **(cnn_kwargs or {})})
        self.head = DuelingHead(out_features, out_features_value, mlp_kwargs, device)

    def forward(self, pixels: Tensor) -> Tensor:
        """Values of actions, ``[*batch, out_features]``."""
        return self.head(self.features(pixels))
