"""Policies that need no learning."""

from __future__ import annotations

from tensordict import NestedKey, TensorDictBase
from torch import nn

from envkit.specs import Composite, TensorSpec

__all__ = ["RandomPolicy"]


class RandomPolicy(nn.Module):
    """Draws actions from a spec.

    Args:
        action_spec: a leaf spec or a Composite of action leaves.
        action_key: where a leaf's action is written.

    Examples:
        >>> from tensordict import TensorDict
        >>> from envkit import Bounded
        >>> policy = RandomPolicy(Bounded(-1.0, 1.0, shape=(2,)))
        >>> policy(TensorDict())["action"].shape
        torch.Size([2])
    """

    def __init__(self, action_spec: TensorSpec, action_key: NestedKey = "action") -> None:
        super().__init__()
        self.action_spec, self.action_key = action_spec, action_key

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Writes a random action and returns ``tensordict``."""
        if isinstance(self.action_spec, Composite):
            return tensordict.update(self.action_spec.rand())
        return tensordict.set(self.action_key, self.action_spec.rand())
