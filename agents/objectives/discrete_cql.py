"""Conservative Q-learning with discrete actions: the penalty as a function, and the losses as a module."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from agents.objectives.action_value import chosen_value, greedy_value
from agents.objectives.dqn import dqn_loss
from agents.objectives.q_learning import QLearningLoss

__all__ = ["DiscreteCQLLoss", "discrete_conservative_penalty"]


def discrete_conservative_penalty(values: Tensor, action: Tensor) -> Tensor:
    """Return ``logsumexp(values) - value of the action``, per step.

    The regulariser of CQL(H), Kumar et al. 2020 (https://arxiv.org/abs/2006.04779, eq. 4), of discrete actions.

    Args:
        values: values of all actions, shape ``[*batch, n]``.
        action: the actions that were taken, see :func:`chosen_value`.

    Returns:
        Shape ``[*batch]``.

    Raises:
        ValueError: if the shapes do not go together.

    Example:
        >>> import torch
        >>> discrete_conservative_penalty(torch.zeros(1, 2), torch.tensor([0]))
        tensor([0.6931])
    """
    return values.logsumexp(-1) - chosen_value(values, action)


class DiscreteCQLLoss(QLearningLoss):
    """The losses of CQL(H) with Q-learning, Kumar et al. 2020 (https://arxiv.org/abs/2006.04779), for data of others.

    A call returns a TensorDict of ``loss_qvalue`` (:func:`dqn_loss`) and ``loss_cql``, the mean of
    :func:`discrete_conservative_penalty` times ``min_q_weight``; and without gradient ``td_error`` (absolute),
    ``pred_value`` and ``target_value``, each of the shape of the batch. The network writes values of shape
    ``[*batch, n]``. What is read and what is written is told at :class:`QLearningLoss`.

    Args:
        value_network: see above.
        min_q_weight: weight of the penalty.
        options: see :class:`QLearningLoss`.

    Example:
        >>> from tensordict.nn import TensorDictModule
        >>> loss = DiscreteCQLLoss(TensorDictModule(torch.nn.Linear(3, 2), ["observation"], ["action_value"]))
        >>> after = {"observation": torch.randn(4, 3), "reward": torch.ones(4, 1)}
        >>> after["done"] = after["terminated"] = torch.ones(4, 1, dtype=torch.bool)
        >>> batch = {"observation": torch.randn(4, 3), "action": torch.tensor([0, 1, 1, 0]), "next": after}
        >>> losses = loss(TensorDict(batch, [4]))
        >>> (losses["loss_qvalue"] + losses["loss_cql"]).backward()
    """

    def __init__(self, value_network: TensorDictModuleBase, *, min_q_weight: float = 1.0, **options: Any) -> None:
        super().__init__(value_network, **options)
        self.min_q_weight = min_q_weight

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Return losses, scalars, and numbers per step, of a TensorDict with at least one batch dimension."""
        target = self.value_target(tensordict)
        values, action = self._output(self.value_network, tensordict), tensordict[self.keys.action]
        losses, error = dqn_loss(values, action, target, self.loss_function)
        penalty = discrete_conservative_penalty(values, action)
        self._write_priority(tensordict, error.abs())
        return TensorDict(
            {
                "loss_qvalue": self._weighted_mean(tensordict, losses),
                "loss_cql": self.min_q_weight * self._weighted_mean(tensordict, penalty),
                "td_error": error.abs(),
                "pred_value": target - error,
                "target_value": target,
            },
            [],
        )

    @torch.no_grad()
    def value_target(self, tensordict: TensorDictBase) -> Tensor:
        """Value targets, shape ``[*batch]``."""
        return self._value_target(tensordict, greedy_value(*self._next_outputs(tensordict)))
