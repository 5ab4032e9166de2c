"""Changes of rewards, step by step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tensordict import NestedKey, TensorDictBase

from envkit.errors import SpecError
from envkit.specs import Bounded, Composite, TensorSpec, Unbounded
from envkit.transforms.base import Transform
from envkit.transforms.elementwise import Clip
from envkit.transforms.functional import weighted_sum
from envkit.transforms.keys import Keys
from envkit.transforms.leaves import refuse_unknown
from envkit.transforms.rows import ColumnFunction, Columns, RowForm

__all__ = ["BinarizeReward", "LineariseRewards", "RewardClipping", "SuccessReward"]

REWARD = ["reward"]


class RewardClipping(Clip):
    """Clips rewards.

    Args:
        clamp_min: the least reward, unbounded by default.
        clamp_max: the largest reward, unbounded by default.
        in_keys: rewards to clip, ``["reward"]`` by default.
        out_keys: their names outside.

    Raises:
        ValueError: there are no bounds, or they cross.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> env = TransformedEnv(GymEnv("Pendulum-v1"), RewardClipping(-0.1, 0.0))
        >>> env.rollout(3)["next", "reward"].min() >= -0.1
        tensor(True)
    """

    def __init__(
        self,
        clamp_min: float | None = None,
        clamp_max: float | None = None,
        in_keys: Keys = None,
        out_keys: Keys = None,
    ) -> None:
        super().__init__(REWARD if in_keys is None else in_keys, out_keys, low=clamp_min, high=clamp_max)


class BinarizeReward(Transform):
    """Replaces rewards by 1, or by 0 where they are 0; the dtype stays.

    Args:
        in_keys: rewards to replace, ``["reward"]`` by default.
        out_keys: their names outside.

    Examples:
        >>> from tensordict import TensorDict
        >>> BinarizeReward()(TensorDict({"reward": torch.tensor([-0.5, 0.0])}, []))["reward"]
        tensor([1., 0.])
    """

    def __init__(self, in_keys: Keys = None, out_keys: Keys = None) -> None:
        super().__init__(REWARD if in_keys is None else in_keys, out_keys)

    def _apply_transform(self, value: torch.Tensor) -> torch.Tensor:
        return (value != 0).to(value.dtype)

    def _on_arrays(self, source: np.ndarray, target: np.ndarray) -> ColumnFunction:
        def binarize(row: int) -> None:
            target[row] = source[row] != 0

        return binarize

    def _transform_leaf(self, leaf: TensorSpec) -> TensorSpec:
        return Bounded(0, 1, leaf.shape, leaf.device, leaf.dtype)


class LineariseRewards(Transform):
    """Makes one reward of several objectives: their weighted sum over the last dimension, of size 1 afterwards.

    Args:
        in_keys: rewards of shape ``[*batch, n]``.
        out_keys: where the sums go; by default in their place.
        weights: ``n`` numbers; 1 each by default.

    Raises:
        SpecError: the number of weights is not that of objectives.

    Examples:
        >>> from tensordict import TensorDict
        >>> LineariseRewards("reward", weights=[1.0, 0.5])(TensorDict({"reward": torch.tensor([3.0, 4.0])}))["reward"]
        tensor([5.])
    """

    takes_arrays = True

    def __init__(
        self, in_keys: Keys, out_keys: Keys = None, *, weights: Sequence[float] | torch.Tensor | None = None
    ) -> None:
        super().__init__(in_keys, out_keys)
        self.weights = None if weights is None else [float(weight) for weight in weights]

    def _apply_transform(self, value: Any) -> Any:
        weights = [1.0] * value.shape[-1] if self.weights is None else self.weights
        if not value.ndim or value.shape[-1] != len(weights) or not weights:
            raise SpecError(
                f"expected {len(weights)} rewards for {len(weights)} weights, found shape {list(value.shape)}"
            )
        return weighted_sum(value, weights)

    def _transform_leaf(self, leaf: TensorSpec) -> TensorSpec:
        changed = self._apply_transform(leaf.zero())
        if not isinstance(leaf, Bounded) or math.inf in (leaf.low.abs().max(), leaf.high.abs().max()):
            return Unbounded(changed.shape, leaf.device, changed.dtype)
        signs = torch.tensor(self.weights or [1.0] * leaf.shape[-1]).sign()
        low, high = torch.where(signs < 0, leaf.high, leaf.low), torch.where(signs < 0, leaf.low, leaf.high)
        ends = self._apply_transform(low), self._apply_transform(high)
        return Bounded(ends[0], ends[1], changed.shape, leaf.device, changed.dtype)


class SuccessReward(Transform):
    """Rewards success, and nothing else: replaces the reward by one for steps whose success flag is True.

    Args:
        in_keys: the flag among the observations, a boolean of shape ``[*batch]`` or that of the reward.
        out_keys: the reward.
        success: the reward of a success.
        failure: the reward of any other step.

    Raises:
        SpecError: there is no such flag or reward, or they do not fit.

    Examples:
        >>> from tensordict import TensorDict
        >>> SuccessReward()(TensorDict({"next": {"success": torch.tensor([True])}}))["next", "reward"]
        tensor([1.])
    """

    def __init__(
        self,
        in_keys: NestedKey = "success",
        out_keys: NestedKey = "reward",
        *,
        success: float = 1.0,
        failure: float = 0.0,
    ) -> None:
        super().__init__(in_keys, out_keys)
        if len(self.in_keys) != 1:
            raise ValueError(f"SuccessReward: expected one key, found {self.in_keys}")
        self.success, self.failure = success, failure

    def _call(self, next_tensordict: TensorDictBase) -> TensorDictBase:
        flag = next_tensordict.get(self.in_keys[0], None)
        if flag is not None:
            flag = flag.unsqueeze(-1) if flag.ndim == next_tensordict.ndim else flag
            next_tensordict.set(self.out_keys[0], torch.where(flag, self.success, self.failure))
        return next_tensordict

    def _reset(self, tensordict: TensorDictBase | None, tensordict_reset: TensorDictBase) -> TensorDictBase:
        return tensordict_reset

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Writes the rewards of stored steps, which stand under ``"next"``."""
        following = tensordict.get("next", None)
        found = tensordict if following is None else following
        self._take(found, self.in_keys[0])
        self._call(found)
        return tensordict

    def _bind_rows(self, columns: Columns) -> RowForm:
        flags, rewards = columns.following.inner[self.in_keys[0]], columns.following.outer[self.out_keys[0]]
        success, failure, shape = self.success, self.failure, rewards.shape[1:]

        def step(row: int) -> None:
            rewards[row] = np.where(flags[row], success, failure).reshape(shape)

        return RowForm(step)

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Replaces the reward's spec."""
        (flag_key,), (key,) = self.in_keys, self.out_keys
        refuse_unknown(self, [flag_key], [specs["observation"]], "in_keys")
        refuse_unknown(self, [key], [specs["reward"]], "out_keys")
        flag, leaf, batch = specs["observation"][flag_key], specs["reward"][key], specs["reward"].shape
        if flag.dtype is not torch.bool:
            raise SpecError(f"SuccessReward: {flag_key!r}: expected a flag of dtype torch.bool, found {flag.dtype}")
        if flag.shape != leaf.shape and not (flag.shape == batch and leaf.shape == (*batch, 1)):
            raise SpecError(
                f"SuccessReward: {flag_key!r}: expected a flag of shape {list(leaf.shape)}, as {key!r} has, found "
                f"{list(flag.shape)}"
            )
        reward = specs["reward"].clone()
        low, high = sorted((self.success, self.failure))
        reward[key] = Bounded(low, high, leaf.shape, leaf.device, torch.get_default_dtype())
        return {**specs, "reward": reward}
