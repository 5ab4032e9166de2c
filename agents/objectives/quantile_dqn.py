"""Quantile-regression Q-learning (QR-DQN): the loss as a function, and as a module over TensorDicts."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from agents.objectives.distributional import chosen_distribution, greedy_distribution
from agents.objectives.q_learning import QLearningLoss

__all__ = ["QuantileDQNLoss", "quantile_huber_loss"]


def quantile_huber_loss(quantiles: Tensor, target: Tensor, kappa: float = 1.0) -> Tensor:
    """Return the quantile Huber loss of Dabney et al. 2018 (https://arxiv.org/abs/1710.10044, eq. 10), per step.

    For each quantile ``i`` of ``N``, with ``tau_i = (i + 1/2) / N`` and ``u = target_j - quantile_i``, the mean over
    ``j`` of ``|tau_i - [u < 0]| * huber(u) / kappa``; their sum over ``i``.

    Args:
        quantiles: quantiles of returns, shape ``[*batch, N]``.
        target: samples or quantiles of what they should be, shape ``[*batch, M]``.
        kappa: threshold of the Huber loss; 0 is the plain quantile loss, ``huber(u) / kappa`` being ``|u|`` then.

    Returns:
        Shape ``[*batch]``.

    Raises:
        ValueError: if the batches differ.

    Example:
        >>> import torch
        >>> quantile_huber_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0]]), kappa=0.0)
        tensor([2.])
    """
    if quantiles.shape[:-1] != target.shape[:-1]:
        raise ValueError(
            f"quantile_huber_loss: expected target of shape {[*quantiles.shape[:-1], 'M']}, found {list(target.shape)}"
        )
    count = quantiles.shape[-1]
    tau = (torch.arange(count, device=quantiles.device, dtype=quantiles.dtype) + 0.5) / count
    # [*batch, N, M]
    error = target.unsqueeze(-2) - quantiles.unsqueeze(-1)
    size = error.abs()
    if kappa:
        size = torch.where(size <= kappa, error.square() * (0.5 / kappa), size - 0.5 * kappa)
    weight = (tau.unsqueeze(-1) - (error.detach() < 0).to(tau.dtype)).abs()
    return (weight * size).mean(-1).sum(-1)


class QuantileDQNLoss(QLearningLoss):
    """The loss of QR-DQN, Dabney et al. 2018 (https://arxiv.org/abs/1710.10044): :func:`quantile_huber_loss`.

    A call returns a TensorDict of ``loss``, and without gradient ``td_error``, which is the loss of each step. The
    network writes quantiles of returns, shape ``[*batch, N, n]``. What is read and what is written is told at
    :class:`QLearningLoss`.

    Args:
        value_network: see above.
        kappa: threshold of the Huber loss.
        options: see :class:`QLearningLoss`.

    Example:
        >>> from tensordict.nn import TensorDictModule
        >>> net = torch.nn.Sequential(torch.nn.Linear(3, 10 * 2), torch.nn.Unflatten(-1, (10, 2)))
        >>> loss = QuantileDQNLoss(TensorDictModule(net, ["observation"], ["action_value"]))
        >>> after = {"observation": torch.randn(4, 3), "reward": torch.ones(4, 1)}
        >>> after["done"] = after["terminated"] = torch.ones(4, 1, dtype=torch.bool)
        >>> batch = {"observation": torch.randn(4, 3), "action": torch.tensor([0, 1, 1, 0]), "next": after}
        >>> results = loss(TensorDict(batch, [4]))
        >>> results["loss"].backward()
        >>> results["td_error"].shape
        torch.Size([4])
    """

    def __init__(self, value_network: TensorDictModuleBase, *, kappa: float = 1.0, **options: Any) -> None:
        super().__init__(value_network, **options)
        self.kappa = kappa

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Return the loss, a scalar, and errors per step, of a TensorDict with at least one batch dimension."""
        chosen = chosen_distribution(self._output(self.value_network, tensordict), tensordict[self.keys.action])
        losses = quantile_huber_loss(chosen, self.target_quantiles(tensordict), self.kappa)
        self._write_priority(tensordict, losses.detach())
        return TensorDict({"loss": self._weighted_mean(tensordict, losses), "td_error": losses.detach()}, [])

    @torch.no_grad()
    def target_quantiles(self, tensordict: TensorDictBase) -> Tensor:
        """Target quantiles, shape ``[*batch, N]``."""
        quantiles, selector, mask = self._next_outputs(tensordict)
        return self._value_target(tensordict, greedy_distribution(quantiles, selector.mean(-2), mask))
