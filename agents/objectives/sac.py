"""Soft actor-critic, as a module over TensorDicts."""

from __future__ import annotations

from agents.objectives.max_entropy import MaxEntropyLoss

__all__ = ["SACLoss"]


class SACLoss(MaxEntropyLoss):
    """The losses of SAC, Haarnoja et al. 2018 (https://arxiv.org/abs/1812.05905), without a network of state values.

    Targets and ``loss_actor`` are made of the smallest of the critics' values. Arguments, what is read and what is
    returned are those of :class:`MaxEntropyLoss`.

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> from agents.nn import MLP, NormalParamExtractor, ProbabilisticActor, TanhNormal
        >>> from agents.nn import TensorDictModule, ValueOperator
        >>> net = torch.nn.Sequential(MLP(3, 2), NormalParamExtractor())
        >>> net = TensorDictModule(net, in_keys=["observation"], out_keys=["loc", "scale"])
        >>> actor = ProbabilisticActor(net, ["loc", "scale"], distribution_class=TanhNormal)
        >>> loss = SACLoss(actor, ValueOperator(MLP(4, 1), in_keys=["observation", "action"]))
        >>> after = {"observation": torch.randn(8, 3), "reward": torch.randn(8, 1)}
        >>> after["done"] = after["terminated"] = torch.zeros(8, 1, dtype=torch.bool)
        >>> batch = {"observation": torch.randn(8, 3), "action": torch.rand(8, 1), "next": after}
        >>> losses = loss(TensorDict(batch, [8]))
        >>> (losses["loss_actor"] + losses["loss_qvalue"] + losses["loss_alpha"]).backward()
        >>> losses["alpha"]
        tensor(1.)
    """
