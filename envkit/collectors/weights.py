"""The weights of the policy that collects, and how it gets new ones."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import nn
from torch.nn.parameter import is_lazy

from envkit.core.policies import Policy

__all__ = ["load_weights", "placed", "portable", "state_of"]


def placed(policy: Policy | None, device: torch.device | None) -> Policy | None:
    """``policy`` itself, or a copy of it on ``device`` if it is a module with tensors elsewhere."""
    if device is None or not isinstance(policy, nn.Module):
        return policy
    if all(_is_on(tensor, device) for tensor in chain(policy.parameters(), policy.buffers())):
        return policy
    return copy.deepcopy(policy).to(device)


def _is_on(tensor: torch.Tensor, device: torch.device) -> bool:
    return tensor.device.type == device.type and device.index in (None, tensor.device.index)


def load_weights(policy: Policy | None, weights: Any) -> None:
    """Copies weights into a policy, in place.

    Args:
        policy: a module.
        weights: its ``state_dict``, or ``TensorDict.from_module`` of one like it.

    Raises:
        TypeError: the policy is no module, or the weights are neither.
        RuntimeError: names or shapes differ.
    """
    if not isinstance(policy, nn.Module):
        raise TypeError(f"policy_weights: expected an nn.Module to load them into, found {type(policy).__name__}")
    policy.load_state_dict(state_of(policy, weights))


def state_of(policy: Policy | None, weights: Any) -> Mapping[str, Any]:
    """``weights`` as a ``state_dict`` of ``policy``, as far as it is a module.

    Raises:
        TypeError: they are neither a ``state_dict`` nor a TensorDict.
    """
    if isinstance(weights, TensorDictBase):
        weights = weights.flatten_keys(".").to_dict()
        if isinstance(policy, nn.Module):
            # Such a TensorDict has all buffers, those included that are no part of a module's state.
            passing = {name for name, _ in policy.named_buffers()} - set(policy.state_dict())
            weights = {name: value for name, value in weights.items() if name not in passing}
    if not isinstance(weights, Mapping):
        raise TypeError(f"policy_weights: expected a state_dict or a TensorDict, found {type(weights).__name__}")
    return weights


def portable(policy: Policy | None) -> Policy | None:
    """A policy as it is sent: a module on the CPU.

    Raises:
        ValueError: it has lazy parameters, which each copy would initialise in its own way.
    """
    if isinstance(policy, nn.Module):
        lazy = [name for name, value in policy.state_dict(keep_vars=True).items() if is_lazy(value)]
        if lazy:
            raise ValueError(f"policy: expected initialised parameters, found {lazy} to be lazy; call it once before")
    return placed(policy, torch.device("cpu"))
