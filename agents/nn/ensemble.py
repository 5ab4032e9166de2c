"""Perceptrons of one shape, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from agents.nn.mlp import MLP
from agents.nn.perceptrons import perceptrons

__all__ = ["Ensemble"]

# With gradients and below so many multiplications in a layer, batched products cost less than an autograd function.
FUSED_FROM = 256 * 128 * 128


class Ensemble(nn.Module):
    """``num_members`` networks of the shape of one :class:`MLP`, which see the same inputs.

    The twin critics of TD3 and SAC, and the ten of REDQ, are such. Each layer has the weights of all members in one
    parameter, ``weight_0`` ``[members, in, out]`` and ``bias_0`` ``[members, out]``, and so on. They start like those
    of MLPs that are made one after the other. With ReLU and wide layers, forward and backward are one step for
    autograd (:func:`~agents.nn.perceptrons.perceptrons`), which can be differentiated once.

    Shapes: inputs ``[*batch, n]`` whose widths add up to ``in_features``, output ``[members, *batch, out_features]``.

    Args:
        num_members: number of networks.
        in_features: number of input features.
        out_features: number of output features.
        num_cells: widths of the hidden layers.
        activation_class: module (or function that makes one) between layers.
        device: device of the parameters.
        dtype: dtype of the parameters.

    Raises:
        ValueError: if ``num_members`` is not positive.

    Example:
        >>> critics = Ensemble(2, in_features=5, out_features=1, num_cells=[64, 64])
        >>> critics(torch.randn(32, 3), torch.randn(32, 2)).shape
        torch.Size([2, 32, 1])
        >>> critics.member(1)(torch.randn(32, 5)).shape
        torch.Size([32, 1])
    """

    def __init__(
        self,
        num_members: int,
        in_features: int,
        out_features: int,
        num_cells: Sequence[int] = (256, 256),
        activation_class: Callable[[], nn.Module] = nn.ReLU,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if num_members < 1:
            raise ValueError(f"Ensemble: num_members: expected at least 1, found {num_members}")
        self.num_members, self.in_features, self.out_features = num_members, in_features, out_features
        self.num_cells, self.activation_class = list(num_cells), activation_class
        self.activation = activation_class()
        members = [_linears(self._mlp(device, dtype)) for _ in range(num_members)]
        for layer, own in enumerate(zip(*members, strict=True)):
            weight = torch.stack([linear.weight.detach().t() for linear in own])
            bias = torch.stack([linear.bias.detach() for linear in own])
            self.register_parameter(f"weight_{layer}", nn.Parameter(weight))
            self.register_parameter(f"bias_{layer}", nn.Parameter(bias))
        self._names = list(self._parameters)
        self._has_relu = type(self.activation) is nn.ReLU
        self._largest = max(a * b for a, b in pairwise([in_features, *self.num_cells, out_features]))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Outputs of all members for the inputs, joined along the last dimension when there are several."""
        return self._run(inputs, *self._parameters_of_layers())

    def frozen(self, *inputs: Tensor) -> Tensor:
        """What a call returns, with gradients for the inputs alone: how an actor is taught by critics.

        Example:
            >>> critics, action = Ensemble(2, 5, 1), torch.zeros(8, 5, requires_grad=True)
            >>> critics.frozen(action).mean().backward()
            >>> action.grad.shape, critics.weight_0.grad
            (torch.Size([8, 5]), None)
        """
        weights, biases = self._parameters_of_layers()
        return self._run(inputs, [w.detach() for w in weights], [b.detach() for b in biases])

    def one(self, index: int, *inputs: Tensor) -> Tensor:
        """What one member puts out, ``[*batch, out_features]``, without a call of the others.

        Example:
            >>> critics, inputs = Ensemble(2, 5, 1), torch.randn(8, 5)
            >>> critics.one(1, inputs).shape
            torch.Size([8, 1])
        """
        own = slice(index, index + 1)
        weights, biases = self._parameters_of_layers()
        return self._run(inputs, [w[own] for w in weights], [b[own] for b in biases])[0]

    def _parameters_of_layers(self) -> tuple[list[Tensor], list[Tensor]]:
        values = [getattr(self, name) for name in self._names]
        return values[::2], values[1::2]

    def _run(self, inputs: tuple[Tensor, ...], weights: list[Tensor], biases: list[Tensor]) -> Tensor:
        joined = inputs[0] if len(inputs) == 1 else torch.cat(inputs, -1)
        flat = joined.reshape(-1, joined.shape[-1])
        pays = len(flat) * self._largest >= FUSED_FROM or not torch.is_grad_enabled()
        if pays and self._has_relu and not torch._C._are_functorch_transforms_active():
            outputs = perceptrons(flat, weights, biases)
        else:
            outputs = flat.expand(len(weights[0]), *flat.shape)
            for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
                outputs = torch.baddbmm(bias.unsqueeze(1), outputs, weight)
                if layer < len(self.num_cells):
                    outputs = self.activation(outputs)
        return outputs if joined.ndim == 2 else outputs.reshape(len(outputs), *joined.shape[:-1], -1)

    def member(self, index: int) -> MLP:
        """A copy of one of the networks, as a module of its own."""
        first: Tensor = self.get_parameter("weight_0")
        net = self._mlp(first.device, first.dtype)
        with torch.no_grad():
            for layer, linear in enumerate(_linears(net)):
                linear.weight.copy_(getattr(self, f"weight_{layer}")[index].t())
                linear.bias.copy_(getattr(self, f"bias_{layer}")[index])
        return net

    def _mlp(self, device: torch.device | str | int | None, dtype: torch.dtype | None) -> MLP:
        return MLP(
            self.in_features,
            self.out_features,
            num_cells=self.num_cells,
            activation_class=self.activation_class,
            device=device,
            dtype=dtype,
        )

    def extra_repr(self) -> str:
        """Number of members and widths."""
        widths = [self.in_features, *self.num_cells, self.out_features]
        return f"num_members={self.num_members}, widths={widths}"


def _linears(net: MLP) -> list[nn.Linear]:
    return [layer for layer in net if isinstance(layer, nn.Linear)]
