"""Linear layers whose weights are noisy."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

__all__ = ["NoisyLazyLinear", "NoisyLinear", "reset_noise"]


class NoisyLinear(nn.Module):
    """A linear layer with weights ``mu + sigma * epsilon``, where ``epsilon`` is factorised Gaussian noise.

    A network of such layers explores by itself (NoisyNet, Fortunato et al. 2018, https://arxiv.org/abs/1706.10295).
    The noise stays until :meth:`reset_noise`; in evaluation mode there is none. ``weight`` and ``bias`` are what the
    present call works with, ``weight_mu`` and ``bias_mu`` their means.

    Args:
        in_features: number of input features.
        out_features: number of output features.
        bias: whether there is a bias.
        device: device of the parameters.
        dtype: dtype of the parameters.
        std_init: ``sigma`` at first is ``std_init / sqrt(in_features)``, for biases ``std_init / sqrt(out_features)``.

    Example:
        >>> import torch
        >>> layer, inputs = NoisyLinear(3, 2), torch.ones(3)
        >>> before = layer(inputs)
        >>> layer.reset_noise()
        >>> torch.equal(before, layer(inputs))
        False
        >>> torch.equal(layer.eval()(inputs), layer.weight_mu.sum(1) + layer.bias_mu)
        True
    """

    weight_mu: Tensor
    weight_sigma: Tensor
    weight_epsilon: Tensor
    bias_mu: Tensor
    bias_sigma: Tensor
    bias_epsilon: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        std_init: float = 0.1,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features, self.std_init = in_features, out_features, std_init
        shapes = {"weight": (out_features, in_features), "bias": (out_features,) if bias else None}
        for name, shape in shapes.items():
            for part in ("mu", "sigma"):
                empty = None if shape is None else nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
                self.register_parameter(f"{name}_{part}", empty)
            noise = None if shape is None else torch.zeros(shape, device=device, dtype=dtype)
            self.register_buffer(f"{name}_epsilon", noise)
        self.reset_parameters()
        self.reset_noise()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the means anew, and set ``sigma`` to its first value."""
        bound = 1.0 / math.sqrt(self.in_features)
        self.weight_mu.uniform_(-bound, bound)
        self.weight_sigma.fill_(self.std_init * bound)
        if self.bias_mu is not None:
            self.bias_mu.uniform_(-bound, bound)
            self.bias_sigma.fill_(self.std_init / math.sqrt(self.out_features))

    @torch.no_grad()
    def reset_noise(self) -> None:
        """Draw the noise anew."""
        incoming, outgoing = (_scaled_noise(self.weight_mu, n) for n in (self.in_features, self.out_features))
        self.weight_epsilon.copy_(torch.outer(outgoing, incoming))
        if self.bias_epsilon is not None:
            self.bias_epsilon.copy_(outgoing)

    @property
    def weight(self) -> Tensor:
        """The weights at present, ``[out_features, in_features]``."""
        return self._present("weight")

    @property
    def bias(self) -> Tensor | None:
        """The bias at present, ``[out_features]``."""
        return None if self.bias_mu is None else self._present("bias")

    def _present(self, name: str) -> Tensor:
        mu: Tensor = getattr(self, f"{name}_mu")
        return (
            torch.addcmul(mu, getattr(self, f"{name}_sigma"), getattr(self, f"{name}_epsilon")) if self.training else mu
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """``inputs`` ``[*batch, in_features]`` times the present weights."""
        return functional.linear(inputs, self.weight, self.bias)


class NoisyLazyLinear(LazyModuleMixin, NoisyLinear):
    """A :class:`NoisyLinear` that takes ``in_features`` from its first input.

    Args:
        out_features: number of output features.
        bias: whether there is a bias.
        device: device of the parameters.
        dtype: dtype of the parameters.
        std_init: see :class:`NoisyLinear`.

    Example:
        >>> import torch
        >>> layer = NoisyLazyLinear(2)
        >>> layer(torch.ones(5, 3)).shape, type(layer).__name__
        (torch.Size([5, 2]), 'NoisyLinear')
    """

    cls_to_become = NoisyLinear

    def __init__(
        self,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        std_init: float = 0.1,
    ) -> None:
        super().__init__(0, 0, bias, device, dtype, std_init)
        self.out_features = out_features
        for name in ("weight", "bias") if bias else ("weight",):
            for part in ("mu", "sigma"):
                setattr(self, f"{name}_{part}", UninitializedParameter(device=device, dtype=dtype))  # type: ignore[call-arg]
            setattr(self, f"{name}_epsilon", UninitializedBuffer(device=device, dtype=dtype))  # type: ignore[call-arg]

    def reset_parameters(self) -> None:
        """Does nothing before the first input."""
        if self.in_features:
            super().reset_parameters()

    def reset_noise(self) -> None:
        """Does nothing before the first input."""
        if self.in_features:
            super().reset_noise()

    def initialize_parameters(self, inputs: Tensor) -> None:
        """Take the sizes from the first input."""
        if not self.has_uninitialized_params():
            return
        with torch.no_grad():
            self.in_features = inputs.shape[-1]
            shapes = {"weight": (self.out_features, self.in_features), "bias": (self.out_features,)}
            for name, shape in shapes.items():
                for part in ("mu", "sigma", "epsilon"):
                    tensor = getattr(self, f"{name}_{part}")
                    if tensor is not None:
                        tensor.materialize(shape)
            self.reset_parameters()
            self.reset_noise()


def reset_noise(module: nn.Module) -> None:
    """Draw the noise of all noisy layers in ``module`` anew.

    Example:
        >>> import torch
        >>> from agents.nn import MLP
        >>> net = MLP(3, 2, layer_class=NoisyLinear)
        >>> before = net(torch.ones(3))
        >>> reset_noise(net)
        >>> torch.equal(before, net(torch.ones(3)))
        False
    """
    for part in module.modules():
        if isinstance(part, NoisyLinear):
            part.reset_noise()


def _scaled_noise(like: Tensor, size: int) -> Tensor:
    noise = torch.randn(size, device=like.device, dtype=like.dtype)
    return noise.sign() * noise.abs().sqrt()
