"""Numbers of trajectories, and the time they take."""

from __future__ import annotations

from time import perf_counter

import numpy as np
import torch
from tensordict import NestedKey, TensorDictBase

from envkit.core.masks import Masks
from envkit.errors import SpecError
from envkit.specs import Bounded, Composite
from envkit.transforms.base import Transform
from envkit.transforms.keys import Keys, listed, sibling
from envkit.transforms.per_group import PerGroup
from envkit.transforms.rows import Columns, RowForm

__all__ = ["Timer", "TrajCounter"]


class TrajCounter(PerGroup):
    """Numbers the trajectories of all envs of a batch: an int64 beside each done flag, counted from 0.

    It belongs on the batch, where one counter hands out all numbers; clones share it. Seeding the
    env starts it anew.

    Args:
        out_key: name of the number.
        repeats: how many trajectories in a row share a number.

    Raises:
        SpecError: the env has an observation of that name.

    Examples:
        >>> from envkit import GymEnv, SerialEnv, TransformedEnv
        >>> env = TransformedEnv(SerialEnv(2, lambda: GymEnv("Pendulum-v1", max_episode_steps=2)), TrajCounter())
        >>> env.rollout(5, break_when_any_done=False)["traj_count"].squeeze(-1)
        tensor([[0, 0, 2, 2, 4],
                [1, 1, 3, 3, 5]])
    """

    env_only = "TrajCounter numbers the trajectories of an env; stored data already has its numbers"
    placement = "batch"
    sees_masks = True

    counts: torch.Tensor

    def __init__(self, out_key: str = "traj_count", repeats: int = 1) -> None:
        super().__init__()
        if repeats < 1:
            raise ValueError(f"TrajCounter: repeats: expected at least 1, found {repeats}")
        self.out_key, self.repeats = out_key, repeats
        self.register_buffer("counts", torch.zeros(1, dtype=torch.int64))

    @property
    def memory_keys(self) -> list[NestedKey]:
        """The numbers."""
        return self._beside(self.out_key)

    def set_seed(self, seed: int | None) -> None:
        """Counts from 0 again: what is seeded repeats itself."""
        if seed is not None:
            self.counts.zero_()

    def _next(self, group: int, mask: np.ndarray) -> np.ndarray:
        """Numbers for new trajectories, where ``mask`` is True."""
        first = int(self.counts[group])
        self.counts[group] += int(mask.sum())
        return (first + mask.cumsum().reshape(mask.shape) - 1).clip(min=0) // self.repeats

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        for key in self.memory_keys:
            next_tensordict.set(key, self._take(tensordict, key))
        return next_tensordict

    def _reset(self, tensordict: TensorDictBase | None, tensordict_reset: TensorDictBase) -> TensorDictBase:
        for group, done_key in enumerate(self._done_keys):
            done = tensordict_reset.get(done_key)
            mask = None if tensordict is None else tensordict.get(sibling(done_key, "_reset"), None)
            mask = torch.ones_like(done) if mask is None else mask
            numbers = torch.from_numpy(self._next(group, mask.cpu().numpy()))
            tensordict_reset.set(sibling(done_key, self.out_key), numbers.to(done.device))
        return tensordict_reset

    def _bind_rows(self, columns: Columns) -> RowForm:
        root, keys = columns.root.outer, self.memory_keys
        kept = [(columns.stepped[key], columns.following.outer[key]) for key in keys]
        resets = [sibling(key, "_reset") for key in keys]

        def step(row: int) -> None:
            for before, after in kept:
                after[row] = before[row]

        def reset(row: int, masks: Masks | None) -> None:
            for group, (key, name) in enumerate(zip(keys, resets, strict=True)):
                column = root[key]
                mask = np.ones(column.shape[1:], np.bool_) if masks is None else masks[name].numpy()
                column[row] = self._next(group, mask)

        return RowForm(step, reset)

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Adds the numbers."""
        specs = super().transform_specs(specs)
        if len(self.counts) != len(self._done_keys):
            self.counts = torch.zeros(len(self._done_keys), dtype=torch.int64)
        observation = specs["observation"].clone()
        for done_key in self._done_keys:
            leaf = specs["done"][done_key]
            number = Bounded(0, torch.iinfo(torch.int64).max, leaf.shape, dtype=torch.int64, device=leaf.device)
            self._added(observation, sibling(done_key, self.out_key), number)
        return {**specs, "observation": observation}


class Timer(Transform):
    """Measures how long the env inside takes for its steps and resets, and the policy for its answers.

    Seconds, float64 of shape ``[*batch, 1]``: the time of the last reset stands in every step after it. The time
    between two calls of the env counts as the policy's, whatever happens then. Loops go through TensorDicts for an env
    with a Timer.

    Args:
        out_keys: where the time of a step, of the policy and of a reset go; ``"time_step"``, ``"time_policy"`` and
            ``"time_reset"`` by default.

    Raises:
        SpecError: the env has an observation of that name.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> env = TransformedEnv(GymEnv("CartPole-v1"), Timer())
        >>> bool((env.rollout(3)["next", "time_step"] > 0).all())
        True
    """

    env_only = "Timer measures the steps of an env; stored data already has its times"

    def __init__(self, out_keys: Keys = None) -> None:
        super().__init__()
        self.out_keys = ["time_step", "time_policy", "time_reset"] if out_keys is None else listed(out_keys)
        if len(self.out_keys) != 3:
            raise ValueError(f"Timer: out_keys: expected three, for step, policy and reset, found {self.out_keys}")
        self._began = self._policy = 0.0
        self._ended: float | None = None

    @property
    def memory_keys(self) -> list[NestedKey]:
        """The time of the last reset."""
        return self.out_keys[2:]

    def _inv_call(self, tensordict: TensorDictBase) -> TensorDictBase:
        self._began = perf_counter()
        self._policy = 0.0 if self._ended is None else self._began - self._ended
        return tensordict

    def _reset_env_preprocess(self, tensordict: TensorDictBase | None) -> TensorDictBase | None:
        self._began = perf_counter()
        return tensordict

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        self._ended = perf_counter()
        self._write(next_tensordict, self._ended - self._began, self._policy)
        return next_tensordict.set(self.out_keys[2], self._take(tensordict, self.out_keys[2]))

    def _reset(self, tensordict: TensorDictBase | None, tensordict_reset: TensorDictBase) -> TensorDictBase:
        self._ended = perf_counter()
        return self._write(tensordict_reset, 0.0, 0.0, self._ended - self._began)

    def _write(self, tensordict: TensorDictBase, *times: float) -> TensorDictBase:
        size = (*tensordict.batch_size, 1)
        for key, time in zip(self.out_keys, times, strict=False):
            tensordict.set(key, torch.full(size, time, dtype=torch.float64, device=tensordict.device))
        return tensordict

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Adds the times."""
        observation = specs["observation"].clone()
        for key in self.out_keys:
            if key in observation.keys(True):
                raise SpecError(f"Timer: expected no observation {key!r} in the env inside, found {observation[key]}")
            shape = (*observation.shape, 1)
            observation[key] = Bounded(0.0, torch.inf, shape, dtype=torch.float64, device=observation.device)
        return {**specs, "observation": observation}
