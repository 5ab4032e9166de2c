"""REINFORCE, as a module over TensorDicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from tensordict import NestedKey, TensorDict, TensorDictBase
from tensordict.nn import TensorDictModuleBase

from agents.objectives.loss_module import LossModule, distinct
from agents.objectives.policy_gradient import policy_gradient_loss
from agents.objectives.value_loss import value_loss
from agents.returns import ValueEstimators

__all__ = ["ReinforceLoss"]


@dataclass(frozen=True)
class _Keys:
    """Entries that are read; reward and flags are those under ``"next"``."""

    advantage: NestedKey = "advantage"
    value_target: NestedKey = "value_target"
    value: NestedKey = "state_value"
    action: NestedKey = "action"
    reward: NestedKey = "reward"
    done: NestedKey = "done"
    terminated: NestedKey = "terminated"
    mask: NestedKey = ("collector", "mask")


class ReinforceLoss(LossModule):
    """The loss of REINFORCE, Williams 1992 (Machine Learning 8): ``loss_actor``, and ``loss_value`` with a critic.

    ``loss_actor`` is the mean of :func:`policy_gradient_loss`, ``loss_value`` that of :func:`value_loss`. A call reads
    observations, actions and ``"advantage"``, with a critic ``"value_target"`` too; where there is no advantage, the
    value estimator writes one into the TensorDict (by :class:`TD1Estimator` by default: without a critic, that is the
    discounted sum of the rewards to come). Steps are consecutive then.

    Args:
        actor_network: policy with a ``get_dist(tensordict)`` method.
        critic_network: TensorDict module that writes ``"state_value"``, a baseline.
        loss_critic_type: ``"smooth_l1"``, ``"l1"`` or ``"l2"``, see :func:`value_loss`.
        gamma: discount factor.

    Raises:
        ValueError: on a call, if an entry has a shape other than that of the batch.
        KeyError: on a call, if an entry is missing.

    Example:
        >>> import torch
        >>> from agents.nn import MLP, Categorical, ProbabilisticActor, TensorDictModule
        >>> net = TensorDictModule(MLP(4, 2), in_keys=["observation"], out_keys=["logits"])
        >>> actor = ProbabilisticActor(net, ["logits"], distribution_class=Categorical)
        >>> after = {"reward": torch.ones(3, 1), "done": torch.tensor([[False], [False], [True]])}
        >>> batch = TensorDict({"observation": torch.randn(3, 4), "next": after}, [3])
        >>> batch = actor(batch).detach()
        >>> ReinforceLoss(actor, gamma=0.5)(batch)["loss_actor"].backward()
        >>> batch["advantage"].squeeze(-1)
        tensor([1.7500, 1.5000, 1.0000])
    """

    default_value_estimator = ValueEstimators.TD1
    default_keys = _Keys()

    def __init__(
        self,
        actor_network: Any,
        critic_network: TensorDictModuleBase | None = None,
        *,
        loss_critic_type: str = "smooth_l1",
        gamma: float = 0.99,
    ) -> None:
        super().__init__()
        self.actor_network = actor_network
        self.critic_network = critic_network
        self.loss_critic_type = loss_critic_type
        self.make_value_estimator(gamma=gamma)

    @property
    def in_keys(self) -> list[NestedKey]:
        """The entries that a call needs where advantages have been estimated beforehand."""
        keys, critic = self.keys, self.critic_network
        read = distinct(self.actor_network.in_keys, [keys.action, keys.advantage])
        return read if critic is None else distinct(read, critic.in_keys, [keys.value_target])

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Return losses, scalars, of a TensorDict with at least one batch dimension."""
        keys = self.keys
        if tensordict.get(keys.advantage, None) is None:
            self._write_advantage(tensordict)
        log_prob = self.actor_network.get_dist(tensordict).log_prob(tensordict[keys.action])
        advantage = self._per_step(tensordict, keys.advantage, log_prob.shape)
        results = {"loss_actor": self._mean(tensordict, policy_gradient_loss(log_prob, advantage))}
        if self.critic_network is not None:
            value = self._value(self.critic_network, tensordict, keys.value)
            target = self._per_step(tensordict, keys.value_target, value.shape)
            results["loss_value"] = self._mean(tensordict, value_loss(value, target, self.loss_critic_type))
        return TensorDict(results, [])

    def _baseline(self) -> TensorDictModuleBase | None:
        return self.critic_network

    def _write_advantage(self, tensordict: TensorDictBase) -> None:
        (estimator,) = self._estimator
        if self.critic_network is not None:
            estimator(tensordict)
            return
        returns = estimator.value_target(tensordict, torch.zeros(tensordict.batch_size, device=tensordict.device))
        tensordict.set(self.keys.advantage, returns.unsqueeze(-1))
