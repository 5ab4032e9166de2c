"""CrossQ, as a module over TensorDicts."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor

from agents.objectives.loss_module import distinct
from agents.objectives.max_entropy import MaxEntropyLoss, soft_value

__all__ = ["CrossQLoss"]


class CrossQLoss(MaxEntropyLoss):
    """The losses of CrossQ, Bhatt et al. 2024 (https://arxiv.org/abs/1902.05605): SAC without delayed networks.

    Critics have batch normalisation (:class:`BatchRenorm1d`). They see the steps and what follows them in one batch, so
    that both are normalised alike, in training mode; and the actions of the actor in evaluation mode, with the running
    statistics. Targets and ``loss_actor`` are made of the smallest of the critics' values. Arguments, what is read and
    what is returned are those of :class:`MaxEntropyLoss`, without ``delay_qvalue``. Normalisation sees padding, so drop
    it beforehand: ``loss(steps[mask])``.

    Example:
        >>> from torch import nn
        >>> from tensordict import TensorDict
        >>> from agents.nn import MLP, NormalParamExtractor, ProbabilisticActor, TanhNormal
        >>> from agents.nn import TensorDictModule, ValueOperator
        >>> net = TensorDictModule(nn.Sequential(MLP(3, 2), NormalParamExtractor()), ["observation"], ["loc", "scale"])
        >>> actor = ProbabilisticActor(net, ["loc", "scale"], distribution_class=TanhNormal)
        >>> class Critic(nn.Sequential):
        ...     def forward(self, observation, action):
        ...         return super().forward(torch.cat([observation, action], -1))
        >>> critic = Critic(nn.BatchNorm1d(4), nn.Linear(4, 16), nn.ReLU(), nn.BatchNorm1d(16), nn.Linear(16, 1))
        >>> loss = CrossQLoss(actor, ValueOperator(critic, in_keys=["observation", "action"]))
        >>> after = {"observation": torch.randn(8, 3), "reward": torch.randn(8, 1)}
        >>> after["done"] = after["terminated"] = torch.zeros(8, 1, dtype=torch.bool)
        >>> batch = {"observation": torch.randn(8, 3), "action": torch.rand(8, 1), "next": after}
        >>> losses = loss(TensorDict(batch, [8]))
        >>> (losses["loss_actor"] + losses["loss_qvalue"] + losses["loss_alpha"]).backward()
        >>> list(loss.delayed_networks())
        []
    """

    def __init__(self, actor_network: Any, qvalue_network: Any, **options: Any) -> None:
        if "delay_qvalue" in options:
            raise TypeError("CrossQLoss: expected no delay_qvalue, for it has no delayed networks")
        super().__init__(actor_network, qvalue_network, delay_qvalue=False, **options)

    def actor_loss(self, tensordict: TensorDictBase) -> TensorDictBase:
        """``loss_actor`` and ``loss_alpha``, with ``alpha`` and ``entropy``."""
        training = self.qvalue_network.training
        self.qvalue_network.eval()
        try:
            return super().actor_loss(tensordict)
        finally:
            self.qvalue_network.train(training)

    def value_target(self, tensordict: TensorDictBase) -> Tensor:
        """Value targets, shape ``[*batch]``."""
        return self._values_and_target(tensordict)[1]

    def _values_and_target(self, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        after, action_key = tensordict["next"], self.keys.action
        critics: Any = self.qvalue_network
        keys = [key for key in distinct(*(critic.in_keys for critic in critics)) if key != action_key]
        with torch.no_grad():
            _, action, log_prob = self._drawn(after)
        before, following = tensordict.select(*keys, action_key), after.select(*keys).set(action_key, action)
        joined: Any = torch.cat([before.flatten(), following.flatten()])
        values, next_values = self._values(self.qvalue_network, joined).tensor_split(2, 1)
        batch = (len(values), *tensordict.batch_size)
        next_value = self._next_value(next_values.detach().reshape(*batch, *next_values.shape[2:]))
        target = self._value_target(tensordict, soft_value(next_value, log_prob, self.temperature()))
        return values.reshape(*batch, *values.shape[2:]), target
