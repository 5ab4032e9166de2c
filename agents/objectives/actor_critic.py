"""What losses of a stochastic policy and a critic have in common."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from tensordict import NestedKey, TensorDict, TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Size, Tensor
from torch.distributions import Distribution

from agents.objectives.frozen import hold_out_net
from agents.objectives.loss_module import LossModule, distinct
from agents.objectives.value_loss import DISTANCES, value_loss
from agents.returns import ValueEstimators, standardize

__all__ = ["ActorCriticLoss"]


@dataclass(frozen=True)
class _Keys:
    """Entries that are read; reward and flags are those under ``"next"``."""

    advantage: NestedKey = "advantage"
    value_target: NestedKey = "value_target"
    value: NestedKey = "state_value"
    sample_log_prob: NestedKey = "sample_log_prob"
    action: NestedKey = "action"
    reward: NestedKey = "reward"
    done: NestedKey = "done"
    terminated: NestedKey = "terminated"
    mask: NestedKey = ("collector", "mask")


class ActorCriticLoss(LossModule):
    """Base of losses of a stochastic policy and a critic of states.

    A call reads observations, actions, ``"advantage"`` and ``"value_target"`` and returns a TensorDict of scalars:
    ``loss_objective``, ``loss_critic`` and ``loss_entropy``, and without gradient ``entropy`` and the metrics of the
    loss. Where there is no advantage and ``gamma`` was given (or :meth:`make_value_estimator` was called), the value
    estimator writes one.

    Args:
        actor_network: policy with a ``get_dist(tensordict)`` method, such as :class:`ProbabilisticActor`.
        critic_network: TensorDict module that writes ``"state_value"``.
        entropy_bonus: whether the entropy of the policy is rewarded.
        entropy_coef: weight of the entropy, which one sample estimates where there is no closed form.
        critic_coef: weight of the critic's loss.
        loss_critic_type: ``"smooth_l1"``, ``"l1"`` or ``"l2"``, see :func:`value_loss`.
        normalize_advantage: whether advantages are brought to mean 0 and standard deviation 1 per call.
        clip_value: how far values may move from the stored ones.
        separate_losses: whether parameters that policy and critic share learn from the policy alone.
        gamma: discount factor; if given, advantages are estimated where they are missing.
        entropy_coeff: other spelling of ``entropy_coef`` (0.01 by default).
        critic_coeff: other spelling of ``critic_coef`` (1.0 by default).
        actor: old name of ``actor_network``.
        critic: old name of ``critic_network``.

    Raises:
        ValueError: if an argument is given under two names or ``loss_critic_type`` is unknown; on a call, if
            an entry has a shape other than that of the batch.
        KeyError: on a call, if an entry is missing.
    """

    default_value_estimator = ValueEstimators.GAE
    default_keys = _Keys()
    reads_log_prob: ClassVar[bool]
    """Whether the loss needs the log-probabilities under the policy that acted."""
    has_clip_epsilon: ClassVar[bool] = False
    """Whether the loss has a ``clip_epsilon``, which ``clip_value=True`` stands for."""

    def __init__(
        self,
        actor_network: Any = None,
        critic_network: TensorDictModuleBase | None = None,
        *,
        entropy_bonus: bool = True,
        entropy_coef: float | None = None,
        critic_coef: float | None = None,
        loss_critic_type: str = "smooth_l1",
        normalize_advantage: bool = False,
        clip_value: bool | float | None = None,
        separate_losses: bool = False,
        gamma: float | None = None,
        entropy_coeff: float | None = None,
        critic_coeff: float | None = None,
        actor: Any = None,
        critic: TensorDictModuleBase | None = None,
    ) -> None:
        super().__init__()
        if loss_critic_type not in DISTANCES:
            raise ValueError(
                f"{type(self).__name__}: expected loss_critic_type to be one of {sorted(DISTANCES)}, "
                f"found {loss_critic_type!r}"
            )
        if clip_value is True and not self.has_clip_epsilon:
            raise ValueError(f"{type(self).__name__}: expected clip_value to be a distance, found True")
        self.actor_network = self._one_of(actor_network=actor_network, actor=actor)
        self.critic_network: TensorDictModuleBase = self._one_of(critic_network=critic_network, critic=critic)
        self.entropy_bonus = entropy_bonus
        self.entropy_coef = self._one_of(0.01, entropy_coef=entropy_coef, entropy_coeff=entropy_coeff)
        self.critic_coef = self._one_of(1.0, critic_coef=critic_coef, critic_coeff=critic_coeff)
        self.loss_critic_type = loss_critic_type
        self.normalize_advantage = normalize_advantage
        self.clip_value = clip_value
        self.separate_losses = separate_losses
        if gamma is not None:
            self.make_value_estimator(gamma=gamma)

    @abstractmethod
    def _objective(self, log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor) -> dict[str, Tensor]:
        """``loss_objective`` and metrics, from numbers of steps that are no padding.

        Where the loss does not read log-probabilities, ``old_log_prob`` is ``log_prob`` without its gradient.
        """

    @property
    def in_keys(self) -> list[NestedKey]:
        """The entries that a call needs where advantages have been estimated beforehand."""
        keys = self.keys
        read = [keys.action, keys.advantage, keys.value_target]
        read += [keys.sample_log_prob] if self.reads_log_prob else []
        read += [keys.value] if self._clip is not None else []
        return distinct(self.actor_network.in_keys, self.critic_network.in_keys, read)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Return losses and metrics, scalars, of a TensorDict with at least one batch dimension."""
        keys = self.keys
        for estimator in self._estimator:
            if tensordict.get(keys.advantage, None) is None:
                estimator(tensordict)
        dist = self.actor_network.get_dist(tensordict)
        log_prob = dist.log_prob(tensordict[keys.action])
        value = self._critic_value(tensordict)
        self._check_log_prob(tensordict, dist, log_prob, value.shape)
        old_log_prob = log_prob.detach()
        if self.reads_log_prob:
            old_log_prob = self._per_step(tensordict, keys.sample_log_prob, log_prob.shape)
        advantage = self._per_step(tensordict, keys.advantage, log_prob.shape)
        entropy = self._entropy(dist)
        critic_loss = self._critic_loss(tensordict, value)
        log_prob, old_log_prob, advantage, entropy, critic_loss = self._valid(
            tensordict, log_prob, old_log_prob, advantage, entropy, critic_loss
        )
        if self.normalize_advantage:
            advantage = standardize(advantage)
        results = self._objective(log_prob, old_log_prob, advantage)
        results["loss_critic"] = self.critic_coef * critic_loss.mean()
        mean_entropy = entropy.mean()
        bonus = -self.entropy_coef * mean_entropy
        results["loss_entropy"] = bonus if self.entropy_bonus else torch.zeros_like(bonus)
        results["entropy"] = mean_entropy.detach()
        return TensorDict(results, [])

    def _baseline(self) -> TensorDictModuleBase:
        return self.critic_network

    @property
    def _clip(self) -> float | None:
        """How far values may move from the stored ones."""
        return None if self.clip_value is None or self.clip_value is False else self.clip_value

    def _critic_value(self, tensordict: TensorDictBase) -> Tensor:
        with hold_out_net(self.actor_network) if self.separate_losses else nullcontext():
            return self._value(self.critic_network, tensordict, self.keys.value)

    def _critic_loss(self, tensordict: TensorDictBase, value: Tensor) -> Tensor:
        keys, clip = self.keys, self._clip
        target = self._per_step(tensordict, keys.value_target, value.shape)
        if clip is None:
            return value_loss(value, target, self.loss_critic_type)
        old_value = self._per_step(tensordict, keys.value, value.shape)
        return value_loss(value, target, self.loss_critic_type, old_value, clip)

    def _check_log_prob(self, tensordict: TensorDictBase, dist: Distribution, log_prob: Tensor, value: Size) -> None:
        action = self.keys.action
        group = tensordict.get(action[:-1]) if isinstance(action, tuple) else tensordict
        if log_prob.shape not in (group.batch_size, value):
            raise ValueError(
                f"{type(self).__name__}: expected log-probabilities of the shape of the batch, "
                f"{list(group.batch_size)}, found {list(log_prob.shape)} from {type(dist).__name__}; "
                "a distribution over vectors needs an event dimension (torch.distributions.Independent), and the "
                "critic of several agents a value for each"
            )

    def _entropy(self, dist: Distribution) -> Tensor:
        """Entropy per sample, from one sample where there is no closed form."""
        with nullcontext() if self.entropy_bonus else torch.no_grad():
            try:
                return dist.entropy()
            except NotImplementedError:
                return -dist.log_prob(dist.rsample() if dist.has_rsample else dist.sample())

    def _one_of(self, default: Any = None, **named: Any) -> Any:
        """The argument that was given, under whichever name."""
        owner = type(self).__name__
        given = [name for name, value in named.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"{owner}: expected one of {given}, which mean the same, found both")
        if not given and default is None:
            raise ValueError(f"{owner}: {next(iter(named))} is required, found None")
        return named[given[0]] if given else default
