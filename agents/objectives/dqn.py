"""Deep Q-learning: the loss as a function, and as a module over TensorDicts."""

from __future__ import annotations

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from agents.objectives.action_value import chosen_value, greedy_value
from agents.objectives.q_learning import QLearningLoss
from agents.objectives.value_loss import value_loss

__all__ = ["DQNLoss", "dqn_loss"]


def dqn_loss(values: Tensor, action: Tensor, target: Tensor, kind: str = "l2") -> tuple[Tensor, Tensor]:
    """Return the loss of Mnih et al. 2015 (doi:10.1038/nature14236) and the error ``target - value``, per step.

    Args:
        values: values of all actions, shape ``[*batch, n]``.
        action: the actions that were taken, see :func:`chosen_value`.
        target: value targets, such as :func:`td0_target` of :func:`greedy_value`, shape ``[*batch]``.
        kind: distance, see :func:`value_loss`.

    Returns:
        Losses and errors, shape ``[*batch]``; errors have no gradient.

    Raises:
        ValueError: if the shapes do not go together.

    Example:
        >>> import torch
        >>> values = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> dqn_loss(values, torch.tensor([1, 0]), torch.tensor([5.0, 1.0]))
        (tensor([9., 4.]), tensor([ 3., -2.]))
    """
    value = chosen_value(values, action)
    return value_loss(value, target, kind), target - value.detach()


class DQNLoss(QLearningLoss):
    """The loss of deep Q-learning, Mnih et al. 2015 (doi:10.1038/nature14236): see :func:`dqn_loss`.

    A call returns a TensorDict of ``loss``, and without gradient ``td_error`` (absolute), ``pred_value`` and
    ``target_value``, each of the shape of the batch. The network writes values of shape ``[*batch, n]``, as a
    :class:`QValueActor` does; ``loss_function`` is ``"smooth_l1"``, ``"l1"`` or ``"l2"``, see :func:`value_loss`. The
    other arguments, what is read and what is written are told at :class:`QLearningLoss`.

    Example:
        >>> import torch
        >>> from tensordict.nn import TensorDictModule
        >>> loss = DQNLoss(TensorDictModule(torch.nn.Linear(3, 2), ["observation"], ["action_value"]), double_dqn=True)
        >>> after = {"observation": torch.randn(4, 3), "reward": torch.ones(4, 1)}
        >>> after["done"] = after["terminated"] = torch.ones(4, 1, dtype=torch.bool)
        >>> batch = {"observation": torch.randn(4, 3), "action": torch.tensor([0, 1, 1, 0]), "next": after}
        >>> results = loss(TensorDict(batch, [4]))
        >>> results["loss"].backward()
        >>> results["target_value"]
        tensor([1., 1., 1., 1.])
    """

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Return the loss, a scalar, and numbers per step, of a TensorDict with at least one batch dimension."""
        target = self.value_target(tensordict)
        values = self._output(self.value_network, tensordict)
        losses, error = dqn_loss(values, tensordict[self.keys.action], target, self.loss_function)
        self._write_priority(tensordict, error.abs())
        return TensorDict(
            {
                "loss": self._weighted_mean(tensordict, losses),
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
