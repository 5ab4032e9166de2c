"""Policies and their weights, as they are sent to the actors of a :class:`~envkit.RayCollector`."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import nn

from envkit.collectors.ray_transport import pack, unpack
from envkit.collectors.weights import load_weights
from envkit.core.policies import Policy

__all__ = ["Weights"]


@dataclass(frozen=True)
class Weights:
    """A version of a policy's weights.

    Attributes:
        version: its number.
        packed: the weights, :func:`packed <envkit.collectors.ray_transport.pack>`; None stands for those that the
            policy was sent with.
    """

    version: int
    packed: Any = None

    @classmethod
    def of(cls, policy: Policy | None, version: int, weights: Any = None) -> Weights:
        """Weights for copies of ``policy``: its own, or others.

        Args:
            policy: a module; anything else if copies of it are made elsewhere.
            version: the number of these weights.
            weights: a ``state_dict``, or ``TensorDict.from_module`` of a policy alike.

        Raises:
            TypeError: there are no weights, or they are neither.
            RuntimeError: they are those of another policy.
        """
        if isinstance(policy, nn.Module):
            if weights is not None:
                policy = copy.deepcopy(policy)
                load_weights(policy, weights)
            weights = policy.state_dict()
        if not isinstance(weights, (TensorDictBase, Mapping)):
            raise TypeError(
                f"policy_weights: expected a state_dict or a TensorDict, for no nn.Module is here to have weights; "
                f"found {type(weights).__name__}"
            )
        if isinstance(weights, TensorDictBase):
            return cls(version, pack(weights.detach().cpu()))
        on_cpu = {name: _on_cpu(value) for name, value in weights.items()}
        return cls(version, pack(on_cpu))

    def unpacked(self) -> Any:
        """What the policy is to load."""
        return unpack(self.packed)


def _on_cpu(value: Any) -> Any:
    return value.detach().cpu() if isinstance(value, torch.Tensor) else value
