"""Proximal policy optimisation with an adaptive penalty, as a module over TensorDicts."""

from __future__ import annotations

from typing import Any

import torch
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from agents.objectives.actor_critic import ActorCriticLoss
from agents.objectives.diagnostics import effective_sample_size
from agents.objectives.surrogate import kl_penalty, surrogate

__all__ = ["KLPENPPOLoss"]

TOLERANCE = 1.5


class KLPENPPOLoss(ActorCriticLoss):
    """The loss of PPO with an adaptive KL penalty, Schulman et al. 2017 (https://arxiv.org/abs/1707.06347, eq. 8).

    ``loss_objective`` is the mean of ``surrogate + beta * kl_penalty`` (:func:`surrogate`, :func:`kl_penalty`). After
    each call in training mode with gradients, ``beta`` grows by the factor ``increment`` if the divergence was more
    than 1.5 times ``dtarg``, and shrinks by ``decrement`` if it was less than ``dtarg / 1.5``. Arguments, what is read
    and what is returned are those of :class:`ActorCriticLoss`; ``"sample_log_prob"`` is read too, and metrics are
    ``kl``, ``kl_coef`` (the ``beta`` of the call) and ``ESS``.

    Args:
        actor_network: policy with a ``get_dist(tensordict)`` method.
        critic_network: TensorDict module that writes ``"state_value"``.
        dtarg: wanted divergence, in nats.
        beta: weight of the penalty at first; it is in ``state_dict``.
        increment: factor by which it grows.
        decrement: factor by which it shrinks.
        options: see :class:`ActorCriticLoss`.

    Raises:
        ValueError: if ``increment`` is below 1 or ``decrement`` above; and as :class:`ActorCriticLoss`.

    Example:
        >>> from tensordict import TensorDict
        >>> from agents.nn import MLP, Categorical, ProbabilisticActor, TensorDictModule, ValueOperator
        >>> net = TensorDictModule(MLP(4, 2), in_keys=["observation"], out_keys=["logits"])
        >>> actor = ProbabilisticActor(net, ["logits"], distribution_class=Categorical, return_log_prob=True)
        >>> batch = actor(TensorDict({"observation": torch.randn(8, 4)}, [8])).detach()
        >>> batch["advantage"], batch["value_target"] = torch.randn(8, 1), torch.randn(8, 1)
        >>> loss = KLPENPPOLoss(actor, ValueOperator(MLP(4, 1)))
        >>> loss(batch)["kl"], loss.beta
        (tensor(0.), tensor(0.5000))
    """

    reads_log_prob = True
    beta: Tensor

    def __init__(
        self,
        actor_network: Any = None,
        critic_network: TensorDictModuleBase | None = None,
        *,
        dtarg: float = 0.01,
        beta: float = 1.0,
        increment: float = 2.0,
        decrement: float = 0.5,
        **options: Any,
    ) -> None:
        super().__init__(actor_network, critic_network, **options)
        if increment < 1.0 or decrement > 1.0:
            raise ValueError(
                "KLPENPPOLoss: expected increment of at least 1 and decrement of at most 1, "
                f"found {increment} and {decrement}"
            )
        self.dtarg, self.increment, self.decrement = dtarg, increment, decrement
        self.register_buffer("beta", torch.tensor(float(beta)))

    def _objective(self, log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor) -> dict[str, Tensor]:
        kl = kl_penalty(log_prob, old_log_prob).mean()
        beta = self.beta.clone()
        if self.training and torch.is_grad_enabled():
            self._adapt(kl.detach())
        return {
            "loss_objective": surrogate(log_prob, old_log_prob, advantage).mean() + beta * kl,
            "kl": kl.detach(),
            "kl_coef": beta,
            "ESS": effective_sample_size((log_prob - old_log_prob).detach()),
        }

    def _adapt(self, kl: Tensor) -> None:
        if kl > self.dtarg * TOLERANCE:
            self.beta *= self.increment
        elif kl < self.dtarg / TOLERANCE:
            self.beta *= self.decrement
