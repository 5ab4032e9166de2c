"""Slices of trajectories chosen at random."""

from __future__ import annotations

import numpy as np
import torch

from agents.replay.slices import Slices

__all__ = ["SliceSampler"]

ROUNDS = 8


class SliceSampler(Slices):
    """Slices of trajectories that are chosen uniformly, with replacement.

    Each begins at any step from which it is whole. The cost does not depend on how much is stored.

    Args:
        **options: those of :class:`~agents.replay.slices.Slices`: ``num_slices`` or ``slice_len``, ``end_key`` or
            ``traj_key``, ``truncated_key``, ``strict_length``.

    Raises:
        ValueError: see there.

    Example:
        >>> from tensordict import TensorDict
        >>> from agents.replay import LazyTensorStorage, TensorDictReplayBuffer
        >>> buffer = TensorDictReplayBuffer(LazyTensorStorage(100), SliceSampler(slice_len=3))
        >>> step = torch.arange(10)
        >>> done = (step % 5 == 4).unsqueeze(-1)
        >>> after = TensorDict({"done": done, "truncated": torch.zeros_like(done)}, [10])
        >>> _ = buffer.extend(TensorDict({"step": step, "next": after}, [10]))
        >>> slices = buffer.sample(6)["step"].view(2, 3)
        >>> bool((slices.diff() == 1).all()), bool((slices[:, 0] // 5 == slices[:, -1] // 5).all())
        (True, True)
    """

    def _choose(self, count: int, length: int, generator: torch.Generator | None) -> tuple[np.ndarray, ...]:
        table = self._table
        chosen = np.empty(0, np.int64)
        # Too short ones are drawn anew; only where nearly all are too short does it pay to list the others.
        for attempt in range(ROUNDS):
            wanted = (count - len(chosen)) << attempt
            drawn = torch.randint(table.live, table.issued, (wanted,), generator=generator).numpy()
            chosen = np.concatenate([chosen, drawn[self._long_enough(drawn, length)]])
            if len(chosen) >= count:
                break
        else:
            found = self._all_long_enough(length)
            chosen = found[torch.randint(len(found), (count,), generator=generator).numpy()]
        return self._anywhere(chosen[:count], length, generator)
