"""Random numbers of transforms."""

from __future__ import annotations

import numpy as np
import torch

from envkit.transforms.base import Transform

__all__ = ["Chancy"]


class Chancy(Transform):
    """Base of transforms with a stream of random numbers of their own.

    Where it stands is a buffer, so that snapshots and checkpoints hold it and clones share it. Before the env is seeded
    it is seeded by torch's global generator.
    """

    stream: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("stream", torch.tensor([-1, 0]))

    def _numbers(self) -> np.random.Generator:
        """Random numbers, others at each call."""
        seed, calls = self.stream.tolist()
        if seed < 0:
            seed = int(torch.randint(1 << 62, ()))
        self.stream.copy_(torch.tensor([seed, calls + 1]))
        return np.random.Generator(np.random.Philox(key=seed, counter=calls << 64))

    def set_seed(self, seed: int | None) -> None:
        """Starts the stream anew."""
        self.stream.copy_(torch.tensor([-1 if seed is None else seed, 0]))
