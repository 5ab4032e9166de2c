"""A multi-layer perceptron described by its widths."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from agents.nn.noisy import NoisyLazyLinear, NoisyLinear
from envkit.core.inlined_layers import in_sequence, plain_linear

__all__ = ["MLP"]

DEFAULT_DEPTH = 3
DEFAULT_WIDTH = 32
# Names under which normalisation layers take the number of features they see.
SIZE_ARGUMENTS = frozenset({"normalized_shape", "num_features"})
LAZY: dict[type[nn.Module], Callable[..., nn.Module]] = {nn.Linear: nn.LazyLinear, NoisyLinear: NoisyLazyLinear}
# Layers that treat the rows of a batch alike, and one input like a row.
BY_ROWS = frozenset({nn.Linear, nn.ELU, nn.GELU, nn.Identity, nn.LeakyReLU, nn.ReLU, nn.Sigmoid, nn.SiLU, nn.Tanh})


class MLP(nn.Sequential):
    """A stack of linear layers with activations between them.

    Each hidden layer is ``layer -> dropout -> norm -> activation`` (the order of DroQ, Hiraoka et al. 2022,
    https://arxiv.org/abs/2110.02034), where dropout and norm are optional. The last layer is linear unless
    ``activate_last_layer`` is set. Several inputs are concatenated along their last dimension.

    Shapes: inputs ``[*batch, n]`` whose widths add up to ``in_features``, output ``[*batch, out_features]``.

    Args:
        in_features: number of input features; ``None`` infers it from the first call.
        out_features: number of output features.
        depth: number of hidden layers; 0 gives a single linear layer. Defaults to the length of
            ``num_cells``, or to 3 when that is no sequence.
        num_cells: width of the hidden layers, one for all (default 32) or one each.
        activation_class: module (or function that makes one) placed after each hidden layer.
        activation_kwargs: keyword arguments of ``activation_class``.
        norm_class: normalisation layer; the width is passed to it unless ``norm_kwargs`` names it.
        norm_kwargs: keyword arguments of ``norm_class``.
        dropout: probability of zeroing a hidden feature; ``None`` adds no dropout layer.
        layer_class: class of the layers, called as ``layer_class(in_features, out_features, ...)``.
        layer_kwargs: further keyword arguments of ``layer_class``, such as ``bias``.
        activate_last_layer: whether dropout, norm and activation follow the last layer too.
        device: device of the parameters.
        dtype: dtype of the parameters.

    Raises:
        ValueError: if ``out_features`` is missing, ``depth`` and ``num_cells`` disagree, or ``in_features``
            is missing for a ``layer_class`` that has no lazy form.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = MLP(num_cells=[32, 64], out_features=4, activation_class=nn.ELU)
        >>> net
        MLP(
          (0): LazyLinear(in_features=0, out_features=32, bias=True)
          (1): ELU(alpha=1.0)
          (2): Linear(in_features=32, out_features=64, bias=True)
          (3): ELU(alpha=1.0)
          (4): Linear(in_features=64, out_features=4, bias=True)
        )
        >>> net(torch.randn(10, 3)).shape
        torch.Size([10, 4])
        >>> MLP(out_features=1)(torch.randn(10, 3), torch.randn(10, 2)).shape
        torch.Size([10, 1])
    """

    def __init__(
        self,
        in_features: int | None = None,
        out_features: int | None = None,
        depth: int | None = None,
        num_cells: int | Sequence[int] | None = None,
        activation_class: Callable[..., nn.Module] = nn.Tanh,
        activation_kwargs: dict[str, Any] | None = None,
        norm_class: Callable[..., nn.Module] | None = None,
        norm_kwargs: dict[str, Any] | None = None,
        dropout: float | None = None,
        layer_class: type[nn.Module] = nn.Linear,
        layer_kwargs: dict[str, Any] | None = None,
        activate_last_layer: bool = False,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if out_features is None:
            raise ValueError("MLP: out_features is required, found None")
        hidden = _hidden_widths(depth, num_cells)
        layer_options = {**(layer_kwargs or {}), "device": device, "dtype": dtype}
        layers: list[nn.Module] = []
        width_in = in_features
        for index, width in enumerate([*hidden, out_features]):
            layers.append(_make_layer(layer_class, width_in, width, layer_options))
            if index < len(hidden) or activate_last_layer:
                if dropout is not None:
                    layers.append(nn.Dropout(dropout))
                if norm_class is not None:
                    norm = make_norm(norm_class, width, norm_kwargs or {})
                    layers.append(norm.to(device=device, dtype=dtype))
                layers.append(activation_class(**(activation_kwargs or {})))
            width_in = width
        super().__init__(*layers)
        self.in_features = in_features
        self.out_features = out_features
        self.num_cells = hidden
        self.depth = len(hidden)

    def __getitem__(self, index: Any) -> Any:
        # A slice of an nn.Sequential is of its class, whose first argument is something else here.
        if isinstance(index, slice):
            return nn.Sequential(OrderedDict(list(self._modules.items())[index]))
        return super().__getitem__(index)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Apply the layers to the inputs, joined along the last dimension when there are several."""
        features = inputs[0] if len(inputs) == 1 else torch.cat(inputs, -1)
        lone = features.ndim == 1 and self._goes_by_rows
        if lone:
            features = features.unsqueeze(0)
        for layer in self._modules.values():
            # Module.__call__ and attribute look-ups cost a small linear layer more than its product.
            linear = plain_linear(layer)
            features = layer(features) if linear is None else functional.linear(features, *linear)
        return features.squeeze(0) if lone else features

    def on_tensors(self) -> Callable[..., torch.Tensor]:
        """The same as a function without gradients; see ``on_tensors`` in ``envkit/core/inlined_layers.py``."""
        run, by_rows = in_sequence(self), self._goes_by_rows

        def on_inputs(*inputs: torch.Tensor) -> torch.Tensor:
            features = inputs[0] if len(inputs) == 1 else torch.cat(inputs, -1)
            if features.ndim == 1 and by_rows:
                return run(features.unsqueeze(0)).squeeze(0)
            return run(features)

        return on_inputs

    @property
    def _goes_by_rows(self) -> bool:
        """Whether one input may pass as a batch of one, which costs half as much: a product is one call then."""
        return all(type(layer) in BY_ROWS for layer in self._modules.values())


def _hidden_widths(depth: int | None, num_cells: int | Sequence[int] | None) -> list[int]:
    if isinstance(num_cells, Sequence):
        widths = list(num_cells)
        if depth is not None and depth != len(widths):
            raise ValueError(
                f"MLP: depth and num_cells disagree: expected {depth} widths, found {len(widths)} in {widths}"
            )
        return widths
    width = DEFAULT_WIDTH if num_cells is None else num_cells
    return [width] * (DEFAULT_DEPTH if depth is None else depth)


def _make_layer(
    layer_class: type[nn.Module], width_in: int | None, width_out: int, options: dict[str, Any]
) -> nn.Module:
    if width_in is not None:
        return layer_class(width_in, width_out, **options)
    if layer_class not in LAZY:
        raise ValueError(
            f"MLP: in_features is required with layer_class={layer_class.__name__}, which has no lazy form"
        )
    return LAZY[layer_class](width_out, **options)


def make_norm(norm_class: Callable[..., nn.Module], width: int, options: dict[str, Any]) -> nn.Module:
    first_argument = next(iter(inspect.signature(norm_class).parameters), None)
    if first_argument in SIZE_ARGUMENTS and first_argument not in options:
        return norm_class(width, **options)
    return norm_class(**options)
