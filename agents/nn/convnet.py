"""A stack of convolutions described by its widths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from agents.nn.mlp import make_norm

__all__ = ["ConvNet", "SquashDims"]

# Mnih et al. 2015, "Human-level control through deep reinforcement learning" (Nature).
NATURE = {"num_cells": [32, 64, 64], "kernel_sizes": [8, 4, 3], "strides": [4, 2, 1]}
IMAGE_DIMS = 3


class SquashDims(nn.Module):
    """Flattens the last ``ndims_in`` dimensions into one.

    Example:
        >>> import torch
        >>> SquashDims()(torch.zeros(10, 2, 3, 4)).shape
        torch.Size([10, 24])
    """

    def __init__(self, ndims_in: int = IMAGE_DIMS) -> None:
        super().__init__()
        self.ndims_in = ndims_in

    def forward(self, value: Tensor) -> Tensor:
        """``value`` with its last dimensions as one."""
        return value.flatten(-self.ndims_in)


class ConvNet(nn.Sequential):
    """A stack of two-dimensional convolutions, each followed by norm (if any) and activation, and an aggregator.

    Shapes: input ``[*batch, channels, height, width]``, output ``[*batch, features]`` with the default aggregator.
    Without any of ``depth``, ``num_cells``, ``kernel_sizes`` and ``strides`` the layers are those of the DQN of Mnih et
    al. 2015 (Nature): 32, 64 and 64 channels, kernels of 8, 4 and 3, strides of 4, 2 and 1.

    Args:
        in_features: number of input channels; ``None`` infers it from the first call.
        depth: number of layers; by default the length of whichever other argument is a sequence, or 3.
        num_cells: channels of the layers, one for all (default 32) or one each.
        kernel_sizes: sizes of the kernels, one for all (default 3) or one each; a size is a number or a pair.
        strides: likewise (default 1).
        paddings: likewise (default 0).
        activation_class: module (or function that makes one) placed after each layer.
        activation_kwargs: keyword arguments of ``activation_class``.
        norm_class: normalisation layer; the channels are passed to it unless ``norm_kwargs`` names them.
        norm_kwargs: keyword arguments of ``norm_class``.
        bias_last_layer: whether the last layer has a bias.
        aggregator_class: module (or function that makes one) that turns images into vectors; ``None`` leaves it out.
        aggregator_kwargs: keyword arguments of ``aggregator_class``.
        squeeze_output: whether dimensions of size 1 at the end of the output are dropped.
        device: device of the parameters.
        dtype: dtype of the parameters.

    Raises:
        ValueError: if arguments ask for different numbers of layers, or on a call, if the input is no image.

    Example:
        >>> import torch
        >>> cnn = ConvNet(num_cells=[32, 64], kernel_sizes=[8, 4], strides=[2, 1])
        >>> cnn
        ConvNet(
          (0): LazyConv2d(0, 32, kernel_size=(8, 8), stride=(2, 2))
          (1): ELU(alpha=1.0)
          (2): Conv2d(32, 64, kernel_size=(4, 4), stride=(1, 1))
          (3): ELU(alpha=1.0)
          (4): SquashDims()
        )
        >>> cnn(torch.randn(10, 3, 32, 32)).shape
        torch.Size([10, 6400])
        >>> ConvNet(4)(torch.zeros(84, 84).expand(2, 5, 4, 84, 84)).shape
        torch.Size([2, 5, 3136])
    """

    def __init__(
        self,
        in_features: int | None = None,
        depth: int | None = None,
        num_cells: int | Sequence[int] | None = None,
        kernel_sizes: int | Sequence[Any] | None = None,
        strides: int | Sequence[Any] | None = None,
        paddings: int | Sequence[Any] = 0,
        activation_class: Callable[..., nn.Module] = nn.ELU,
        activation_kwargs: dict[str, Any] | None = None,
        norm_class: Callable[..., nn.Module] | None = None,
        norm_kwargs: dict[str, Any] | None = None,
        bias_last_layer: bool = True,
        aggregator_class: Callable[..., nn.Module] | None = SquashDims,
        aggregator_kwargs: dict[str, Any] | None = None,
        squeeze_output: bool = False,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        plan: dict[str, Any] = {"num_cells": num_cells, "kernel_sizes": kernel_sizes, "strides": strides}
        if depth is None and all(value is None for value in plan.values()):
            plan = dict(NATURE)
        rows = _layers(depth, {**plan, "paddings": paddings})
        layers: list[nn.Module] = []
        channels_in = in_features
        for index, (channels, kernel, stride, padding) in enumerate(rows):
            options = {
                "stride": stride,
                "padding": padding,
                "bias": bias_last_layer or index < len(rows) - 1,
                "device": device,
                "dtype": dtype,
            }
            if channels_in is None:
                layers.append(nn.LazyConv2d(channels, kernel, **options))
            else:
                layers.append(nn.Conv2d(channels_in, channels, kernel, **options))
            if norm_class is not None:
                layers.append(make_norm(norm_class, channels, norm_kwargs or {}).to(device=device, dtype=dtype))
            layers.append(activation_class(**(activation_kwargs or {})))
            channels_in = channels
        if aggregator_class is not None:
            layers.append(aggregator_class(**(aggregator_kwargs or {})))
        super().__init__(*layers)
        self.in_features, self.depth, self.squeeze_output = in_features, len(rows), squeeze_output

    def __getitem__(self, index: Any) -> Any:
        # A slice of an nn.Sequential is of its class, whose first argument is something else here.
        return nn.Sequential(*list(self)[index]) if isinstance(index, slice) else super().__getitem__(index)

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the layers to images with any number of batch dimensions."""
        if inputs.ndim < IMAGE_DIMS:
            raise ValueError(f"ConvNet: expected shape [*batch, channels, height, width], found {list(inputs.shape)}")
        batch = inputs.shape[:-IMAGE_DIMS]
        features = super().forward(inputs.reshape(-1, *inputs.shape[-IMAGE_DIMS:]))
        features = features.reshape(*batch, *features.shape[1:])
        while self.squeeze_output and features.ndim > len(batch) and features.shape[-1] == 1:
            features = features.squeeze(-1)
        return features


def _layers(depth: int | None, plan: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Channels, kernel, stride and padding of each layer."""
    lengths = {name: len(value) for name, value in plan.items() if isinstance(value, Sequence)}
    if depth is not None:
        lengths["depth"] = depth
    if len(set(lengths.values())) > 1:
        raise ValueError(f"ConvNet: expected one number of layers, found {lengths}")
    count = next(iter(lengths.values()), 3)
    defaults = {"num_cells": 32, "kernel_sizes": 3, "strides": 1, "paddings": 0}
    columns = []
    for name, default in defaults.items():
        value = default if plan[name] is None else plan[name]
        columns.append(list(value) if isinstance(value, Sequence) else [value] * count)
    return list(zip(*columns, strict=True))
