"""Randomised ensembled double Q-learning, as a module over TensorDicts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from agents.objectives.max_entropy import MaxEntropyLoss

__all__ = ["REDQLoss"]


class REDQLoss(MaxEntropyLoss):
    """The losses of REDQ, Chen et al. 2021 (https://arxiv.org/abs/2101.05982, algorithm 1).

    Targets are made of the smallest value of ``sub_sample_len`` critics that are drawn anew in each call,
    ``loss_actor`` of the mean of all. Arguments, what is read and what is returned are those of
    :class:`MaxEntropyLoss`.

    Args:
        actor_network: policy with a ``get_dist(tensordict)`` method whose distribution has ``rsample``.
        qvalue_network: TensorDict module of a critic, or a list of all.
        num_qvalue_nets: number of critics.
        sub_sample_len: how many of them a target is made of.
        options: see :class:`MaxEntropyLoss`.

    Raises:
        ValueError: if ``sub_sample_len`` is not from 1 to the number of critics; and as :class:`MaxEntropyLoss`.

    Example:
        >>> from tensordict import TensorDict
        >>> from agents.nn import MLP, NormalParamExtractor, ProbabilisticActor, TanhNormal
        >>> from agents.nn import TensorDictModule, ValueOperator
        >>> net = torch.nn.Sequential(MLP(3, 2), NormalParamExtractor())
        >>> net = TensorDictModule(net, in_keys=["observation"], out_keys=["loc", "scale"])
        >>> actor = ProbabilisticActor(net, ["loc", "scale"], distribution_class=TanhNormal)
        >>> loss = REDQLoss(actor, ValueOperator(MLP(4, 1), in_keys=["observation", "action"]))
        >>> after = {"observation": torch.randn(8, 3), "reward": torch.randn(8, 1)}
        >>> after["done"] = after["terminated"] = torch.zeros(8, 1, dtype=torch.bool)
        >>> batch = {"observation": torch.randn(8, 3), "action": torch.rand(8, 1), "next": after}
        >>> loss(TensorDict(batch, [8]))["pred_value"].shape
        torch.Size([10, 8])
    """

    def __init__(
        self,
        actor_network: Any,
        qvalue_network: Any,
        *,
        num_qvalue_nets: int = 10,
        sub_sample_len: int = 2,
        **options: Any,
    ) -> None:
        super().__init__(actor_network, qvalue_network, num_qvalue_nets=num_qvalue_nets, **options)
        if not 1 <= sub_sample_len <= num_qvalue_nets:
            raise ValueError(f"REDQLoss: expected sub_sample_len from 1 to {num_qvalue_nets}, found {sub_sample_len}")
        self.sub_sample_len = sub_sample_len

    def _next_value(self, values: Tensor) -> Tensor:
        drawn = torch.randperm(len(values), device=values.device)[: self.sub_sample_len]
        return values[drawn].amin(0)

    def _actor_value(self, values: Tensor) -> Tensor:
        return values.mean(0)
