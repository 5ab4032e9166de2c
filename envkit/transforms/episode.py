"""What can be told about an episode from its steps: their number, their rewards, which one is the first.

These transforms keep their memory in the data. The count of the step before stands in the TensorDict that is
stepped, so a reset of some envs of a batch touches the counts of those, and a TensorDict can be stepped twice.
"""

from __future__ import annotations

import numpy as np
import torch
from tensordict import NestedKey, TensorDictBase

from envkit.core.masks import Masks
from envkit.core.plan import path_of
from envkit.specs import Bounded, Categorical, Composite, Unbounded
from envkit.transforms.base import Transform
from envkit.transforms.keys import Keys, listed, sibling
from envkit.transforms.leaves import refuse_unknown
from envkit.transforms.per_group import PerGroup
from envkit.transforms.rows import Columns, RowForm

__all__ = ["InitTracker", "RewardSum", "StepCounter"]


class StepCounter(PerGroup):
    """Counts the steps of each episode, and truncates it after ``max_steps``.

    Writes ``step_count``, an int64 shaped like the done flag, beside each of them: 0 after a reset, then 1, 2, ...

    Args:
        max_steps: after so many steps ``truncated`` (and ``done``) become True; never by default.
        truncated_key: name of the flag to raise; it is added to the env's done flags if it is not one of them.
        step_count_key: name of the count.
        update_done: whether ``done`` is raised as well.

    Raises:
        SpecError: the env has an observation of that name, which is no count.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> env = TransformedEnv(GymEnv("Pendulum-v1"), StepCounter(max_steps=3))
        >>> env.rollout(10)["next", "step_count"].squeeze(-1)
        tensor([1, 2, 3])
    """

    env_only = "StepCounter counts the steps of an env; stored data already has its step_count"

    def __init__(
        self,
        max_steps: int | None = None,
        truncated_key: str = "truncated",
        step_count_key: str = "step_count",
        update_done: bool = True,
    ) -> None:
        super().__init__()
        if max_steps is not None and max_steps < 1:
            raise ValueError(f"max_steps: expected at least 1, found {max_steps}")
        self.max_steps, self.truncated_key = max_steps, truncated_key
        self.step_count_key, self.update_done = step_count_key, update_done

    @property
    def memory_keys(self) -> list[NestedKey]:
        """The counts."""
        return self._beside(self.step_count_key)

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        for done_key in self._done_keys:
            key = sibling(done_key, self.step_count_key)
            count = self._take(tensordict, key) + 1
            next_tensordict.set(key, count)
            if self.max_steps is not None:
                over = count >= self.max_steps
                truncated_key = sibling(done_key, self.truncated_key)
                truncated = next_tensordict.get(truncated_key, None)
                next_tensordict.set(truncated_key, over if truncated is None else truncated | over)
                if self.update_done:
                    next_tensordict.set(done_key, next_tensordict.get(done_key) | over)
        return next_tensordict

    def _reset(self, tensordict: TensorDictBase | None, tensordict_reset: TensorDictBase) -> TensorDictBase:
        for done_key in self._done_keys:
            done = tensordict_reset.get(done_key)
            tensordict_reset.set(sibling(done_key, self.step_count_key), torch.zeros_like(done, dtype=torch.int64))
            if self.max_steps is not None:
                truncated_key = sibling(done_key, self.truncated_key)
                if tensordict_reset.get(truncated_key, None) is None:
                    tensordict_reset.set(truncated_key, torch.zeros_like(done))
        return tensordict_reset

    def _bind_rows(self, columns: Columns) -> RowForm:
        following, root = columns.following.outer, columns.root.outer
        counts = [(columns.stepped[key], following[key]) for key in self._beside(self.step_count_key)]
        zeroed = [root[key] for key in self._beside(self.step_count_key)]
        limits = []
        if self.max_steps is not None:
            new = [key for key in self._beside(self.truncated_key) if key not in columns.root.inner]
            zeroed += [root[key] for key in new]
            flags = zip(self._done_keys, self._beside(self.truncated_key), counts, strict=True)
            limits = [(count, following[truncated], following[done]) for done, truncated, (_, count) in flags]
        most, update_done = self.max_steps, self.update_done

        def step(row: int) -> bool:
            for before, after in counts:
                np.add(before[row], 1, out=after[row, ...])
            ended = False
            for count, truncated, done in limits:
                over = count[row] >= most
                if over.any():
                    truncated[row] |= over
                    if update_done:
                        done[row] |= over
                        ended = True
            return ended

        def reset(row: int, masks: Masks | None) -> None:
            for column in zeroed:
                column[row] = 0

        return RowForm(step, reset)

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Adds the counts, and the truncated flags if there is a limit."""
        specs = super().transform_specs(specs)
        observation, done = specs["observation"].clone(), specs["done"].clone()
        ends = self.max_steps is not None and self.update_done
        high = self.max_steps if ends else torch.iinfo(torch.int64).max
        for done_key in self._done_keys:
            leaf = done[done_key]
            count = Bounded(0, high, shape=leaf.shape, dtype=torch.int64, device=leaf.device)
            self._added(observation, sibling(done_key, self.step_count_key), count)
            if self.max_steps is not None:
                done[sibling(done_key, self.truncated_key)] = leaf.clone()
        return {**specs, "observation": observation, "done": done}

    def extra_repr(self) -> str:
        """The limit."""
        return f"max_steps={self.max_steps}"


class RewardSum(Transform):
    """Sums the rewards of each episode.

    Args:
        in_keys: the rewards; by default all of the env's.
        out_keys: where their sums go; by default ``"episode_" + name`` beside each reward.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> env = TransformedEnv(GymEnv("CartPole-v1"), RewardSum())
        >>> env.rollout(3)["next", "episode_reward"].squeeze(-1)
        tensor([1., 2., 3.])
    """

    env_only = "RewardSum sums the rewards of an env; stored data already has its episode_reward"

    def __init__(self, in_keys: Keys = None, out_keys: Keys = None) -> None:
        super().__init__()
        self._given = (None if in_keys is None else listed(in_keys), None if out_keys is None else listed(out_keys))
        self._leaves: list[Unbounded] = []
        self._batch_dims = 0

    @property
    def memory_keys(self) -> list[NestedKey]:
        """The sums."""
        return self.out_keys

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        for in_key, out_key in zip(self.in_keys, self.out_keys, strict=True):
            next_tensordict.set(out_key, self._take(tensordict, out_key) + next_tensordict.get(in_key))
        return next_tensordict

    def _reset(self, tensordict: TensorDictBase | None, tensordict_reset: TensorDictBase) -> TensorDictBase:
        for out_key, leaf in zip(self.out_keys, self._leaves, strict=True):
            size = (*tensordict_reset.batch_size, *leaf.shape[self._batch_dims :])
            tensordict_reset.set(out_key, torch.zeros(size, dtype=leaf.dtype, device=leaf.device))
        return tensordict_reset

    def _bind_rows(self, columns: Columns) -> RowForm:
        rewards, sums = columns.following
        pairs = [
            (columns.stepped[out_key], rewards[in_key], sums[out_key])
            for in_key, out_key in zip(self.in_keys, self.out_keys, strict=True)
        ]
        zeroed = [columns.root.outer[key] for key in self.out_keys]

        def step(row: int) -> None:
            for before, reward, after in pairs:
                np.add(before[row], reward[row], out=after[row, ...])

        def reset(row: int, masks: Masks | None) -> None:
            for column in zeroed:
                column[row] = 0

        return RowForm(step, reset)

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Adds the sums."""
        reward = specs["reward"]
        in_keys, out_keys = self._given
        self.in_keys = list(reward.keys(True, True)) if in_keys is None else in_keys
        self.out_keys = (
            [sibling(key, f"episode_{path_of(key)[-1]}") for key in self.in_keys] if out_keys is None else out_keys
        )
        refuse_unknown(self, self.in_keys, [reward], "in_keys")
        if len(self.in_keys) != len(self.out_keys):
            raise ValueError(
                f"RewardSum: expected as many out_keys as rewards, found {self.out_keys} for {self.in_keys}"
            )
        self._batch_dims = len(reward.shape)
        self._leaves = [
            Unbounded(reward[key].shape, dtype=reward[key].dtype, device=reward[key].device) for key in self.in_keys
        ]
        observation = specs["observation"].clone()
        for key, leaf in zip(self.out_keys, self._leaves, strict=True):
            observation[key] = leaf
        return {**specs, "observation": observation}


class InitTracker(PerGroup):
    """Marks the first step of each episode: a boolean beside each done flag, True after a reset.

    Args:
        init_key: name of the mark.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> env = TransformedEnv(GymEnv("CartPole-v1"), InitTracker())
        >>> env.rollout(3)["is_init"].squeeze(-1)
        tensor([ True, False, False])
    """

    env_only = "InitTracker marks the first steps of an env; stored data already has its marks"

    def __init__(self, init_key: str = "is_init") -> None:
        super().__init__()
        self.init_key = init_key

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        return self._mark(next_tensordict, torch.zeros_like)

    def _reset(self, tensordict: TensorDictBase | None, tensordict_reset: TensorDictBase) -> TensorDictBase:
        return self._mark(tensordict_reset, torch.ones_like)

    def _mark(self, tensordict: TensorDictBase, fill: object) -> TensorDictBase:
        for done_key in self._done_keys:
            tensordict.set(sibling(done_key, self.init_key), fill(tensordict.get(done_key)))  # type: ignore[operator]
        return tensordict

    def _bind_rows(self, columns: Columns) -> RowForm:
        keys = self._beside(self.init_key)
        following, root = ([side[key] for key in keys] for side in (columns.following.outer, columns.root.outer))

        def step(row: int) -> None:
            for mark in following:
                mark[row] = False

        def reset(row: int, masks: Masks | None) -> None:
            for mark in root:
                mark[row] = True

        return RowForm(step, reset)

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Adds the marks."""
        specs = super().transform_specs(specs)
        observation = specs["observation"].clone()
        for done_key in self._done_keys:
            leaf = specs["done"][done_key]
            mark = Categorical(2, leaf.shape, dtype=torch.bool, device=leaf.device)
            self._added(observation, sibling(done_key, self.init_key), mark)
        return {**specs, "observation": observation}
