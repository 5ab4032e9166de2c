"""Conservative Q-learning: the penalty as a function, and the losses as a module over TensorDicts."""

from __future__ import annotations

import math
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor

from agents.objectives.bounds import bounds_of
from agents.objectives.loss_module import distinct
from agents.objectives.max_entropy import MaxEntropyLoss
from agents.returns.shapes import check_same_shape

__all__ = ["CQLLoss", "conservative_penalty"]


def conservative_penalty(values: Tensor, log_density: Tensor, data_value: Tensor) -> Tensor:
    """Return how far the values of all actions are above those of the data, per step.

    ``log of the integral of exp(value) over actions, minus data_value``: the regulariser of CQL(H), Kumar et al. 2020
    (https://arxiv.org/abs/2006.04779, eq. 4), with the integral estimated from ``m`` actions by importance sampling
    (appendix F): ``logsumexp(values - log_density) - log(m) - data_value``.

    Args:
        values: values of the drawn actions, shape ``[m, *batch]``.
        log_density: logarithms of the densities that they were drawn from, same shape.
        data_value: values of the actions in the data, shape ``[*batch]``.

    Returns:
        Shape ``[*batch]``.

    Raises:
        ValueError: if the shapes do not go together.

    Example:
        >>> import torch
        >>> conservative_penalty(torch.full((4, 1), 3.0), torch.zeros(4, 1), torch.tensor([1.0]))
        tensor([2.])
    """
    check_same_shape("conservative_penalty", values=values, log_density=log_density)
    check_same_shape("conservative_penalty", **{"values[0]": values[0], "data_value": data_value})
    return (values - log_density).logsumexp(0) - math.log(len(values)) - data_value


class CQLLoss(MaxEntropyLoss):
    """The losses of CQL(H) with SAC, Kumar et al. 2020 (https://arxiv.org/abs/2006.04779), for data of other policies.

    Beside the losses of :class:`SACLoss` there is ``loss_cql``, the mean of :func:`conservative_penalty`, summed over
    critics, times ``min_q_weight``. The actions that it needs are drawn, ``num_random`` of each, uniformly between the
    bounds and from the policy. Arguments, what is read and what is returned otherwise are those of
    :class:`MaxEntropyLoss`.

    Args:
        actor_network: policy with a ``get_dist(tensordict)`` method whose distribution has ``rsample``.
        qvalue_network: TensorDict module of a critic, or a list of all.
        action_spec: spec of the action, between whose bounds actions are drawn.
        bounds: the bounds, where there is no spec.
        min_q_weight: weight of the penalty.
        num_random: number of actions of each kind.
        options: see :class:`MaxEntropyLoss`.

    Raises:
        ValueError: if there is not exactly one of ``action_spec`` and ``bounds``; and as :class:`MaxEntropyLoss`.

    Example:
        >>> from tensordict import TensorDict
        >>> from agents.nn import MLP, NormalParamExtractor, ProbabilisticActor, TanhNormal
        >>> from agents.nn import TensorDictModule, ValueOperator
        >>> net = torch.nn.Sequential(MLP(3, 2), NormalParamExtractor())
        >>> net = TensorDictModule(net, in_keys=["observation"], out_keys=["loc", "scale"])
        >>> actor = ProbabilisticActor(net, ["loc", "scale"], distribution_class=TanhNormal)
        >>> critic = ValueOperator(MLP(4, 1), in_keys=["observation", "action"])
        >>> after = {"observation": torch.randn(8, 3), "reward": torch.randn(8, 1)}
        >>> after["done"] = after["terminated"] = torch.zeros(8, 1, dtype=torch.bool)
        >>> batch = {"observation": torch.randn(8, 3), "action": torch.rand(8, 1), "next": after}
        >>> CQLLoss(actor, critic, bounds=(-1.0, 1.0))(TensorDict(batch, [8]))["loss_cql"].backward()
    """

    low: Tensor
    high: Tensor

    def __init__(
        self,
        actor_network: Any,
        qvalue_network: Any,
        *,
        action_spec: Any = None,
        bounds: tuple[float | Tensor, float | Tensor] | None = None,
        min_q_weight: float = 1.0,
        num_random: int = 10,
        **options: Any,
    ) -> None:
        super().__init__(actor_network, qvalue_network, **options)
        low, high = bounds_of("CQLLoss", action_spec, bounds)
        self.register_buffer("low", low)
        self.register_buffer("high", high)
        self.min_q_weight = min_q_weight
        self.num_random = num_random

    def _further_losses(self, tensordict: TensorDictBase, values: Tensor) -> dict[str, Tensor]:
        critics: Any = self.qvalue_network
        action, log_density = self._drawn_actions(tensordict)
        keys = [key for key in distinct(*(critic.in_keys for critic in critics)) if key != self.keys.action]
        repeated = tensordict.select(*keys).expand(2 * self.num_random, *tensordict.batch_size)
        drawn_values = self._values(critics, repeated, action)
        penalty = sum(
            conservative_penalty(drawn, log_density, value) for drawn, value in zip(drawn_values, values, strict=True)
        )
        return {"loss_cql": self.min_q_weight * self._weighted_mean(tensordict, penalty)}  # type: ignore[arg-type]

    @torch.no_grad()
    def _drawn_actions(self, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        """Actions ``[2 * num_random, *batch, *event]``, and the logarithms of their densities."""
        dist = self.actor_network.get_dist(tensordict)
        own = dist.sample((self.num_random,))
        log_prob = dist.log_prob(own)
        width = (self.high - self.low).expand(dist.event_shape)
        uniform = self.low + torch.rand_like(own) * width
        log_uniform = torch.full_like(log_prob, -width.log().sum().item())
        return torch.cat([uniform, own]), torch.cat([log_uniform, log_prob])
