"""What losses of steps from a replay buffer have in common."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from tensordict import NestedKey, TensorDictBase
from torch import Tensor

from agents.objectives.loss_module import LossModule, below_next, distinct
from agents.objectives.value_loss import DISTANCES, value_loss
from agents.returns import ValueEstimators
from agents.returns.shapes import check_same_shape

__all__ = ["OffPolicyKeys", "OffPolicyLoss"]


@dataclass(frozen=True)
class OffPolicyKeys:
    """Entries that are read; reward and flags are those under ``"next"``. ``priority`` is written."""

    action: NestedKey = "action"
    reward: NestedKey = "reward"
    done: NestedKey = "done"
    terminated: NestedKey = "terminated"
    state_action_value: NestedKey = "state_action_value"
    priority: NestedKey = "td_error"
    priority_weight: NestedKey = "_weight"
    steps_to_next_obs: NestedKey = "steps_to_next_obs"
    gamma: NestedKey = "gamma"
    mask: NestedKey = ("collector", "mask")


class OffPolicyLoss(LossModule):
    """Base of losses that learn values of actions from steps of any policy.

    Value targets come from the value estimator: one-step returns by default, :class:`TD0Estimator`, which knows
    transitions of several steps by their ``"steps_to_next_obs"`` or ``"gamma"``; or over consecutive steps
    :class:`TD1Estimator` and :class:`TDLambdaEstimator`.

    A call writes ``"td_error"``, the absolute errors ``[*batch]``, into the TensorDict, for a prioritized replay
    buffer; and where that has put importance weights at ``"_weight"``, the losses of values are weighted by
    them.

    Args:
        loss_function: ``"smooth_l1"``, ``"l1"`` or ``"l2"``, see :func:`value_loss`.
        gamma: discount factor.
    """

    default_value_estimator = ValueEstimators.TD0
    value_estimators: ClassVar[tuple[ValueEstimators, ...]] = (
        ValueEstimators.TD0,
        ValueEstimators.TD1,
        ValueEstimators.TDLambda,
    )
    default_keys: ClassVar[Any] = OffPolicyKeys()

    def __init__(self, loss_function: str, gamma: float) -> None:
        super().__init__()
        if loss_function not in DISTANCES:
            raise ValueError(
                f"{type(self).__name__}: expected loss_function to be one of {sorted(DISTANCES)}, "
                f"found {loss_function!r}"
            )
        self.loss_function = loss_function
        self.make_value_estimator(gamma=gamma)

    @property
    def optional_in_keys(self) -> list[NestedKey]:
        """The entries that a call reads where there are any."""
        keys = self.keys
        return [keys.mask, keys.priority_weight, keys.steps_to_next_obs, keys.gamma]

    def _step_keys(self, *networks: Any) -> list[NestedKey]:
        """What ``networks`` read before and after the steps, and what the env returned; no actions."""
        keys = self.keys
        before = [key for key in distinct(*(network.in_keys for network in networks)) if key != keys.action]
        return distinct(before, below_next([*before, keys.reward, keys.done, keys.terminated]))

    def _value_target(self, tensordict: TensorDictBase, next_value: Tensor) -> Tensor:
        (estimator,) = self._estimator
        return estimator.value_target(tensordict, next_value)

    def _action(self, actor: Any, tensordict: TensorDictBase) -> Tensor:
        """The action of a deterministic ``actor`` for the observations in ``tensordict``."""
        return actor(tensordict.select(*actor.in_keys))[self.keys.action]

    def _values(self, networks: Iterable[Any], tensordict: TensorDictBase, action: Tensor | None = None) -> Tensor:
        """Values of ``action``, or of the one in ``tensordict``, by each network: ``[networks, *batch, *extra]``."""
        if action is not None:
            tensordict = tensordict.copy().set(self.keys.action, action)
        return torch.stack([self._value(network, tensordict, self.keys.state_action_value) for network in networks])

    def _regress(self, tensordict: TensorDictBase, values: Tensor, target: Tensor) -> Tensor:
        """Sum over networks of the mean distance of ``values`` ``[networks, *shape]`` from ``target`` ``[*shape]``.

        Priorities are written.
        """
        self._check_target(values[0], target)
        self._write_priority(tensordict, (values.detach() - target).abs().amax(0))
        return self._weighted_mean(tensordict, value_loss(values, target.expand_as(values), self.loss_function).sum(0))

    def _check_target(self, value: Tensor, target: Tensor) -> None:
        check_same_shape(type(self).__name__, value=value, target=target)

    def _weighted_mean(self, tensordict: TensorDictBase, loss: Tensor) -> Tensor:
        key = self.keys.priority_weight
        if tensordict.get(key, None) is not None:
            loss = loss * self._per_step(tensordict, key, loss.shape)
        return self._mean(tensordict, loss)

    def _write_priority(self, tensordict: TensorDictBase, error: Tensor) -> None:
        """Absolute errors ``[*batch, *extra]``, averaged over ``extra``; 0 for padding."""
        if error.ndim > tensordict.ndim:
            error = error.flatten(tensordict.ndim).mean(-1)
        if tensordict.get(self.keys.mask, None) is not None:
            error = error.masked_fill(~self._per_step(tensordict, self.keys.mask), 0.0)
        tensordict.set(self.keys.priority, error)
