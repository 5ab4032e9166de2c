"""Episodes cut off at random."""

from __future__ import annotations

import numpy as np
import torch
from tensordict import NestedKey, TensorDictBase

from envkit.core.masks import Masks
from envkit.specs import Bounded, Composite
from envkit.transforms.chance import Chancy
from envkit.transforms.keys import sibling
from envkit.transforms.per_group import PerGroup
from envkit.transforms.rows import Columns, RowForm

__all__ = ["RandomTruncationTransform"]

ENDLESS = -1


class RandomTruncationTransform(PerGroup, Chancy):
    """Cuts episodes off after a random number of steps, so that the envs of a batch do not all end at once.

    What is left is kept beside each done flag as ``"steps_left"``, an int64; -1 where an episode is not cut off.

    Args:
        min_horizon: the least number of steps.
        max_horizon: the greatest.
        prob: how likely it is that an episode is cut off, in [0, 1].

    Raises:
        ValueError: a number is out of range.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> env = TransformedEnv(GymEnv("Pendulum-v1"), RandomTruncationTransform(2, 2))
        >>> env.rollout(5, break_when_any_done=False)["next", "truncated"].squeeze(-1)
        tensor([False,  True, False,  True, False])
    """

    env_only = "RandomTruncationTransform cuts off the episodes of an env; stored data has its ends"

    def __init__(self, min_horizon: int, max_horizon: int, prob: float = 1.0) -> None:
        super().__init__()
        if not 1 <= min_horizon <= max_horizon:
            raise ValueError(
                f"RandomTruncationTransform: expected 1 <= min_horizon <= max_horizon, found {min_horizon} and "
                f"{max_horizon}"
            )
        if not 0 <= prob <= 1:
            raise ValueError(f"RandomTruncationTransform: prob: expected a number from 0 to 1, found {prob}")
        self.min_horizon, self.max_horizon, self.prob = min_horizon, max_horizon, prob

    @property
    def memory_keys(self) -> list[NestedKey]:
        """The steps that are left."""
        return self._beside("steps_left")

    def _drawn(self, shape: tuple[int, ...]) -> np.ndarray:
        """How many steps new episodes have."""
        numbers = self._numbers()
        horizons = numbers.integers(self.min_horizon, self.max_horizon + 1, shape)
        return np.where(numbers.random(shape) < self.prob, horizons, ENDLESS)

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        for done_key in self._done_keys:
            key, truncated_key = sibling(done_key, "steps_left"), sibling(done_key, "truncated")
            before = self._take(tensordict, key)
            left = torch.where(before > 0, before - 1, before)
            over = left == 0
            truncated = next_tensordict.get(truncated_key, None)
            next_tensordict.set(key, left)
            next_tensordict.set(truncated_key, over if truncated is None else truncated | over)
            next_tensordict.set(done_key, next_tensordict.get(done_key) | over)
        return next_tensordict

    def _reset(self, tensordict: TensorDictBase | None, tensordict_reset: TensorDictBase) -> TensorDictBase:
        for done_key in self._done_keys:
            done, truncated_key = tensordict_reset.get(done_key), sibling(done_key, "truncated")
            left = torch.from_numpy(self._drawn(tuple(done.shape))).to(done.device)
            tensordict_reset.set(sibling(done_key, "steps_left"), left)
            if tensordict_reset.get(truncated_key, None) is None:
                tensordict_reset.set(truncated_key, torch.zeros_like(done))
        return tensordict_reset

    def _bind_rows(self, columns: Columns) -> RowForm:
        following, root = columns.following.outer, columns.root.outer
        keys, flags = self.memory_keys, self._beside("truncated")
        steps = [
            (columns.stepped[key], following[key], following[truncated], following[done])
            for key, truncated, done in zip(keys, flags, self._done_keys, strict=True)
        ]
        new = [root[key] for key in flags if key not in columns.root.inner]
        starts = [root[key] for key in keys]

        def step(row: int) -> bool:
            ended = False
            for before, after, truncated, done in steps:
                left = before[row]
                after[row] = left - (left > 0)
                over = after[row] == 0
                if over.any():
                    truncated[row] |= over
                    done[row] |= over
                    ended = True
            return ended

        def reset(row: int, masks: Masks | None) -> None:
            for left in starts:
                left[row] = self._drawn(left.shape[1:])
            for truncated in new:
                truncated[row] = False

        return RowForm(step, reset)

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Adds the steps that are left, and the truncated flags."""
        specs = super().transform_specs(specs)
        observation, done = specs["observation"].clone(), specs["done"].clone()
        for done_key in self._done_keys:
            leaf = done[done_key]
            left = Bounded(ENDLESS, self.max_horizon, leaf.shape, dtype=torch.int64, device=leaf.device)
            self._added(observation, sibling(done_key, "steps_left"), left)
            done[sibling(done_key, "truncated")] = leaf.clone()
        return {**specs, "observation": observation, "done": done}

    def extra_repr(self) -> str:
        """The options."""
        return f"{self.min_horizon}, {self.max_horizon}, prob={self.prob}"
