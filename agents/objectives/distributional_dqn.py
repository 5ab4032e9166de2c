"""Categorical distributional Q-learning (C51): the loss as functions, and as a module over TensorDicts."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from agents.objectives.distributional import chosen_distribution, greedy_distribution
from agents.objectives.q_learning import QLearningLoss
from agents.returns import TD0Estimator, ValueEstimators
from agents.returns.outcome import read_outcome
from agents.returns.shapes import check_same_shape

__all__ = ["DistributionalDQNLoss", "categorical_target", "distributional_dqn_loss"]


def categorical_target(
    reward: Tensor, next_probs: Tensor, terminated: Tensor, gamma: float | Tensor, support: Tensor
) -> Tensor:
    """Return the distribution of ``reward + gamma * (1 - terminated) * R``, projected to the support of that of ``R``.

    Bellemare et al. 2017 (https://arxiv.org/abs/1707.06887, algorithm 1): a return between two points of the support
    is shared between them, by distance; one beyond the ends goes to the end.

    Args:
        reward: rewards, shape ``[*batch]``.
        next_probs: probabilities of the returns after the steps, shape ``[*batch, atoms]``.
        terminated: whether the env's rules ended the episode, bool, shape ``[*batch]``.
        gamma: discount factor, or one for each step, shape ``[*batch]``.
        support: the returns, evenly spaced and increasing, shape ``[atoms]``.

    Returns:
        Probabilities, shape ``[*batch, atoms]``.

    Raises:
        ValueError: if the shapes do not go together.

    Example:
        >>> import torch
        >>> support, certain = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([[0.0, 0.0, 1.0]])
        >>> categorical_target(torch.tensor([0.25]), certain, torch.tensor([False]), 0.5, support)
        tensor([[0.0000, 0.7500, 0.2500]])
    """
    check_same_shape("categorical_target", reward=reward, terminated=terminated)
    if next_probs.shape != (*reward.shape, len(support)):
        raise ValueError(
            f"categorical_target: expected next_probs of shape {[*reward.shape, len(support)]}, "
            f"found {list(next_probs.shape)}"
        )
    discount = torch.where(terminated, 0.0, gamma).unsqueeze(-1)
    low, high, last = support[0], support[-1], len(support) - 1
    # In units of the support's spacing, from its lowest point.
    place = ((reward.unsqueeze(-1) + discount * support).clamp(low, high) - low) * (last / (high - low))
    below = place.floor()
    share = place - below
    lower = below.nan_to_num().long()  # a reward that is no number makes probabilities that are none, by its share
    upper = (lower + 1).clamp_max(last)
    projected = torch.zeros_like(place)
    projected.scatter_add_(-1, lower, next_probs * (1 - share))
    return projected.scatter_add_(-1, upper, next_probs * share)


def distributional_dqn_loss(log_probs: Tensor, action: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy of the returns of the actions that were taken, per step.

    Bellemare et al. 2017 (https://arxiv.org/abs/1707.06887, algorithm 1).

    Args:
        log_probs: log-probabilities of the returns of all actions, shape ``[*batch, atoms, n]``.
        action: indices, shape ``[*batch]`` or ``[*batch, 1]``, or one-hot vectors, shape ``[*batch, n]``.
        target: probabilities, see :func:`categorical_target`, shape ``[*batch, atoms]``.

    Returns:
        Shape ``[*batch]``.

    Raises:
        ValueError: if the shapes do not go together.

    Example:
        >>> import torch
        >>> log_probs = torch.tensor([[[0.5, 0.9], [0.5, 0.1]]]).log()
        >>> distributional_dqn_loss(log_probs, torch.tensor([0]), torch.tensor([[0.0, 1.0]]))
        tensor([0.6931])
    """
    chosen = chosen_distribution(log_probs, action)
    check_same_shape("distributional_dqn_loss", chosen=chosen, target=target)
    return -(target * chosen).sum(-1)


class DistributionalDQNLoss(QLearningLoss):
    """The loss of C51, Bellemare et al. 2017 (https://arxiv.org/abs/1707.06887): :func:`distributional_dqn_loss`.

    A call returns a TensorDict of ``loss``, and without gradient ``td_error``, which is the loss of each step: it is
    the priority, as in Hessel et al. 2018 (https://arxiv.org/abs/1710.02298). The network writes log-probabilities of
    returns, shape ``[*batch, atoms, n]``, as a :class:`DistributionalQValueActor` does; the value estimator is
    :class:`TD0Estimator`. What is read and what is written is told at :class:`QLearningLoss`.

    Args:
        value_network: see above.
        support: the returns, shape ``[atoms]``; by default the buffer of that name in the network.
        options: see :class:`QLearningLoss`.

    Raises:
        ValueError: if there is no support; and as :class:`QLearningLoss`.

    Example:
        >>> from agents import MLP, DistributionalQValueActor
        >>> net = torch.nn.Sequential(MLP(3, 51 * 2), torch.nn.Unflatten(-1, (51, 2)))
        >>> support = torch.linspace(-1, 1, 51)
        >>> loss = DistributionalDQNLoss(DistributionalQValueActor(net, action_space="categorical", support=support))
        >>> after = {"observation": torch.randn(4, 3), "reward": torch.ones(4, 1)}
        >>> after["done"] = after["terminated"] = torch.ones(4, 1, dtype=torch.bool)
        >>> batch = {"observation": torch.randn(4, 3), "action": torch.tensor([0, 1, 1, 0]), "next": after}
        >>> results = loss(TensorDict(batch, [4]))
        >>> results["loss"].backward()
        >>> results["td_error"].shape
        torch.Size([4])
    """

    value_estimators = (ValueEstimators.TD0,)
    support: Tensor

    def __init__(self, value_network: TensorDictModuleBase, *, support: Tensor | None = None, **options: Any) -> None:
        super().__init__(value_network, **options)
        found = [buffer for name, buffer in value_network.named_buffers() if name.rpartition(".")[2] == "support"]
        if support is None and not found:
            raise ValueError("DistributionalDQNLoss: expected a support, or a network with a buffer of that name")
        self.register_buffer("support", found[0] if support is None else support)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Return the loss, a scalar, and errors per step, of a TensorDict with at least one batch dimension."""
        log_probs = self._output(self.value_network, tensordict)
        losses = distributional_dqn_loss(log_probs, tensordict[self.keys.action], self.target_probs(tensordict))
        self._write_priority(tensordict, losses.detach())
        return TensorDict({"loss": self._weighted_mean(tensordict, losses), "td_error": losses.detach()}, [])

    @torch.no_grad()
    def target_probs(self, tensordict: TensorDictBase) -> Tensor:
        """Target probabilities, shape ``[*batch, atoms]``."""
        log_probs, selector, mask = self._next_outputs(tensordict)
        means = torch.einsum("...an,a->...n", selector.exp(), self.support)
        probs = greedy_distribution(log_probs, means, mask).exp()
        reward, _, terminated = read_outcome(type(self).__name__, tensordict, self.keys, probs.shape[:-1])
        (estimator,) = self._estimator
        assert isinstance(estimator, TD0Estimator)
        return categorical_target(reward, probs, terminated, estimator.discount(tensordict, reward.shape), self.support)
