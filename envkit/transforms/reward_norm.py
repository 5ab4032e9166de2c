"""Normalisation of rewards by what returns vary."""

from __future__ import annotations

import numpy as np
import torch
from tensordict import NestedKey, TensorDictBase

from envkit.core.masks import Masks
from envkit.errors import SpecError
from envkit.specs import Composite, TensorSpec, Unbounded
from envkit.transforms.base import Transform
from envkit.transforms.keys import sibling
from envkit.transforms.moments import RunningMoments, mask_for
from envkit.transforms.rows import Columns, RowForm

__all__ = ["RewardNorm"]


class RewardNorm(Transform):
    """Divides rewards by the running standard deviation of discounted returns.

    The return of an env so far, ``g = gamma * g + r``, begins at 0 with each episode and is kept in the data as
    ``"discounted_return"``. How much it varies is learnt from each step of all envs of a batch, on which the transform
    belongs; on stored data it divides by what it knows. Engstrom et al., 2020, "Implementation Matters in Deep Policy
    Gradients", describe this as reward scaling.

    Args:
        gamma: the discount, in [0, 1].
        in_keys: the reward, ``"reward"`` by default.
        out_keys: its name outside.
        eps: the least variance that counts: what varies less is divided by the root of this.
        return_key: where the return so far goes, beside the reward.

    Raises:
        ValueError: ``gamma`` or ``eps`` is out of range.
        SpecError: the env has no such reward, or has an observation named ``return_key`` already.

    Examples:
        >>> from envkit import GymEnv, SerialEnv, TransformedEnv
        >>> env = TransformedEnv(SerialEnv(4, lambda: GymEnv("Pendulum-v1")), RewardNorm())
        >>> env.rollout(50)["next", "reward"].abs().max() < 20
        tensor(True)
    """

    placement = "batch"
    sees_masks = True

    def __init__(
        self,
        gamma: float = 0.99,
        in_keys: NestedKey = "reward",
        out_keys: NestedKey | None = None,
        *,
        eps: float = 1e-4,
        return_key: str = "discounted_return",
    ) -> None:
        super().__init__(in_keys, out_keys)
        if len(self.in_keys) != 1:
            raise ValueError(f"RewardNorm: expected one reward, found {self.in_keys}")
        if not 0 <= gamma <= 1:
            raise ValueError(f"RewardNorm: expected gamma in [0, 1], found {gamma}")
        if not eps > 0:
            raise ValueError(f"RewardNorm: expected eps above 0, found {eps}")
        self.gamma, self.return_key = gamma, sibling(self.in_keys[0], return_key)
        self.statistics = RunningMoments(torch.Size([1]), decay=1.0, eps=eps)
        self._leaf = Unbounded((1,))
        self._batch_dims = 0

    @property
    def memory_keys(self) -> list[NestedKey]:
        """The return so far."""
        return [self.return_key]

    def _call(self, next_tensordict: TensorDictBase) -> TensorDictBase:
        reward = next_tensordict.get(self.in_keys[0], None)
        if reward is not None:
            next_tensordict.set(self.out_keys[0], reward / self._known().loc_scale(reward.dtype)[1])
        return next_tensordict

    def _known(self) -> RunningMoments:
        if not self.statistics.known:
            raise RuntimeError("RewardNorm: expected statistics, found none; let an env run first, or load them")
        return self.statistics

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        so_far = self._take(tensordict, self.return_key) * self.gamma + next_tensordict.get(self.in_keys[0])
        next_tensordict.set(self.return_key, so_far)
        if not self.frozen:
            plan = self.container.plan_for(next_tensordict.batch_size)
            self.statistics.update(so_far, mask_for(self.return_key, so_far, tensordict, plan, "_step"))
        return self._call(next_tensordict)

    def _reset(self, tensordict: TensorDictBase | None, tensordict_reset: TensorDictBase) -> TensorDictBase:
        size = (*tensordict_reset.batch_size, *self._leaf.shape[self._batch_dims :])
        first = torch.zeros(size, dtype=self._leaf.dtype, device=self._leaf.device)
        return tensordict_reset.set(self.return_key, first)

    def _bind_rows(self, columns: Columns) -> RowForm:
        before, after = columns.stepped[self.return_key], columns.following.outer[self.return_key]
        source, target = columns.following.inner[self.in_keys[0]], columns.following.outer[self.out_keys[0]]
        first, gamma = columns.root.outer[self.return_key], self.gamma
        learn, read = self.statistics.learner(), self.statistics.reader(target.dtype)

        def step(row: int) -> None:
            so_far = after[row, ...]
            np.multiply(before[row], gamma, out=so_far)
            so_far += source[row]
            if self.frozen:
                self._known()
            else:
                learn(so_far, None)
            np.divide(source[row], read()[1], out=target[row, ...])

        def reset(row: int, masks: Masks | None) -> None:
            first[row] = 0

        return RowForm(step, reset)

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Adds the return so far."""
        specs = super().transform_specs(specs)
        leaf = specs["reward"][self.out_keys[0]]
        observation = specs["observation"].clone()
        if observation.get(self.return_key, None) is not None:
            raise SpecError(f"RewardNorm: {self.return_key!r}: expected a new observation, found one of the env's")
        self._batch_dims = len(specs["reward"].shape)
        shape = leaf.shape[self._batch_dims :]
        if self.statistics.shape != shape:
            if self.statistics.known:
                raise SpecError(
                    f"RewardNorm: {self.in_keys[0]!r}: expected statistics of shape {list(shape)}, found "
                    f"{list(self.statistics.shape)}"
                )
            self.statistics = RunningMoments(shape, decay=1.0, eps=self.statistics.eps).to(leaf.device)
        self._leaf = observation[self.return_key] = Unbounded(leaf.shape, leaf.device, leaf.dtype)
        return {**specs, "observation": observation}

    def _transform_leaf(self, leaf: TensorSpec) -> TensorSpec:
        if leaf.dtype is None or not leaf.dtype.is_floating_point:
            raise SpecError(f"expected a floating dtype, found {leaf.dtype}")
        return Unbounded(leaf.shape, leaf.device, leaf.dtype)
