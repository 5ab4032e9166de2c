"""A module that writes the value of a state, or of a state and an action."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tensordict import NestedKey
from tensordict.nn import TensorDictModule

__all__ = ["ValueOperator"]


class ValueOperator(TensorDictModule):
    """A critic: writes ``"state_value"``, or ``"state_action_value"`` if it reads ``"action"``.

    Args:
        module: callable from the entries at ``in_keys`` to values of shape ``[*batch, 1]``.
        in_keys: entries to read, ``["observation"]`` by default.
        out_keys: entries to write; by default one, named as above.

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> from agents.nn import MLP
        >>> critic = ValueOperator(MLP(3, 1))
        >>> critic(TensorDict({"observation": torch.randn(5, 3)}, [5]))["state_value"].shape
        torch.Size([5, 1])
        >>> ValueOperator(MLP(4, 1), in_keys=["observation", "action"]).out_keys
        ['state_action_value']
    """

    def __init__(
        self,
        module: Callable[..., Any],
        in_keys: Sequence[NestedKey] | None = None,
        out_keys: Sequence[NestedKey] | None = None,
    ) -> None:
        keys: list[NestedKey] = ["observation"] if in_keys is None else list(in_keys)
        default = "state_action_value" if "action" in keys else "state_value"
        super().__init__(module, in_keys=keys, out_keys=[default] if out_keys is None else list(out_keys))
