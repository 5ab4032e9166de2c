"""Advantage actor-critic, as a module over TensorDicts."""

from __future__ import annotations

from torch import Tensor

from agents.objectives.actor_critic import ActorCriticLoss
from agents.objectives.policy_gradient import policy_gradient_loss

__all__ = ["A2CLoss"]


class A2CLoss(ActorCriticLoss):
    """The loss of advantage actor-critic, Mnih et al. 2016 (https://arxiv.org/abs/1602.01783): one step per batch.

    ``loss_objective`` is the mean of :func:`policy_gradient_loss`. Arguments, what is read and what is returned are
    those of :class:`ActorCriticLoss`.

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> from agents.nn import MLP, Categorical, ProbabilisticActor, TensorDictModule, ValueOperator
        >>> net = TensorDictModule(MLP(4, 2), in_keys=["observation"], out_keys=["logits"])
        >>> actor = ProbabilisticActor(net, ["logits"], distribution_class=Categorical)
        >>> batch = actor(TensorDict({"observation": torch.randn(8, 4)}, [8])).detach()
        >>> batch["advantage"], batch["value_target"] = torch.randn(8, 1), torch.randn(8, 1)
        >>> loss = A2CLoss(actor, ValueOperator(MLP(4, 1)))
        >>> sorted(loss(batch).keys())
        ['entropy', 'loss_critic', 'loss_entropy', 'loss_objective']
        >>> loss.in_keys
        ['observation', 'action', 'advantage', 'value_target']
    """

    reads_log_prob = False

    def _objective(self, log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor) -> dict[str, Tensor]:
        return {"loss_objective": policy_gradient_loss(log_prob, advantage).mean()}
