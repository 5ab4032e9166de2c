"""What losses of policies that are rewarded for their entropy have in common."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import NestedKey, TensorDict, TensorDictBase
from torch import Tensor
from torch.distributions import Distribution

from agents.objectives.copies import copies_of
from agents.objectives.frozen import hold_out_net
from agents.objectives.loss_module import distinct
from agents.objectives.off_policy import OffPolicyLoss
from agents.objectives.temperature import Temperature, temperature_loss
from agents.returns.shapes import check_same_shape

__all__ = ["MaxEntropyLoss", "sac_actor_loss", "soft_value"]


def soft_value(value: Tensor, log_prob: Tensor, alpha: float | Tensor) -> Tensor:
    """Return ``value - alpha * log_prob``: the value of a state, estimated from one action.

    Haarnoja et al. 2018 (https://arxiv.org/abs/1812.05905, eq. 3).

    Args:
        value: values of actions that were drawn from the policy, shape ``[*batch]``.
        log_prob: their log-probabilities, same shape.
        alpha: temperature.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> import torch
        >>> soft_value(torch.tensor([1.0, 2.0]), torch.tensor([-1.0, 1.0]), 0.5)
        tensor([1.5000, 1.5000])
    """
    check_same_shape("soft_value", value=value, log_prob=log_prob)
    return value - alpha * log_prob


def sac_actor_loss(value: Tensor, log_prob: Tensor, alpha: float | Tensor) -> Tensor:
    """Return ``alpha * log_prob - value`` per step, Haarnoja et al. 2018 (https://arxiv.org/abs/1812.05905, eq. 7).

    Args:
        value: values of actions that were drawn from the policy and have a gradient in it, shape ``[*batch]``.
        log_prob: their log-probabilities, same shape.
        alpha: temperature.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> import torch
        >>> sac_actor_loss(torch.tensor([1.0, 2.0]), torch.tensor([-1.0, 1.0]), 0.5)
        tensor([-1.5000, -1.5000])
    """
    return -soft_value(value, log_prob, alpha)


class MaxEntropyLoss(OffPolicyLoss):
    """Base of losses of a stochastic policy of continuous actions, several critics, and a temperature.

    A call reads observations before and after the steps, actions, reward and flags, and returns a TensorDict of
    ``loss_actor``, which has no gradient in the critics, ``loss_qvalue``, summed over critics, and ``loss_alpha``; and
    without gradient ``alpha``, ``entropy`` (estimated from one action per step), ``pred_value`` ``[critics, *batch]``,
    and ``target_value`` and ``td_error`` (the largest absolute one), each of the shape of the batch. What a call writes
    is told at :class:`OffPolicyLoss`. Actions are drawn by torch's default generator.

    Args:
        actor_network: policy with a ``get_dist(tensordict)`` method whose distribution has ``rsample``.
        qvalue_network: TensorDict module that reads observations and ``"action"`` and writes ``"state_action_value"``,
            shape ``[*batch, 1]``; the other critics are copies with weights of their own. Or a list of all.
        num_qvalue_nets: number of critics.
        loss_function: ``"smooth_l1"``, ``"l1"`` or ``"l2"``, see :func:`value_loss`.
        alpha_init: the first temperature.
        min_alpha: lower bound of the temperature.
        max_alpha: upper bound.
        fixed_alpha: whether the temperature stays as it is; there is no ``loss_alpha`` then.
        target_entropy: entropy, in nats, that the temperature steers to; ``"auto"`` is minus the number of numbers in
            an action.
        delay_qvalue: whether targets come from delayed copies of the critics.
        gamma: discount factor.

    Raises:
        ValueError: if ``alpha_init`` is not positive or within its bounds, or copies of the critic would be alike; on a
            call, if an entry has a wrong shape.
        KeyError: on a call, if an entry is missing.
    """

    def __init__(
        self,
        actor_network: Any,
        qvalue_network: Any,
        *,
        num_qvalue_nets: int = 2,
        loss_function: str = "smooth_l1",
        alpha_init: float = 1.0,
        min_alpha: float | None = None,
        max_alpha: float | None = None,
        fixed_alpha: bool = False,
        target_entropy: float | str = "auto",
        delay_qvalue: bool = True,
        gamma: float = 0.99,
    ) -> None:
        super().__init__(loss_function, gamma)
        name = type(self).__name__
        if isinstance(target_entropy, str) and target_entropy != "auto":
            raise ValueError(f"{name}: expected target_entropy to be a number or 'auto', found {target_entropy!r}")
        self.actor_network = actor_network
        self.qvalue_network = copies_of(qvalue_network, num_qvalue_nets, f"{name}: qvalue_network")
        self.temperature = Temperature(alpha_init, min_alpha, max_alpha, fixed_alpha)
        self.fixed_alpha = fixed_alpha
        self.target_entropy = target_entropy
        self._delay("qvalue_network", delay_qvalue)

    @property
    def log_alpha(self) -> Tensor:
        """The logarithm of the temperature, a scalar: a parameter, unless it is fixed."""
        return self.temperature.log_alpha

    @property
    def in_keys(self) -> list[NestedKey]:
        """The entries that a call needs."""
        return distinct(self._step_keys(self.actor_network, *self.qvalue_network), [self.keys.action])

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Return losses, scalars, and numbers per step, of a TensorDict with at least one batch dimension."""
        return self.qvalue_loss(tensordict).update(self.actor_loss(tensordict))

    def qvalue_loss(self, tensordict: TensorDictBase) -> TensorDictBase:
        """``loss_qvalue``, and numbers per step."""
        values, target = self._values_and_target(tensordict)
        return TensorDict(
            {
                "loss_qvalue": self._regress(tensordict, values, target),
                **self._further_losses(tensordict, values),
                "pred_value": values.detach(),
                "target_value": target,
                "td_error": (values.detach() - target).abs().amax(0),
            },
            [],
        )

    def actor_loss(self, tensordict: TensorDictBase) -> TensorDictBase:
        """``loss_actor`` and ``loss_alpha``, with ``alpha`` and ``entropy``."""
        alpha = self.temperature()
        dist, action, log_prob = self._drawn(tensordict)
        with hold_out_net(self.qvalue_network):
            value = self._actor_value(self._values(self.qvalue_network, tensordict, action))
        results = {"loss_actor": self._mean(tensordict, sac_actor_loss(value, log_prob, alpha))}
        if not self.fixed_alpha:
            losses = temperature_loss(self.log_alpha, log_prob, self._wanted_entropy(dist))
            results["loss_alpha"] = self._mean(tensordict, losses)
        results |= {"alpha": alpha, "entropy": -self._mean(tensordict, log_prob.detach())}
        return TensorDict(results, [])

    @torch.no_grad()
    def value_target(self, tensordict: TensorDictBase) -> Tensor:
        """Value targets, shape ``[*batch]``."""
        after = tensordict["next"]
        _, action, log_prob = self._drawn(after)
        value = self._next_value(self._values(self._target("qvalue_network"), after, action))
        return self._value_target(tensordict, soft_value(value, log_prob, self.temperature()))

    def _next_value(self, values: Tensor) -> Tensor:
        """The value that targets are made of, from those of the critics, ``[critics, *batch]``: the smallest."""
        return values.amin(0)

    def _actor_value(self, values: Tensor) -> Tensor:
        """The value that the actor is to raise, from those of the critics, ``[critics, *batch]``: the smallest."""
        return values.amin(0)

    def _values_and_target(self, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        target = self.value_target(tensordict)
        return self._values(self.qvalue_network, tensordict), target

    def _further_losses(self, tensordict: TensorDictBase, values: Tensor) -> dict[str, Tensor]:
        """Losses of the critics beside the distance of ``values`` ``[critics, *batch]`` from their targets."""
        return {}

    def _drawn(self, tensordict: TensorDictBase) -> tuple[Distribution, Tensor, Tensor]:
        """The distribution for the observations in ``tensordict``, an action of it, and its log-probability."""
        dist = self.actor_network.get_dist(tensordict)
        action = dist.rsample()
        return dist, action, dist.log_prob(action)

    def _wanted_entropy(self, dist: Distribution) -> float:
        return -float(dist.event_shape.numel()) if self.target_entropy == "auto" else float(self.target_entropy)
