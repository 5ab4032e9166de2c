"""What losses of values of discrete actions have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tensordict import NestedKey, TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from agents.objectives.loss_module import below_next, distinct
from agents.objectives.off_policy import OffPolicyKeys, OffPolicyLoss

__all__ = ["QLearningLoss"]


@dataclass(frozen=True)
class _Keys(OffPolicyKeys):
    """Entries that are read; reward, flags and mask of actions are those under ``"next"``. ``priority`` is written."""

    action_value: NestedKey = "action_value"
    action_mask: NestedKey = "action_mask"


class QLearningLoss(OffPolicyLoss):
    """Base of losses of Q-learning with discrete actions.

    A call reads observations before and after the steps, actions (indices or one-hot), reward and flags. If there is a
    mask of actions at ``("next", "action_mask")``, only possible ones are taken for the best. What a call writes is
    told at :class:`OffPolicyLoss`.

    Args:
        value_network: TensorDict module that writes ``"action_value"``, whose last dimension is that of actions.
        double_dqn: whether the network that learns chooses the best next action, and the delayed one only says its
            value (van Hasselt et al. 2016, https://arxiv.org/abs/1509.06461).
        delay_value: whether targets come from a delayed copy of the network.
        loss_function: distance, where the loss has a choice.
        gamma: discount factor.

    Raises:
        ValueError: if ``double_dqn`` comes without ``delay_value``; on a call, if an entry has a wrong shape.
        KeyError: on a call, if an entry is missing.
    """

    default_keys: ClassVar[Any] = _Keys()

    def __init__(
        self,
        value_network: TensorDictModuleBase,
        *,
        double_dqn: bool = False,
        delay_value: bool = True,
        loss_function: str = "l2",
        gamma: float = 0.99,
    ) -> None:
        super().__init__(loss_function, gamma)
        if double_dqn and not delay_value:
            raise ValueError(f"{type(self).__name__}: expected delay_value=True with double_dqn=True, found False")
        self.value_network = value_network
        self.double_dqn = double_dqn
        self._delay("value_network", delay_value)

    @property
    def in_keys(self) -> list[NestedKey]:
        """The entries that a call needs."""
        return distinct(self._step_keys(self.value_network), [self.keys.action])

    @property
    def optional_in_keys(self) -> list[NestedKey]:
        """The entries that a call reads where there are any."""
        return [*super().optional_in_keys, *below_next([self.keys.action_mask])]

    def _output(self, network: TensorDictModuleBase, tensordict: TensorDictBase) -> Tensor:
        return network(tensordict.select(*network.in_keys))[self.keys.action_value]

    def _next_outputs(self, tensordict: TensorDictBase) -> tuple[Tensor, Tensor, Tensor | None]:
        """After the steps: what the delayed network says, what the best action is chosen by, and which are possible."""
        after = tensordict["next"]
        output = self._output(self._target("value_network"), after)
        selector = self._output(self.value_network, after) if self.double_dqn else output
        return output, selector, after.get(self.keys.action_mask, None)
