"""Proximal policy optimisation: the loss as functions, and as a module over TensorDicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from tensordict import NestedKey, TensorDict, TensorDictBase, unravel_key
from tensordict.nn import TensorDictModuleBase
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn import functional

from agents.returns import GAE, standardize

__all__ = [
    "ClipPPOLoss",
    "approximate_kl",
    "clip_fraction",
    "clipped_surrogate",
    "effective_sample_size",
    "value_loss",
]

DISTANCES = {
    "l1": functional.l1_loss,
    "l2": functional.mse_loss,
    "smooth_l1": functional.smooth_l1_loss,
}


def clipped_surrogate(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip_epsilon: float) -> Tensor:
    """Return the negated clipped surrogate of Schulman et al. 2017 (https://arxiv.org/abs/1707.06347, eq. 7).

    ``-min(ratio * advantage, clip(ratio, 1 - clip_epsilon, 1 + clip_epsilon) * advantage)`` per sample, where
    ``ratio = exp(log_prob - old_log_prob)``. Its mean is the loss.

    Args:
        log_prob: log-probabilities of the actions under the policy that learns, shape ``[*batch]``.
        old_log_prob: those under the policy that acted, same shape.
        advantage: advantages, same shape.
        clip_epsilon: how far the ratio may move from 1 before its gradient is cut.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> import torch
        >>> old = torch.zeros(2)
        >>> clipped_surrogate(torch.tensor([1.0, -1.0]), old, torch.tensor([1.0, 1.0]), 0.2)
        tensor([-1.2000, -0.3679])
    """
    _check_shapes("clipped_surrogate", log_prob=log_prob, old_log_prob=old_log_prob, advantage=advantage)
    ratio = (log_prob - old_log_prob).exp()
    # Clipping the ratio matters on one side only, the one that the sign of the advantage names, so the second
    # term is a constant; that halves the cost of the backward pass.
    bound = torch.add(advantage, advantage.abs(), alpha=clip_epsilon)
    return -(ratio * advantage).clamp_max(bound)


def value_loss(
    value: Tensor,
    target: Tensor,
    kind: str = "smooth_l1",
    old_value: Tensor | None = None,
    clip: float | None = None,
) -> Tensor:
    """Return the distance between values and their targets, per sample. Its mean is the loss.

    With ``clip``, the value may move at most that far from ``old_value`` before its gradient is cut: the loss
    is the larger of the distances of the value and of the clipped value (not in the paper but in the code
    that came with it, Engstrom et al. 2020, https://arxiv.org/abs/2005.12729).

    Args:
        value: values under the critic that learns, any shape.
        target: what they should be, same shape.
        kind: ``"smooth_l1"`` (Huber with threshold 1), ``"l1"``, or ``"l2"``: ``(value - target) ** 2``,
            without the factor one half.
        old_value: values under the critic that made the targets, same shape; needed with ``clip``.
        clip: distance, or ``None`` for no clipping.

    Raises:
        ValueError: if the shapes differ, ``kind`` is unknown, or ``clip`` comes without ``old_value``.

    Example:
        >>> import torch
        >>> value_loss(torch.tensor([1.0, 3.0]), torch.tensor([1.5, 1.0]), "l2")
        tensor([0.2500, 4.0000])
    """
    _check_shapes("value_loss", value=value, target=target)
    distance = DISTANCES.get(kind)
    if distance is None:
        raise ValueError(f"value_loss: expected kind to be one of {sorted(DISTANCES)}, found {kind!r}")
    loss = distance(value, target, reduction="none")
    if clip is None:
        return loss
    if old_value is None:
        raise ValueError("value_loss: clip needs old_value, found None")
    _check_shapes("value_loss", value=value, old_value=old_value)
    clipped = old_value + (value - old_value).clamp(-clip, clip)
    return torch.maximum(loss, distance(clipped, target, reduction="none"))


def approximate_kl(log_ratio: Tensor) -> Tensor:
    """Return an estimate of the KL divergence from the old policy to the new one, a scalar.

    The mean of ``exp(x) - 1 - x`` over samples of the old policy, ``x`` their log-ratio new to old; never
    negative (http://joschu.net/blog/kl-approx.html, estimator k3).

    Example:
        >>> import torch
        >>> approximate_kl(torch.zeros(5))
        tensor(0.)
    """
    return (log_ratio.expm1() - log_ratio).mean()


def clip_fraction(log_ratio: Tensor, clip_epsilon: float) -> Tensor:
    """Return the share of samples whose ratio lies outside of the clipping range, a scalar.

    Example:
        >>> import torch
        >>> clip_fraction(torch.tensor([0.0, 1.0, -1.0, 0.1]), 0.2)
        tensor(0.5000)
    """
    return (log_ratio.expm1().abs() > clip_epsilon).float().mean()


def effective_sample_size(log_ratio: Tensor) -> Tensor:
    """Return how many equally weighted samples the weights ``exp(log_ratio)`` are worth, a scalar.

    ``(sum w) ** 2 / sum w ** 2`` (Kong 1992).

    Example:
        >>> import torch
        >>> effective_sample_size(torch.zeros(5))
        tensor(5.)
    """
    weights = log_ratio.flatten()
    return (2.0 * weights.logsumexp(0) - (2.0 * weights).logsumexp(0)).exp()


@dataclass(frozen=True)
class _Keys:
    """Entries that :class:`ClipPPOLoss` reads; reward and flags are those under ``"next"``."""

    advantage: NestedKey = "advantage"
    value_target: NestedKey = "value_target"
    value: NestedKey = "state_value"
    sample_log_prob: NestedKey = "sample_log_prob"
    action: NestedKey = "action"
    reward: NestedKey = "reward"
    done: NestedKey = "done"
    terminated: NestedKey = "terminated"


class ClipPPOLoss(nn.Module):
    """The loss of PPO with clipping, Schulman et al. 2017 (https://arxiv.org/abs/1707.06347, eq. 9).

    A call reads observations, actions, ``"sample_log_prob"`` (shape: that of the batch), ``"advantage"`` and
    ``"value_target"`` (with or without a trailing 1) and returns a TensorDict of scalars: ``loss_objective``,
    ``loss_critic`` and ``loss_entropy``, coefficients applied, whose sum is to be minimised, and without
    gradient ``entropy``, ``kl_approx``, ``clip_fraction`` and ``ESS`` (effective sample size). The TensorDict
    that is read stays as it is, unless it has no advantage and the value estimator is to write one.

    Args:
        actor_network: policy with a ``get_dist(tensordict)`` method, such as :class:`ProbabilisticActor`.
        critic_network: TensorDict module that writes ``"state_value"``.
        clip_epsilon: how far the probability ratio may move from 1; may be assigned to during training.
        entropy_bonus: whether the entropy of the policy is rewarded.
        entropy_coef: weight of the entropy, which one sample estimates where there is no closed form.
        critic_coef: weight of the critic's loss.
        loss_critic_type: ``"smooth_l1"``, ``"l1"`` or ``"l2"``, see :func:`value_loss`.
        normalize_advantage: whether advantages are brought to mean 0 and standard deviation 1 per call.
        clip_value: how far values may move from the stored ones, ``True`` for ``clip_epsilon``.
        gamma: discount factor; if given, advantages are estimated where they are missing.
        entropy_coeff: other spelling of ``entropy_coef`` (0.01 by default).
        critic_coeff: other spelling of ``critic_coef`` (1.0 by default).
        actor: old name of ``actor_network``.
        critic: old name of ``critic_network``.

    Raises:
        ValueError: if an argument is given under two names or ``loss_critic_type`` is unknown; on a call, if
            an entry has a shape other than that of the batch.
        KeyError: on a call, if an entry is missing.

    Example:
        >>> import torch
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

    default_value_estimator = "gae"

    def __init__(
        self,
        actor_network: Any = None,
        critic_network: TensorDictModuleBase | None = None,
        *,
        clip_epsilon: float = 0.2,
        entropy_bonus: bool = True,
        entropy_coef: float | None = None,
        critic_coef: float | None = None,
        loss_critic_type: str = "smooth_l1",
        normalize_advantage: bool = False,
        clip_value: bool | float | None = None,
        gamma: float | None = None,
        entropy_coeff: float | None = None,
        critic_coeff: float | None = None,
        actor: Any = None,
        critic: TensorDictModuleBase | None = None,
    ) -> None:
        super().__init__()
        if loss_critic_type not in DISTANCES:
            raise ValueError(
                f"ClipPPOLoss: expected loss_critic_type to be one of {sorted(DISTANCES)}, found {loss_critic_type!r}"
            )
        self.actor_network = _one_of(actor_network=actor_network, actor=actor)
        self.critic_network: TensorDictModuleBase = _one_of(critic_network=critic_network, critic=critic)
        self.clip_epsilon = clip_epsilon
        self.entropy_bonus = entropy_bonus
        self.entropy_coef = _one_of(0.01, entropy_coef=entropy_coef, entropy_coeff=entropy_coeff)
        self.critic_coef = _one_of(1.0, critic_coef=critic_coef, critic_coeff=critic_coeff)
        self.loss_critic_type = loss_critic_type
        self.normalize_advantage = normalize_advantage
        self.clip_value = clip_value
        self.keys = _Keys()
        # In a tuple, for the estimator shares the critic: its parameters are not to be registered twice.
        self._estimator: tuple[GAE, ...] = ()
        if gamma is not None:
            self.make_value_estimator(gamma=gamma)

    def set_keys(self, **keys: NestedKey) -> None:
        """Rename entries: advantage, value_target, value, sample_log_prob, action, reward, done, terminated.

        Raises:
            TypeError: for another name.
        """
        self.keys = replace(self.keys, **{name: unravel_key(key) for name, key in keys.items()})
        for estimator in self._estimator:
            self._name_entries(estimator)

    def make_value_estimator(
        self,
        value_type: str = default_value_estimator,
        *,
        gamma: float = 0.99,
        lmbda: float = 0.95,
        average_gae: bool = False,
    ) -> None:
        """Estimate advantages, where a TensorDict has none, by :class:`GAE` with the critic.

        Raises:
            ValueError: if ``value_type`` is not ``"gae"``.
        """
        if value_type != "gae":
            raise ValueError(f"ClipPPOLoss: expected value_type 'gae', found {value_type!r}")
        estimator = GAE(gamma, lmbda, self.critic_network, average_gae)
        self._name_entries(estimator)
        self._estimator = (estimator,)

    @property
    def value_estimator(self) -> GAE | None:
        """What estimates missing advantages, if anything does."""
        return self._estimator[0] if self._estimator else None

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Return losses and diagnostics, scalars, of a TensorDict with at least one batch dimension."""
        keys = self.keys
        for estimator in self._estimator:
            if tensordict.get(keys.advantage, None) is None:
                estimator(tensordict)
        dist = self.actor_network.get_dist(tensordict)
        log_prob = dist.log_prob(tensordict[keys.action])
        if log_prob.shape != tensordict.batch_size:
            raise ValueError(
                f"ClipPPOLoss: expected log-probabilities of the shape of the batch, "
                f"{list(tensordict.batch_size)}, found {list(log_prob.shape)} from {type(dist).__name__}; "
                "a distribution over vectors needs an event dimension (torch.distributions.Independent)"
            )
        old_log_prob = _per_sample(tensordict, keys.sample_log_prob)
        advantage = _per_sample(tensordict, keys.advantage)
        if self.normalize_advantage:
            advantage = standardize(advantage)
        losses = {
            "loss_objective": clipped_surrogate(log_prob, old_log_prob, advantage, self.clip_epsilon).mean(),
            "loss_critic": self.critic_coef * self._critic_loss(tensordict).mean(),
        }
        if self.entropy_bonus:
            entropy = _entropy(dist).mean()
            losses["loss_entropy"] = -self.entropy_coef * entropy
        else:
            with torch.no_grad():
                entropy = _entropy(dist).mean()
            losses["loss_entropy"] = torch.zeros_like(entropy)
        log_ratio = (log_prob - old_log_prob).detach()
        diagnostics = {
            "entropy": entropy.detach(),
            "kl_approx": approximate_kl(log_ratio),
            "clip_fraction": clip_fraction(log_ratio, self.clip_epsilon),
            "ESS": effective_sample_size(log_ratio),
        }
        return TensorDict({**losses, **diagnostics}, [])

    def _critic_loss(self, tensordict: TensorDictBase) -> Tensor:
        keys, critic = self.keys, self.critic_network
        value = _per_sample(critic(tensordict.select(*critic.in_keys)), keys.value)
        target = _per_sample(tensordict, keys.value_target)
        if self.clip_value is None or self.clip_value is False:
            return value_loss(value, target, self.loss_critic_type)
        clip = self.clip_epsilon if self.clip_value is True else self.clip_value
        return value_loss(value, target, self.loss_critic_type, _per_sample(tensordict, keys.value), clip)

    def _name_entries(self, estimator: GAE) -> None:
        keys = self.keys
        estimator.set_keys(
            advantage=keys.advantage,
            value_target=keys.value_target,
            value=keys.value,
            reward=keys.reward,
            done=keys.done,
            terminated=keys.terminated,
        )


def _entropy(dist: Distribution) -> Tensor:
    """Entropy per sample, from one sample where there is no closed form."""
    try:
        return dist.entropy()
    except NotImplementedError:
        return -dist.log_prob(dist.rsample() if dist.has_rsample else dist.sample())


def _per_sample(tensordict: TensorDictBase, key: NestedKey) -> Tensor:
    """The entry at ``key`` in the shape of the batch: a trailing 1 goes, anything else is refused."""
    entry, batch = tensordict[key], tensordict.batch_size
    if entry.shape == batch:
        return entry
    if entry.shape == (*batch, 1):
        return entry.squeeze(-1)
    raise ValueError(
        f"ClipPPOLoss: expected {key!r} of shape {list(batch)} or {[*batch, 1]}, found {list(entry.shape)}"
    )


def _check_shapes(owner: str, **tensors: Tensor) -> None:
    (first, reference), *others = tensors.items()
    for name, tensor in others:
        if tensor.shape != reference.shape:
            raise ValueError(
                f"{owner}: expected {name} of the shape of {first}, {list(reference.shape)}, found {list(tensor.shape)}"
            )


def _one_of(default: Any = None, **named: Any) -> Any:
    """The argument that was given, under whichever name."""
    given: Sequence[str] = [name for name, value in named.items() if value is not None]
    if len(given) > 1:
        raise ValueError(f"ClipPPOLoss: expected one of {given}, which mean the same, found both")
    if given:
        return named[given[0]]
    if default is None:
        raise ValueError(f"ClipPPOLoss: {next(iter(named))} is required, found None")
    return default
