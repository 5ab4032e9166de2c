"""Generalised advantage estimation on TensorDicts."""

from __future__ import annotations

from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from agents.returns.estimator import Steps, ValueEstimator
from agents.returns.gae import gae

__all__ = ["GAE"]


class GAE(ValueEstimator):
    """Writes ``"advantage"`` and ``"value_target"`` by :func:`gae`; see :class:`ValueEstimator`.

    Args:
        gamma: discount factor.
        lmbda: weight of longer returns, from 0 (one step) to 1 (Monte Carlo).
        value_network: TensorDict module that writes the value entry, shape ``[*batch, 1]``; ``None`` uses the
            values which the TensorDict has under both keys already.
        average_gae: whether advantages are brought to mean 0 and standard deviation 1 over the whole batch.
        time_dim: batch dimension of time, if it is neither named so nor the last one.

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> from agents.nn import MLP, ValueOperator
        >>> flags = torch.zeros(2, 5, 1, dtype=torch.bool)
        >>> after = {"observation": torch.randn(2, 5, 3), "reward": torch.ones(2, 5, 1)}
        >>> after |= {"done": flags, "terminated": flags}
        >>> steps = TensorDict({"observation": torch.randn(2, 5, 3), "next": after}, [2, 5])
        >>> estimate = GAE(gamma=0.99, lmbda=0.95, value_network=ValueOperator(MLP(3, 1)))
        >>> estimate(steps)["advantage"].shape
        torch.Size([2, 5, 1])
    """

    def __init__(
        self,
        gamma: float,
        lmbda: float,
        value_network: TensorDictModuleBase | None = None,
        average_gae: bool = False,
        *,
        time_dim: int | None = None,
    ) -> None:
        super().__init__(gamma, value_network, time_dim=time_dim)
        self.lmbda = float(lmbda)
        self.average_gae = average_gae

    def _estimate(self, tensordict: TensorDictBase, steps: Steps, value: Tensor) -> tuple[Tensor, Tensor]:
        return gae(
            steps.reward,
            value,
            steps.next_value,
            steps.done,
            steps.terminated,
            gamma=self.gamma,
            lmbda=self.lmbda,
        )
