"""Many parameters in one tensor."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

__all__ = ["flat_parameter"]


def flat_parameter(parameters: Iterable[nn.Parameter]) -> nn.Parameter:
    """One parameter, of shape ``[n]``, over the memory of all: what is done to it is done to each of them.

    Small networks spend more time on going from parameter to parameter than on arithmetic. An optimizer that steps the
    flat parameter, and a norm taken of its gradient, are one operation each. From this call on the parameters are views
    of the flat one, and their gradients views of its gradient, so clear that with ``zero_grad(set_to_none=False)``.
    A parameter that occurs twice, because networks share it, counts once.

    Raises:
        ValueError: there is no parameter, or they differ in dtype or device.

    Examples:
        >>> net = nn.Linear(2, 1)
        >>> flat = flat_parameter(net.parameters())
        >>> net(torch.ones(2)).backward()
        >>> flat.grad
        tensor([1., 1., 1.])
        >>> _ = flat.data.fill_(0.5)
        >>> net.bias
        Parameter containing:
        tensor([0.5000], requires_grad=True)
    """
    unique = list(dict.fromkeys(parameters))
    kinds = {(parameter.dtype, parameter.device) for parameter in unique}
    if len(kinds) != 1:
        raise ValueError(f"flat_parameter: expected parameters of one dtype and device, found {kinds or 'none'}")
    flat = nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in unique]))
    flat.grad = torch.zeros_like(flat)
    start = 0
    for parameter in unique:
        stop = start + parameter.numel()
        parameter.data = flat.data[start:stop].view_as(parameter)
        parameter.grad = flat.grad[start:stop].view_as(parameter)
        start = stop
    return flat
