"""Copies of networks that do not learn."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.parameter import is_lazy

__all__ = ["frozen_copy", "hold_out_net"]


def frozen_copy(network: nn.Module, name: str = "network") -> nn.Module:
    """Return a copy of ``network`` whose weights are buffers: no optimizer sees them, and none has a gradient.

    Args:
        network: the network.
        name: what error messages call it.

    Raises:
        ValueError: if it has parameters whose shape is not known yet.

    Example:
        >>> twin = frozen_copy(nn.Linear(2, 1))
        >>> list(twin.parameters()), sorted(twin.state_dict())
        ([], ['bias', 'weight'])
    """
    if any(is_lazy(parameter) for parameter in network.parameters()):
        raise ValueError(f"{name}: expected parameters of known shape, found lazy ones; call it on data first")
    twin = copy.deepcopy(network)
    for module in twin.modules():
        for key, parameter in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            delattr(module, key)
            module.register_buffer(key, parameter.detach())
    return twin


@contextmanager
def hold_out_net(*networks: nn.Module) -> Iterator[None]:
    """Within this context the parameters of the networks get no gradient; what goes through them does.

    Example:
        >>> import torch
        >>> critic, action = nn.Linear(1, 1), torch.ones(1, requires_grad=True)
        >>> with hold_out_net(critic):
        ...     critic(action).backward()
        >>> critic.weight.grad is None, action.grad is None
        (True, False)
    """
    held = []
    for network in networks:
        for module in network.modules():
            for key, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
                if not parameter.requires_grad:
                    continue
                held.append((module, key, parameter))
                if parameter.is_leaf:
                    parameter.requires_grad_(False)
                else:  # the result of an update that is to be differentiated: only leaves can be switched off
                    module._parameters[key] = parameter.detach()  # type: ignore[assignment]
    try:
        yield
    finally:
        for module, key, parameter in held:
            if parameter.is_leaf:
                parameter.requires_grad_(True)
            else:
                module._parameters[key] = parameter
