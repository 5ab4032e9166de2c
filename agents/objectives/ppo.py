"""Proximal policy optimisation without clipping, as a module over TensorDicts."""

from __future__ import annotations

from torch import Tensor

from agents.objectives.actor_critic import ActorCriticLoss
from agents.objectives.diagnostics import approximate_kl, effective_sample_size
from agents.objectives.surrogate import surrogate

__all__ = ["PPOLoss"]


class PPOLoss(ActorCriticLoss):
    """The surrogate loss, Schulman et al. 2017 (https://arxiv.org/abs/1707.06347, eq. 6): see :func:`surrogate`.

    Nothing keeps the policy near the one that acted; :class:`ClipPPOLoss` and :class:`KLPENPPOLoss` do. Arguments, what
    is read and what is returned are those of :class:`ActorCriticLoss`, and ``"sample_log_prob"`` is read too. Metrics
    are ``kl_approx`` (:func:`approximate_kl`) and ``ESS`` (:func:`effective_sample_size`).

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> from agents.nn import MLP, Categorical, ProbabilisticActor, TensorDictModule, ValueOperator
        >>> net = TensorDictModule(MLP(4, 2), in_keys=["observation"], out_keys=["logits"])
        >>> actor = ProbabilisticActor(net, ["logits"], distribution_class=Categorical, return_log_prob=True)
        >>> batch = actor(TensorDict({"observation": torch.randn(8, 4)}, [8])).detach()
        >>> batch["advantage"], batch["value_target"] = torch.full((8, 1), 2.0), torch.randn(8, 1)
        >>> PPOLoss(actor, ValueOperator(MLP(4, 1)))(batch)["loss_objective"].item()
        -2.0
    """

    reads_log_prob = True

    def _objective(self, log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor) -> dict[str, Tensor]:
        log_ratio = (log_prob - old_log_prob).detach()
        return {
            "loss_objective": surrogate(log_prob, old_log_prob, advantage).mean(),
            "kl_approx": approximate_kl(log_ratio),
            "ESS": effective_sample_size(log_ratio),
        }
