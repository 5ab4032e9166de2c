"""A policy and a critic in one module."""

from __future__ import annotations

from typing import Any

from tensordict.nn import TensorDictModuleBase, TensorDictSequential

__all__ = ["ActorCriticOperator", "ActorCriticWrapper", "ActorValueOperator"]


class _Parts(TensorDictSequential):
    def _part(self, index: int) -> TensorDictModuleBase:
        part: Any = self.module[index]
        return part


class ActorValueOperator(_Parts):
    """Shared features, a policy on them, and the value of the state on them.

    Args:
        common_operator: writes the features.
        policy_operator: reads them and writes the action.
        value_operator: reads them and writes the value of the state.

    Example:
        >>> import torch
        >>> from agents import MLP, Actor, TensorDictModule, ValueOperator
        >>> from tensordict import TensorDict
        >>> both = ActorValueOperator(
        ...     TensorDictModule(MLP(3, 8), ["observation"], ["hidden"]),
        ...     Actor(MLP(8, 2), ["hidden"]),
        ...     ValueOperator(MLP(8, 1), ["hidden"]),
        ... )
        >>> td = both(TensorDict({"observation": torch.randn(5, 3)}, [5]))
        >>> td["action"].shape, td["state_value"].shape
        (torch.Size([5, 2]), torch.Size([5, 1]))
        >>> both.get_value_operator().out_keys
        ['hidden', 'state_value']
    """

    def __init__(
        self,
        common_operator: TensorDictModuleBase,
        policy_operator: TensorDictModuleBase,
        value_operator: TensorDictModuleBase,
    ) -> None:
        super().__init__(common_operator, policy_operator, value_operator)

    def get_policy_operator(self) -> TensorDictSequential:
        """Features and policy; the parameters are shared."""
        return TensorDictSequential(self._part(0), self._part(1))

    def get_value_operator(self) -> TensorDictSequential:
        """Features and value; the parameters are shared."""
        return TensorDictSequential(self._part(0), self._part(2))

    def get_policy_head(self) -> TensorDictModuleBase:
        """The policy alone, which reads the features."""
        return self._part(1)

    def get_value_head(self) -> TensorDictModuleBase:
        """The critic alone, which reads the features."""
        return self._part(2)


class ActorCriticOperator(ActorValueOperator):
    """Shared features, a policy on them, and the value of its action.

    Args:
        common_operator: writes the features.
        policy_operator: reads them and writes the action.
        value_operator: reads features and action, and writes the value of both.

    Raises:
        ValueError: if ``value_operator`` reads nothing that ``policy_operator`` writes.

    Example:
        >>> import torch
        >>> from agents import MLP, Actor, TensorDictModule, ValueOperator
        >>> from tensordict import TensorDict
        >>> both = ActorCriticOperator(
        ...     TensorDictModule(MLP(3, 8), ["observation"], ["hidden"]),
        ...     Actor(MLP(8, 2), ["hidden"]),
        ...     ValueOperator(MLP(10, 1), ["hidden", "action"]),
        ... )
        >>> both(TensorDict({"observation": torch.randn(5, 3)}, [5]))["state_action_value"].shape
        torch.Size([5, 1])
    """

    def __init__(
        self,
        common_operator: TensorDictModuleBase,
        policy_operator: TensorDictModuleBase,
        value_operator: TensorDictModuleBase,
    ) -> None:
        super().__init__(common_operator, policy_operator, value_operator)
        if not set(value_operator.in_keys) & set(policy_operator.out_keys):
            raise ValueError(
                f"ActorCriticOperator: expected a value_operator that reads the action, one of "
                f"{policy_operator.out_keys}, found one that reads {value_operator.in_keys}; see ActorValueOperator"
            )

    def get_critic_operator(self) -> TensorDictSequential:
        """Features, policy and value: the value of the action that the policy takes."""
        return TensorDictSequential(*self.module)


class ActorCriticWrapper(_Parts):
    """A policy and a critic that share nothing.

    Args:
        policy_operator: writes the action.
        value_operator: writes the value.

    Example:
        >>> from agents import MLP, Actor, ValueOperator
        >>> both = ActorCriticWrapper(Actor(MLP(3, 2)), ValueOperator(MLP(3, 1)))
        >>> both.out_keys
        ['action', 'state_value']
    """

    def __init__(self, policy_operator: TensorDictModuleBase, value_operator: TensorDictModuleBase) -> None:
        super().__init__(policy_operator, value_operator)

    def get_policy_operator(self) -> TensorDictModuleBase:
        """The policy."""
        return self._part(0)

    def get_value_operator(self) -> TensorDictModuleBase:
        """The critic."""
        return self._part(1)

    def get_policy_head(self) -> TensorDictModuleBase:
        """The policy."""
        return self._part(0)

    def get_value_head(self) -> TensorDictModuleBase:
        """The critic."""
        return self._part(1)
