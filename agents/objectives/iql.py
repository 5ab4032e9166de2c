"""Implicit Q-learning: its parts as functions, and the losses as a module over TensorDicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from tensordict import NestedKey, TensorDict, TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from agents.objectives.copies import copies_of
from agents.objectives.loss_module import distinct
from agents.objectives.off_policy import OffPolicyKeys, OffPolicyLoss
from agents.returns.shapes import check_same_shape

__all__ = ["IQLLoss", "advantage_weighted_loss", "expectile_loss"]

LARGEST_WEIGHT = 100.0


def expectile_loss(value: Tensor, target: Tensor, expectile: float) -> Tensor:
    """Return ``|expectile - [target < value]| * (target - value) ** 2`` per step.

    Kostrikov et al. 2021 (https://arxiv.org/abs/2110.06169, eq. 5). The value that minimises its mean is the expectile
    of the targets: their mean for 0.5, near their largest for 1.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> import torch
        >>> expectile_loss(torch.tensor([1.0, 1.0]), torch.tensor([3.0, -1.0]), 0.75)
        tensor([3., 1.])
    """
    check_same_shape("expectile_loss", value=value, target=target)
    error = target - value
    return torch.where(error < 0, 1.0 - expectile, expectile) * error.square()


def advantage_weighted_loss(log_prob: Tensor, advantage: Tensor, temperature: float) -> Tensor:
    """Return ``-exp(temperature * advantage) * log_prob`` per step, the weight without gradient and at most 100.

    Kostrikov et al. 2021 (https://arxiv.org/abs/2110.06169, eq. 7).

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> import torch
        >>> advantage_weighted_loss(torch.tensor([-2.0, -2.0]), torch.tensor([0.0, 9.0]), 1.0)
        tensor([  2., 200.])
    """
    check_same_shape("advantage_weighted_loss", log_prob=log_prob, advantage=advantage)
    return -(temperature * advantage.detach()).exp().clamp_max(LARGEST_WEIGHT) * log_prob


@dataclass(frozen=True)
class _Keys(OffPolicyKeys):
    """Entries that are read; reward and flags are those under ``"next"``. ``priority`` is written."""

    value: NestedKey = "state_value"


class IQLLoss(OffPolicyLoss):
    """The losses of IQL, Kostrikov et al. 2021 (https://arxiv.org/abs/2110.06169), for data of other policies.

    A call reads observations before and after the steps, actions, reward and flags, and returns a TensorDict of
    ``loss_value`` (:func:`expectile_loss` of state values, towards the smallest of the delayed critics' values),
    ``loss_qvalue`` (distances of the critics' values from targets made of the next state values, summed over critics)
    and ``loss_actor`` (:func:`advantage_weighted_loss`); and without gradient ``pred_value`` ``[critics, *batch]``, and
    ``target_value`` and ``td_error`` (the largest absolute one), each of the shape of the batch. What a call writes is
    told at :class:`OffPolicyLoss`.

    Args:
        actor_network: policy with a ``get_dist(tensordict)`` method.
        qvalue_network: TensorDict module that reads observations and ``"action"`` and writes ``"state_action_value"``,
            shape ``[*batch, 1]``; the other critics are copies with weights of their own. Or a list of all.
        value_network: TensorDict module that writes ``"state_value"``, shape ``[*batch, 1]``.
        num_qvalue_nets: number of critics.
        loss_function: ``"smooth_l1"``, ``"l1"`` or ``"l2"``, see :func:`value_loss`.
        temperature: how much the policy prefers actions of a high advantage.
        expectile: from 0 to 1; the closer to 1, the closer state values are to those of the best actions in the data.
        gamma: discount factor.

    Raises:
        ValueError: if ``expectile`` is not between 0 and 1, or copies of the critic would be alike; on a call, if an
            entry has a wrong shape.
        KeyError: on a call, if an entry is missing.

    Example:
        >>> from agents.nn import MLP, ProbabilisticActor, TensorDictModule, ValueOperator
        >>> net = TensorDictModule(MLP(3, 2), in_keys=["observation"], out_keys=["logits"])
        >>> actor = ProbabilisticActor(net, ["logits"], distribution_class=torch.distributions.OneHotCategorical)
        >>> critic = ValueOperator(MLP(5, 1), in_keys=["observation", "action"])
        >>> loss = IQLLoss(actor, critic, ValueOperator(MLP(3, 1)), expectile=0.7)
        >>> after = {"observation": torch.randn(8, 3), "reward": torch.randn(8, 1)}
        >>> after["done"] = after["terminated"] = torch.zeros(8, 1, dtype=torch.bool)
        >>> batch = {"observation": torch.randn(8, 3), "action": torch.eye(2).repeat(4, 1), "next": after}
        >>> losses = loss(TensorDict(batch, [8]))
        >>> (losses["loss_actor"] + losses["loss_qvalue"] + losses["loss_value"]).backward()
    """

    default_keys: ClassVar[Any] = _Keys()

    def __init__(
        self,
        actor_network: Any,
        qvalue_network: Any,
        value_network: TensorDictModuleBase,
        *,
        num_qvalue_nets: int = 2,
        loss_function: str = "smooth_l1",
        temperature: float = 1.0,
        expectile: float = 0.5,
        gamma: float = 0.99,
    ) -> None:
        super().__init__(loss_function, gamma)
        if not 0.0 < expectile < 1.0:
            raise ValueError(f"IQLLoss: expected expectile between 0 and 1, found {expectile}")
        self.actor_network = actor_network
        self.qvalue_network = copies_of(qvalue_network, num_qvalue_nets, "IQLLoss: qvalue_network")
        self.value_network = value_network
        self.temperature = temperature
        self.expectile = expectile
        self._delay("qvalue_network")

    @property
    def in_keys(self) -> list[NestedKey]:
        """The entries that a call needs."""
        networks = (self.actor_network, *self.qvalue_network)
        before = [network.in_keys for network in networks]
        return distinct(self._step_keys(self.value_network), *before, [self.keys.action])

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Return losses, scalars, and numbers per step, of a TensorDict with at least one batch dimension."""
        keys, state = self.keys, self._value(self.value_network, tensordict, self.keys.value)
        with torch.no_grad():
            best = self._values(self._target("qvalue_network"), tensordict).amin(0)
            next_state = self._value(self.value_network, tensordict["next"], keys.value)
        target = self._value_target(tensordict, next_state)
        values = self._values(self.qvalue_network, tensordict)
        log_prob = self.actor_network.get_dist(tensordict).log_prob(tensordict[keys.action])
        actor_losses = advantage_weighted_loss(log_prob, best - state.detach(), self.temperature)
        return TensorDict(
            {
                "loss_actor": self._mean(tensordict, actor_losses),
                "loss_qvalue": self._regress(tensordict, values, target),
                "loss_value": self._weighted_mean(tensordict, expectile_loss(state, best, self.expectile)),
                "pred_value": values.detach(),
                "target_value": target,
                "td_error": (values.detach() - target).abs().amax(0),
            },
            [],
        )
