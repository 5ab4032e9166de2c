"""Proximal policy optimisation with clipping, as a module over TensorDicts."""

from __future__ import annotations

from typing import Any

from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from agents.objectives.actor_critic import ActorCriticLoss
from agents.objectives.diagnostics import approximate_kl, clip_fraction, effective_sample_size
from agents.objectives.surrogate import clipped_surrogate

__all__ = ["ClipPPOLoss"]


class ClipPPOLoss(ActorCriticLoss):
    """The loss of PPO with clipping, Schulman et al. 2017 (https://arxiv.org/abs/1707.06347, eq. 9).

    A call reads observations, actions, ``"sample_log_prob"`` (shape: that of the batch), ``"advantage"`` and
    ``"value_target"`` (with or without a trailing 1) and returns a TensorDict of scalars: ``loss_objective`` (see
    :func:`clipped_surrogate`), ``loss_critic`` and ``loss_entropy``, coefficients applied, whose sum is to be
    minimised, and without gradient ``entropy``, ``kl_approx``, ``clip_fraction`` and ``ESS`` (effective sample size).

    Args:
        actor_network: policy with a ``get_dist(tensordict)`` method, such as :class:`ProbabilisticActor`.
        critic_network: TensorDict module that writes ``"state_value"``.
        clip_epsilon: how far the probability ratio may move from 1; may be assigned to during training.
        clip_value: how far values may move from the stored ones, ``True`` for ``clip_epsilon``.
        options: see :class:`ActorCriticLoss`.

    Raises:
        ValueError: if an argument is given under two names or ``loss_critic_type`` is unknown; on a call, if
            an entry has a shape other than that of the batch.
        KeyError: on a call, if an entry is missing.

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> from agents.nn import MLP, Categorical, ProbabilisticActor, TensorDictModule, ValueOperator
        >>> net = TensorDictModule(MLP(4, 2), in_keys=["observation"], out_keys=["logits"])
        >>> actor = ProbabilisticActor(net, ["logits"], distribution_class=Categorical, return_log_prob=True)
        >>> loss = ClipPPOLoss(actor, ValueOperator(MLP(4, 1)))
        >>> batch = actor(TensorDict({"observation": torch.randn(8, 4)}, [8])).detach()
        >>> batch["advantage"], batch["value_target"] = torch.randn(8, 1), torch.randn(8, 1)
        >>> losses = loss(batch)
        >>> (losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]).backward()
        >>> losses["clip_fraction"]
        tensor(0.)
    """

    reads_log_prob = True
    has_clip_epsilon = True

    def __init__(
        self,
        actor_network: Any = None,
        critic_network: TensorDictModuleBase | None = None,
        *,
        clip_epsilon: float = 0.2,
        clip_value: bool | float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(actor_network, critic_network, clip_value=clip_value, **options)
        self.clip_epsilon = clip_epsilon

    @property
    def _clip(self) -> float | None:
        return self.clip_epsilon if self.clip_value is True else super()._clip

    def _objective(self, log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor) -> dict[str, Tensor]:
        log_ratio = (log_prob - old_log_prob).detach()
        return {
            "loss_objective": clipped_surrogate(log_prob, old_log_prob, advantage, self.clip_epsilon).mean(),
            "kl_approx": approximate_kl(log_ratio),
            "clip_fraction": clip_fraction(log_ratio, self.clip_epsilon),
            "ESS": effective_sample_size(log_ratio),
        }
