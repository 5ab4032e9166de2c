"""Several networks of one architecture."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

__all__ = ["copies_of"]


def copies_of(network: Any, count: int, owner: str) -> nn.ModuleList:
    """``count`` networks of the architecture of ``network``, which is the first; or those it lists.

    Raises:
        ValueError: if the list has another length, or a copy would start with the weights of the original, because a
            module cannot reset its parameters.
    """
    if isinstance(network, Sequence | nn.ModuleList):
        if len(network) != count:
            raise ValueError(f"{owner}: expected {count} networks, found {len(network)}")
        return nn.ModuleList(network)
    return nn.ModuleList([network, *(_reset_copy(network, owner) for _ in range(count - 1))])


def _reset_copy(network: nn.Module, owner: str) -> nn.Module:
    if any(is_lazy(parameter) for parameter in network.parameters()):
        raise ValueError(
            f"{owner}: expected parameters of known shape, found lazy ones; call the network on data first"
        )
    twin = copy.deepcopy(network)
    for name, module in twin.named_modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
        elif next(module.parameters(recurse=False), None) is not None:
            raise ValueError(
                f"{owner}: expected modules with a reset_parameters method, found {type(module).__name__} at "
                f"{name!r}; its copies would all start alike, so pass a list of networks"
            )
    return twin
