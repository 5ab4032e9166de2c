"""Deep deterministic policy gradient, as a module over TensorDicts."""

from __future__ import annotations

import torch
from tensordict import NestedKey, TensorDict, TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from agents.objectives.frozen import hold_out_net
from agents.objectives.loss_module import distinct
from agents.objectives.off_policy import OffPolicyLoss

__all__ = ["DDPGLoss"]


class DDPGLoss(OffPolicyLoss):
    """The losses of DDPG, Lillicrap et al. 2016 (https://arxiv.org/abs/1509.02971): ``loss_actor`` and ``loss_value``.

    ``loss_actor`` is the mean of the values of the actor's actions, negated, and has no gradient in the critic;
    ``loss_value`` is the mean distance of values from their targets. A call reads observations before and after the
    steps, actions, reward and flags. Beside the losses it returns, without gradient, ``pred_value``, ``target_value``
    and ``td_error`` (absolute), each of the shape of the batch, and ``pred_value_max`` and ``target_value_max``. What
    a call writes is told at :class:`OffPolicyLoss`.

    Args:
        actor_network: TensorDict module that writes ``"action"``.
        value_network: TensorDict module that reads it, and writes ``"state_action_value"``, shape ``[*batch, 1]``.
        loss_function: ``"smooth_l1"``, ``"l1"`` or ``"l2"``, see :func:`value_loss`.
        delay_actor: whether the actions of targets come from a delayed copy of the actor.
        delay_value: whether targets come from a delayed copy of the critic.
        gamma: discount factor.

    Raises:
        ValueError: if ``loss_function`` is unknown; on a call, if an entry has a wrong shape.
        KeyError: on a call, if an entry is missing.

    Example:
        >>> from agents.nn import MLP, Actor, ValueOperator
        >>> critic = ValueOperator(MLP(4, 1), in_keys=["observation", "action"])
        >>> loss = DDPGLoss(Actor(MLP(3, 1)), critic, gamma=0.99)
        >>> after = {"observation": torch.randn(8, 3), "reward": torch.randn(8, 1)}
        >>> after["done"] = after["terminated"] = torch.zeros(8, 1, dtype=torch.bool)
        >>> batch = {"observation": torch.randn(8, 3), "action": torch.randn(8, 1), "next": after}
        >>> losses = loss(TensorDict(batch, [8]))
        >>> (losses["loss_actor"] + losses["loss_value"]).backward()
        >>> losses["td_error"].shape
        torch.Size([8])
    """

    def __init__(
        self,
        actor_network: TensorDictModuleBase,
        value_network: TensorDictModuleBase,
        *,
        loss_function: str = "l2",
        delay_actor: bool = False,
        delay_value: bool = True,
        gamma: float = 0.99,
    ) -> None:
        super().__init__(loss_function, gamma)
        self.actor_network = actor_network
        self.value_network = value_network
        self._delay("actor_network", delay_actor)
        self._delay("value_network", delay_value)

    @property
    def in_keys(self) -> list[NestedKey]:
        """The entries that a call needs."""
        return distinct(self._step_keys(self.actor_network, self.value_network), [self.keys.action])

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Return losses, scalars, and numbers per step, of a TensorDict with at least one batch dimension."""
        target = self.value_target(tensordict)
        values = self._values([self.value_network], tensordict)
        value = values[0].detach()
        return TensorDict(
            {
                "loss_actor": self.actor_loss(tensordict),
                "loss_value": self._regress(tensordict, values, target),
                "pred_value": value,
                "pred_value_max": value.max(),
                "target_value": target,
                "target_value_max": target.max(),
                "td_error": (value - target).abs(),
            },
            [],
        )

    def actor_loss(self, tensordict: TensorDictBase) -> Tensor:
        """The loss of the actor, a scalar."""
        with hold_out_net(self.value_network):
            (value,) = self._values([self.value_network], tensordict, self._action(self.actor_network, tensordict))
        return -self._mean(tensordict, value)

    @torch.no_grad()
    def value_target(self, tensordict: TensorDictBase) -> Tensor:
        """Value targets, shape ``[*batch]``."""
        after = tensordict["next"]
        action = self._action(self._target("actor_network"), after)
        (next_value,) = self._values([self._target("value_network")], after, action)
        return self._value_target(tensordict, next_value)
