"""Ending trajectories after so many frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from envkit.core.env import EnvBase
from envkit.core.loose import LooseRunner
from envkit.core.masks import aligned
from envkit.core.plan import Plan, path_of
from envkit.core.runner import Runner
from envkit.specs import Composite
from envkit.transforms import Transform, TransformedEnv

__all__ = ["FrameLimit", "with_truncated"]


class FrameLimit:
    """Truncates every trajectory after ``most`` frames, and lets the env be reset.

    Nothing is counted while stepping. The oldest trajectory says how many steps can be made before anything may reach
    the limit; the loop makes those in one go, and the done flags that it has recorded then tell who has become how old.
    So the work is one of episodes, not of steps.

    Args:
        plan: that of the env.
        most: number of frames.
    """

    def __init__(self, plan: Plan, most: int) -> None:
        self._groups, self._most = plan.done_groups, most
        # A group below another one is reset with it, and is of its age.
        levels = [path_of(group.reset)[:-1] for group in self._groups]
        outermost = [min((a for a in levels if b[: len(a)] == a), key=len) for b in levels]
        self._rulers = [levels.index(level) for level in outermost]
        self._ages = {index: np.zeros(self._groups[index].shape, np.int64) for index in self._rulers}

    def run(self, loop: Runner | LooseRunner, stop: int) -> None:
        """Makes the first ``stop`` steps of ``loop``, and prepares the row after them."""
        row = 0
        while row < stop:
            oldest = max(int(age.max(initial=0)) for age in self._ages.values())
            until = min(stop, row + self._most - oldest)
            loop.run(row, until, last=False)
            self._end(loop, row, until)
            loop.proceed(until - 1)
            row = until

    def _end(self, loop: Runner | LooseRunner, start: int, stop: int) -> None:
        """Counts the steps of rows ``start`` to ``stop``, and truncates what has reached the limit with the last."""
        done = loop.done(start, stop)
        over = {}
        for index, age in self._ages.items():
            age = self._ages[index] = _older(age, done[index].cpu().numpy())
            old = age >= self._most
            if old.any():
                over[index] = torch.from_numpy(old)
                age[old] = 0
        if over:
            masks = {}
            for group, ruler in zip(self._groups, self._rulers, strict=True):
                mask = over.get(ruler)
                if mask is None:
                    mask = torch.zeros(self._groups[ruler].shape, dtype=torch.bool)
                masks[group.reset] = aligned(mask, group.shape).expand(group.shape).to(group.device)
            loop.truncate(stop - 1, masks)

    def restart(self) -> None:
        """Begins a trajectory everywhere."""
        for age in self._ages.values():
            age.fill(0)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The ages, int64, by the number of their done group."""
        return {str(index): torch.from_numpy(age.copy()) for index, age in self._ages.items()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Takes over what :meth:`state_dict` returned.

        Raises:
            ValueError: it is that of other envs.
        """
        found = {name: tuple(age.shape) for name, age in state.items()}
        expected = {str(index): age.shape for index, age in self._ages.items()}
        if found != expected:
            raise ValueError(f"state of the frame limit: expected ages of shapes {expected}, found {found}")
        self._ages = {index: state[str(index)].cpu().numpy().copy() for index in self._ages}


def _older(age: np.ndarray, done: np.ndarray) -> np.ndarray:
    """Ages after steps with the given ``done`` flags, ``[steps, *age]``; a trajectory that is done begins anew at 0."""
    if not done.any():
        return age + len(done)
    since = done[::-1].argmax(0)
    return np.where(done.any(0), since, age + len(done))


def with_truncated(env: EnvBase) -> EnvBase:
    """``env``, with a truncated flag beside each done flag: seen through a transform, if it lacks one."""
    if all(group.truncated is not None for group in env.plan.done_groups):
        return env
    return TransformedEnv(env, _TruncatedFlags())


class _TruncatedFlags(Transform):
    """Declares truncated flags; the runtime completes what the env returns, so that they are False."""

    def transform_done_spec(self, done_spec: Composite) -> Composite:
        """Adds the flags that are missing."""
        out = done_spec.clone()
        for key, leaf in done_spec.items(True, True):
            truncated: Any = (*path_of(key)[:-1], "truncated")
            if path_of(key)[-1] == "done" and out.get(truncated, None) is None:
                out[truncated] = leaf.clone()
        return out
