"""Returns of as many steps as there are, on TensorDicts."""

from __future__ import annotations

from tensordict import TensorDictBase
from torch import Tensor

from agents.returns.estimator import Steps, ValueEstimator
from agents.returns.td1 import td1_target

__all__ = ["TD1Estimator"]


class TD1Estimator(ValueEstimator):
    """Writes ``"advantage"`` and ``"value_target"`` by :func:`td1`; see :class:`ValueEstimator`.

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> flags = torch.zeros(2, 1, dtype=torch.bool)
        >>> after = {"state_value": 4 * torch.ones(2, 1), "reward": torch.ones(2, 1), "done": flags}
        >>> data = TensorDict({"state_value": torch.zeros(2, 1), "next": after}, [2])
        >>> TD1Estimator(gamma=0.5)(data)["value_target"].squeeze(-1)
        tensor([2.5000, 3.0000])
    """

    def _estimate(self, tensordict: TensorDictBase, steps: Steps, value: Tensor) -> tuple[Tensor, Tensor]:
        target = self._target(tensordict, steps)
        return target - value, target

    def _target(self, tensordict: TensorDictBase, steps: Steps) -> Tensor:
        return td1_target(steps.reward, steps.next_value, steps.done, steps.terminated, gamma=self.gamma)
