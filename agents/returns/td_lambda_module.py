"""Returns of many steps, mixed by lambda, on TensorDicts."""

from __future__ import annotations

from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from agents.returns.estimator import Steps, ValueEstimator
from agents.returns.td_lambda import td_lambda_target

__all__ = ["TDLambdaEstimator"]


class TDLambdaEstimator(ValueEstimator):
    """Writes ``"advantage"`` and ``"value_target"`` by :func:`td_lambda`; see :class:`ValueEstimator`.

    Args:
        gamma: discount factor.
        lmbda: weight of longer returns, from 0 (one step) to 1 (as many as there are).
        value_network: TensorDict module that writes the value entry, shape ``[*batch, 1]``; ``None`` uses the
            values which the TensorDict has under both keys already.
        time_dim: batch dimension of time, if it is neither named so nor the last one.

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> flags = torch.zeros(2, 1, dtype=torch.bool)
        >>> after = {"state_value": 4 * torch.ones(2, 1), "reward": torch.ones(2, 1), "done": flags}
        >>> data = TensorDict({"state_value": torch.zeros(2, 1), "next": after}, [2])
        >>> TDLambdaEstimator(gamma=0.5, lmbda=0.5)(data)["value_target"].squeeze(-1)
        tensor([2.7500, 3.0000])
    """

    def __init__(
        self,
        gamma: float,
        lmbda: float,
        value_network: TensorDictModuleBase | None = None,
        *,
        time_dim: int | None = None,
    ) -> None:
        super().__init__(gamma, value_network, time_dim=time_dim)
        self.lmbda = float(lmbda)

    def _estimate(self, tensordict: TensorDictBase, steps: Steps, value: Tensor) -> tuple[Tensor, Tensor]:
        target = self._target(tensordict, steps)
        return target - value, target

    def _target(self, tensordict: TensorDictBase, steps: Steps) -> Tensor:
        return td_lambda_target(
            steps.reward, steps.next_value, steps.done, steps.terminated, gamma=self.gamma, lmbda=self.lmbda
        )
