"""Returns of the episodes an agent trains on."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from torch import Tensor

__all__ = ["EpisodeStatistics"]


class EpisodeStatistics:
    """Keeps the returns and lengths of the last finished episodes of a batch of envs.

    Args:
        envs: number of envs.
        last: how many episodes count.

    Examples:
        >>> import torch
        >>> statistics = EpisodeStatistics(1)
        >>> done = torch.tensor([[False, True, False]])
        >>> statistics.update(torch.ones(1, 3), done)
        >>> statistics.update(torch.ones(1, 3), done)
        >>> statistics.finished, list(statistics.returns)
        (2, [2.0, 3.0])
    """

    def __init__(self, envs: int, last: int = 100) -> None:
        self.finished = 0
        self.returns: deque[float] = deque(maxlen=last)
        self.lengths: deque[int] = deque(maxlen=last)
        self._return = np.zeros(envs)
        self._length = np.zeros(envs, dtype=np.int64)

    def update(self, reward: Tensor, done: Tensor) -> None:
        """Takes in the next steps; ``reward`` and ``done`` have shape ``[envs, time]``."""
        rewards, ends = reward.numpy().astype(np.float64), done.numpy()
        steps = ends.shape[1]
        total = rewards.cumsum(1)
        for time, env in np.argwhere(ends.T):
            self.returns.append(float(self._return[env] + total[env, time]))
            self.lengths.append(int(self._length[env] + time + 1))
            self.finished += 1
            # What is summed so far belongs to the episode that ended.
            self._return[env], self._length[env] = -total[env, time], -(time + 1)
        self._return += total[:, -1]
        self._length += steps

    def restart(self) -> None:
        """Forgets the episodes that have not ended: the envs begin new ones."""
        self._return[:], self._length[:] = 0, 0

    def state_dict(self) -> dict[str, Any]:
        """The last episodes, and what was summed of those that go on."""
        return {
            "finished": self.finished,
            "returns": list(self.returns),
            "lengths": list(self.lengths),
            "open_returns": self._return.tolist(),
            "open_lengths": self._length.tolist(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what :meth:`state_dict` returned; episodes that go on are forgotten if the envs are others.

        Raises:
            KeyError: something is missing.
        """
        self.finished = int(state["finished"])
        for name in ("returns", "lengths"):
            values: deque = getattr(self, name)
            values.clear()
            values.extend(state[name])
        if len(state["open_returns"]) == len(self._return):
            self._return[:], self._length[:] = state["open_returns"], state["open_lengths"]
        else:
            self.restart()

    @property
    def return_mean(self) -> float:
        """Mean return of the last episodes; NaN before the first."""
        return float(np.mean(self.returns)) if self.returns else float("nan")

    @property
    def length_mean(self) -> float:
        """Mean length of the last episodes; NaN before the first."""
        return float(np.mean(self.lengths)) if self.lengths else float("nan")
