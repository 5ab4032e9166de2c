"""Soft actor-critic with discrete actions: the value as a function, and the losses as a module over TensorDicts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from tensordict import NestedKey, TensorDict, TensorDictBase
from torch import Tensor

from agents.objectives.action_value import chosen_value
from agents.objectives.max_entropy import MaxEntropyLoss
from agents.objectives.off_policy import OffPolicyKeys
from agents.objectives.temperature import temperature_loss
from agents.returns.shapes import check_same_shape

__all__ = ["DiscreteSACLoss", "discrete_soft_value"]

SHARE_OF_LARGEST_ENTROPY = 0.98


def discrete_soft_value(values: Tensor, log_probs: Tensor, alpha: float | Tensor) -> Tensor:
    """Return the expected ``value - alpha * log_prob``: the value of a state.

    Christodoulou 2019 (https://arxiv.org/abs/1910.07207, eq. 10). Negated, it is the loss of the policy (eq. 12).

    Args:
        values: values of all actions, shape ``[*batch, n]``.
        log_probs: their log-probabilities, same shape; minus infinity for those that are not possible.
        alpha: temperature.

    Returns:
        Shape ``[*batch]``.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> import torch
        >>> discrete_soft_value(torch.tensor([1.0, 3.0]), torch.tensor([0.5, 0.5]).log(), 0.0)
        tensor(2.)
    """
    check_same_shape("discrete_soft_value", values=values, log_probs=log_probs)
    probs = log_probs.exp()
    # What is not possible contributes 0, not 0 * inf.
    finite = log_probs.masked_fill(log_probs == -torch.inf, 0.0)
    return (probs * (values - alpha * finite)).sum(-1)


@dataclass(frozen=True)
class _Keys(OffPolicyKeys):
    """Entries that are read; reward and flags are those under ``"next"``. ``priority`` is written."""

    action_value: NestedKey = "action_value"


class DiscreteSACLoss(MaxEntropyLoss):
    """The losses of SAC with discrete actions, Christodoulou 2019 (https://arxiv.org/abs/1910.07207).

    Critics write ``"action_value"``, the values of all actions, shape ``[*batch, n]``, and do not read the action; the
    actor's distribution is over indices (its ``logits`` are normalised). Targets and ``loss_actor`` are expectations of
    the smallest of the critics' values. Arguments, what is read and what is returned are those of
    :class:`MaxEntropyLoss`, save that ``target_entropy="auto"`` is 0.98 times the largest one, ``log(n)``.

    Example:
        >>> from agents.nn import MLP, Categorical, ProbabilisticActor, TensorDictModule
        >>> net = TensorDictModule(MLP(3, 2), in_keys=["observation"], out_keys=["logits"])
        >>> actor = ProbabilisticActor(net, ["logits"], distribution_class=Categorical)
        >>> loss = DiscreteSACLoss(actor, TensorDictModule(MLP(3, 2), ["observation"], ["action_value"]))
        >>> after = {"observation": torch.randn(8, 3), "reward": torch.randn(8, 1)}
        >>> after["done"] = after["terminated"] = torch.zeros(8, 1, dtype=torch.bool)
        >>> batch = {"observation": torch.randn(8, 3), "action": torch.randint(2, (8,)), "next": after}
        >>> losses = loss(TensorDict(batch, [8]))
        >>> (losses["loss_actor"] + losses["loss_qvalue"] + losses["loss_alpha"]).backward()
        >>> losses["pred_value"].shape
        torch.Size([2, 8])
    """

    default_keys: ClassVar[Any] = _Keys()

    def actor_loss(self, tensordict: TensorDictBase) -> TensorDictBase:
        """``loss_actor`` and ``loss_alpha``, with ``alpha`` and ``entropy``."""
        alpha = self.temperature()
        log_probs = self.actor_network.get_dist(tensordict).logits
        with torch.no_grad():
            values = self._actor_value(self._all_values(self.qvalue_network, tensordict))
        results = {"loss_actor": -self._mean(tensordict, discrete_soft_value(values, log_probs, alpha))}
        with torch.no_grad():
            entropy = discrete_soft_value(torch.zeros_like(log_probs), log_probs, 1.0)
        if not self.fixed_alpha:
            auto = self.target_entropy == "auto"
            wanted = SHARE_OF_LARGEST_ENTROPY * math.log(log_probs.shape[-1]) if auto else float(self.target_entropy)
            results["loss_alpha"] = self._mean(tensordict, temperature_loss(self.log_alpha, -entropy, wanted))
        results |= {"alpha": alpha, "entropy": self._mean(tensordict, entropy)}
        return TensorDict(results, [])

    @torch.no_grad()
    def value_target(self, tensordict: TensorDictBase) -> Tensor:
        """Value targets, shape ``[*batch]``."""
        after = tensordict["next"]
        values = self._next_value(self._all_values(self._target("qvalue_network"), after))
        log_probs = self.actor_network.get_dist(after).logits
        return self._value_target(tensordict, discrete_soft_value(values, log_probs, self.temperature()))

    def _values_and_target(self, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        values, action = self._all_values(self.qvalue_network, tensordict), tensordict[self.keys.action]
        chosen = torch.stack([chosen_value(one, action) for one in values])
        return chosen, self.value_target(tensordict)

    def _all_values(self, networks: Iterable[Any], tensordict: TensorDictBase) -> Tensor:
        """Values of all actions by each network, ``[critics, *batch, n]``."""
        key = self.keys.action_value
        return torch.stack([network(tensordict.select(*network.in_keys))[key] for network in networks])
