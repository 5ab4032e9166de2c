"""What episodes came to."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from time import perf_counter
from typing import Any

import numpy as np
import torch
from tensordict import NestedKey, TensorDictBase

from envkit.core.masks import Masks, aligned, mask_of, read_masks
from envkit.errors import SpecError
from envkit.specs import Bounded, Composite, Unbounded
from envkit.transforms.base import Transform
from envkit.transforms.inside import env_inside
from envkit.transforms.rows import Columns, RowForm

__all__ = ["EpisodeStats"]


class EpisodeStats(Transform):
    """Keeps return, length and time of each episode, as Gymnasium's ``RecordEpisodeStatistics`` does.

    Below ``stats_key`` stand ``"r"``, the sum of the rewards so far (float64), ``"l"``, the number of steps (int64),
    and ``"t"``, the seconds since the reset (float64; resets of others of the batch do not count), each
    ``[*batch, 1]``: at the end of an episode they are those of the whole. The last ``buffer_length`` episodes are kept
    in :attr:`return_queue`, :attr:`length_queue` and :attr:`time_queue`, in the order in which they ended.

    Args:
        buffer_length: how many episodes.
        stats_key: name of the level.
        reward_key: the reward.

    Raises:
        SpecError: the env has no such reward of one number, has no done flag at its root, or shows something called
            ``stats_key``.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> env = TransformedEnv(GymEnv("Pendulum-v1", max_episode_steps=3), EpisodeStats())
        >>> data = env.rollout(7, break_when_any_done=False)
        >>> list(env.transform[0].length_queue), data["episode", "l"].squeeze(-1)
        ([3, 3], tensor([0, 1, 2, 0, 1, 2, 0]))
    """

    env_only = "EpisodeStats keeps the episodes of an env; stored data has their returns"
    sees_masks = True

    def __init__(self, buffer_length: int = 100, stats_key: str = "episode", reward_key: NestedKey = "reward") -> None:
        super().__init__()
        if buffer_length < 1:
            raise ValueError(f"EpisodeStats: buffer_length: expected at least 1, found {buffer_length}")
        self.stats_key, self.reward_key = stats_key, reward_key
        self.return_queue: deque[float] = deque(maxlen=buffer_length)
        self.length_queue: deque[int] = deque(maxlen=buffer_length)
        self.time_queue: deque[float] = deque(maxlen=buffer_length)
        self._last = 0.0

    @property
    def memory_keys(self) -> list[NestedKey]:
        """The numbers so far."""
        return [(self.stats_key, name) for name in ("r", "l", "t")]

    def _passed(self) -> float:
        """Seconds since the last call."""
        before, self._last = self._last, perf_counter()
        return self._last - before

    def _record(self, ended: np.ndarray, *numbers: Any) -> None:
        queues: Iterable[Any] = (self.return_queue, self.length_queue, self.time_queue)
        for queue, values in zip(queues, numbers, strict=True):
            queue.extend(values[ended].tolist())

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        total, length, time = (self._take(tensordict, key) for key in self.memory_keys)
        now = (total + next_tensordict.get(self.reward_key), length + 1, time + self._passed())
        for key, value in zip(self.memory_keys, now, strict=True):
            next_tensordict.set(key, value)
        ended = next_tensordict.get("done")
        plan = env_inside(self).plan_for(tensordict.batch_size)
        masks = read_masks(tensordict, plan, "_step")
        if masks:
            ended = ended & aligned(mask_of("", plan, masks), ended.shape)
        self._record(ended.cpu().numpy(), *(value.cpu().numpy() for value in now))
        return next_tensordict

    def _reset(self, tensordict: TensorDictBase | None, tensordict_reset: TensorDictBase) -> TensorDictBase:
        self._last = perf_counter()
        done = tensordict_reset.get("done")
        for key, dtype in zip(self.memory_keys, (torch.float64, torch.int64, torch.float64), strict=True):
            tensordict_reset.set(key, torch.zeros_like(done, dtype=dtype))
        return tensordict_reset

    def _bind_rows(self, columns: Columns) -> RowForm:
        following, keys = columns.following.outer, self.memory_keys
        before = [columns.stepped[key] for key in keys]
        after = [following[key] for key in keys]
        reward, done = columns.following.inner[self.reward_key], columns.following.inner["done"]
        starts = [columns.root.outer[key] for key in keys]

        def step(row: int) -> None:
            total, length, time = (column[row] for column in after)
            np.add(before[0][row], reward[row], out=total)
            np.add(before[1][row], 1, out=length)
            np.add(before[2][row], self._passed(), out=time)
            ended = done[row]
            if ended.any():
                self._record(ended, total, length, time)

        def reset(row: int, masks: Masks | None) -> None:
            self._last = perf_counter()
            for column in starts:
                column[row] = 0

        return RowForm(step, reset)

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Adds the numbers."""
        observation, done = specs["observation"].clone(), specs["done"].get("done", None)
        reward = specs["reward"].get(self.reward_key, None)
        if done is None or reward is None or reward.shape != done.shape:
            raise SpecError(
                f"EpisodeStats: expected a reward {self.reward_key!r} of the shape of the flag 'done', found {reward} "
                f"and {done}"
            )
        if self.stats_key in observation.keys(True):
            raise SpecError(f"EpisodeStats: expected no observation {self.stats_key!r} in the env inside, found one")
        most, shape, device = torch.iinfo(torch.int64).max, done.shape, done.device
        observation[self.stats_key, "r"] = Unbounded(shape, dtype=torch.float64, device=device)
        observation[self.stats_key, "l"] = Bounded(0, most, shape, dtype=torch.int64, device=device)
        observation[self.stats_key, "t"] = Bounded(0.0, torch.inf, shape, dtype=torch.float64, device=device)
        return {**specs, "observation": observation}
