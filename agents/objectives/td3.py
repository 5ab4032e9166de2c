"""Twin delayed DDPG: its target as functions, and the losses as a module over TensorDicts."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import NestedKey, TensorDict, TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from agents.objectives.bounds import bounds_of
from agents.objectives.copies import copies_of
from agents.objectives.frozen import hold_out_net
from agents.objectives.loss_module import distinct
from agents.objectives.off_policy import OffPolicyLoss

__all__ = ["TD3Loss", "smoothed_action"]


def smoothed_action(
    action: Tensor, noise_std: float, noise_clip: float, low: float | Tensor, high: float | Tensor
) -> Tensor:
    """Return actions with clipped Gaussian noise, within their bounds.

    Target policy smoothing of Fujimoto et al. 2018 (https://arxiv.org/abs/1802.09477, eq. 14).

    Args:
        action: actions, any shape.
        noise_std: standard deviation of the noise, in units of the action.
        noise_clip: largest noise, likewise.
        low: lower bound of actions, a number or a tensor that broadcasts to them.
        high: upper bound.

    Example:
        >>> import torch
        >>> smoothed_action(torch.tensor([0.5, 2.0]), 0.0, 0.5, -1.0, 1.0)
        tensor([0.5000, 1.0000])
    """
    noise = (torch.randn_like(action) * noise_std).clamp_(-noise_clip, noise_clip)
    return (action + noise).clamp_min(low).clamp_max(high)


class TD3Loss(OffPolicyLoss):
    """The losses of TD3, Fujimoto et al. 2018 (https://arxiv.org/abs/1802.09477): ``loss_actor`` and ``loss_qvalue``.

    Targets are made of the smallest of the delayed critics' values, at actions of the delayed actor with noise
    (:func:`smoothed_action`). ``loss_actor`` is the mean of the first critic's values of the actor's actions, negated,
    and has no gradient in the critics; ``loss_qvalue`` is the mean distance of values from their targets, summed over
    critics. A call reads observations before and after the steps, actions, reward and flags. Beside the losses it
    returns, without gradient, ``pred_value`` ``[critics, *batch]``, and ``target_value`` and ``td_error`` (the largest
    absolute one), each of the shape of the batch. What a call writes is told at :class:`OffPolicyLoss`.

    Training that moves the actor less often than the critics calls :meth:`qvalue_loss` and :meth:`actor_loss`.

    Args:
        actor_network: TensorDict module that writes ``"action"``.
        qvalue_network: TensorDict module that reads it, and writes ``"state_action_value"``, shape ``[*batch, 1]``;
            the other critics are copies with weights of their own. Or a list of all.
        action_spec: spec of the action, whose bounds actions with noise are kept in.
        bounds: the bounds, where there is no spec.
        num_qvalue_nets: number of critics.
        policy_noise: standard deviation of the noise, in units of the action.
        noise_clip: largest noise, likewise.
        loss_function: ``"smooth_l1"``, ``"l1"`` or ``"l2"``, see :func:`value_loss`.
        delay_actor: whether the actions of targets come from a delayed copy of the actor.
        delay_qvalue: whether targets come from delayed copies of the critics.
        gamma: discount factor.

    Raises:
        ValueError: if there is not exactly one of ``action_spec`` and ``bounds``, or copies of the critic would be
            alike; on a call, if an entry has a wrong shape.
        KeyError: on a call, if an entry is missing.

    Example:
        >>> from agents.nn import MLP, Actor, ValueOperator
        >>> critic = ValueOperator(MLP(4, 1), in_keys=["observation", "action"])
        >>> loss = TD3Loss(Actor(MLP(3, 1)), critic, bounds=(-1.0, 1.0))
        >>> after = {"observation": torch.randn(8, 3), "reward": torch.randn(8, 1)}
        >>> after["done"] = after["terminated"] = torch.zeros(8, 1, dtype=torch.bool)
        >>> batch = {"observation": torch.randn(8, 3), "action": torch.randn(8, 1), "next": after}
        >>> losses = loss(TensorDict(batch, [8]))
        >>> (losses["loss_actor"] + losses["loss_qvalue"]).backward()
        >>> losses["pred_value"].shape
        torch.Size([2, 8])
    """

    low: Tensor
    high: Tensor

    def __init__(
        self,
        actor_network: TensorDictModuleBase,
        qvalue_network: Any,
        *,
        action_spec: Any = None,
        bounds: tuple[float | Tensor, float | Tensor] | None = None,
        num_qvalue_nets: int = 2,
        policy_noise: float = 0.2,
        noise_clip: float = 0.5,
        loss_function: str = "smooth_l1",
        delay_actor: bool = True,
        delay_qvalue: bool = True,
        gamma: float = 0.99,
    ) -> None:
        super().__init__(loss_function, gamma)
        low, high = bounds_of("TD3Loss", action_spec, bounds)
        self.register_buffer("low", low)
        self.register_buffer("high", high)
        self.policy_noise = policy_noise
        self.noise_clip = noise_clip
        self.actor_network = actor_network
        self.qvalue_network = copies_of(qvalue_network, num_qvalue_nets, "TD3Loss: qvalue_network")
        self._delay("actor_network", delay_actor)
        self._delay("qvalue_network", delay_qvalue)

    @property
    def in_keys(self) -> list[NestedKey]:
        """The entries that a call needs."""
        return distinct(self._step_keys(self.actor_network, *self.qvalue_network), [self.keys.action])

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Return losses, scalars, and numbers per step, of a TensorDict with at least one batch dimension."""
        return self.qvalue_loss(tensordict).set("loss_actor", self.actor_loss(tensordict))

    def qvalue_loss(self, tensordict: TensorDictBase) -> TensorDictBase:
        """The loss of the critics, and numbers per step."""
        target = self.value_target(tensordict)
        values = self._values(self.qvalue_network, tensordict)
        return TensorDict(
            {
                "loss_qvalue": self._regress(tensordict, values, target),
                "pred_value": values.detach(),
                "target_value": target,
                "td_error": (values.detach() - target).abs().amax(0),
            },
            [],
        )

    def actor_loss(self, tensordict: TensorDictBase) -> Tensor:
        """The loss of the actor, a scalar."""
        critic = self.qvalue_network[0]
        with hold_out_net(critic):
            (value,) = self._values([critic], tensordict, self._action(self.actor_network, tensordict))
        return -self._mean(tensordict, value)

    @torch.no_grad()
    def value_target(self, tensordict: TensorDictBase) -> Tensor:
        """Value targets, shape ``[*batch]``."""
        after = tensordict["next"]
        action = self._action(self._target("actor_network"), after)
        action = smoothed_action(action, self.policy_noise, self.noise_clip, self.low, self.high)
        return self._value_target(tensordict, self._values(self._target("qvalue_network"), after, action).amin(0))
