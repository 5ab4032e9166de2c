"""One-step returns on TensorDicts."""

from __future__ import annotations

from tensordict import TensorDictBase
from torch import Size, Tensor

from agents.returns.estimator import Steps, ValueEstimator
from agents.returns.shapes import per_step
from agents.returns.td0 import td0_target

__all__ = ["TD0Estimator"]


class TD0Estimator(ValueEstimator):
    """Writes ``"advantage"`` and ``"value_target"`` by :func:`td0`; see :class:`ValueEstimator`.

    Steps need not be consecutive. The data may say that a transition spans several steps: by the discount of the value
    that follows, ``"gamma"``, or by the number of steps, ``"steps_to_next_obs"`` (:class:`envkit.MultiStepTransform`
    writes it), whose power of ``gamma`` is then the discount.

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> flags = torch.zeros(2, 1, dtype=torch.bool)
        >>> after = {"state_value": 4 * torch.ones(2, 1), "reward": torch.ones(2, 1), "done": flags}
        >>> data = TensorDict({"state_value": torch.zeros(2, 1), "next": after}, [2])
        >>> data["steps_to_next_obs"] = torch.tensor([[1], [2]])
        >>> TD0Estimator(gamma=0.5)(data)["value_target"].squeeze(-1)
        tensor([3., 2.])
    """

    def _estimate(self, tensordict: TensorDictBase, steps: Steps, value: Tensor) -> tuple[Tensor, Tensor]:
        target = self._target(tensordict, steps)
        return target - value, target

    def _target(self, tensordict: TensorDictBase, steps: Steps) -> Tensor:
        return td0_target(steps.reward, steps.next_value, steps.terminated, self._discount(tensordict, steps))

    def _discount(self, tensordict: TensorDictBase, steps: Steps) -> float | Tensor:
        discount = self.discount(tensordict, steps.shape)
        return steps.column(discount) if isinstance(discount, Tensor) else discount

    def discount(self, tensordict: TensorDictBase, shape: Size | None = None) -> float | Tensor:
        """The discount of the value that follows: a number, or where the data has its own, one per step in ``shape``.

        Raises:
            ValueError: if those of the data have another shape.
        """
        keys, owner = self.keys, type(self).__name__
        if tensordict.get(keys.gamma, None) is not None:
            return per_step(owner, tensordict, keys.gamma, shape)
        if tensordict.get(keys.steps_to_next_obs, None) is not None:
            return self.gamma ** per_step(owner, tensordict, keys.steps_to_next_obs, shape)
        return self.gamma
