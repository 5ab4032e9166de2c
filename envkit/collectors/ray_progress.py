"""How far one of the collectors of a :class:`~envkit.RayCollector` has come, over the deaths of its process."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from envkit.core.seeding import seed_generator, spawn_seed

__all__ = ["Progress"]


@dataclass
class Progress:
    """What is known of a collector outside of its process.

    Attributes:
        seed: what its env was last told to be seeded with.
        static_seed: whether that was said to be a static one.
        frames: how many steps were received from it.
        lives: how often it began.
        first: the number of the trajectory that its process calls 0.
        following: the lowest number that it has not used.

    Examples:
        >>> progress = Progress(seed=5)
        >>> progress.begin()
        (5, False)
        >>> progress.receive(torch.tensor([0, 0, 1]))
        tensor([0, 0, 1])
        >>> seed, _ = progress.begin()
        >>> seed != 5, progress.receive(torch.tensor([0, 1, 1]))
        (True, tensor([2, 3, 3]))
    """

    seed: int | None = None
    static_seed: bool = False
    frames: int = 0
    lives: int = 0
    first: int = 0
    following: int = 0

    def begin(self) -> tuple[int | None, bool]:
        """Notes that a process begins; returns what its env is to be seeded with.

        What its first seed gives is in the data already, so that another life has another one, unless it is static.
        """
        self.first = self.following
        self.lives += 1
        if self.seed is None or self.static_seed or self.lives == 1:
            return self.seed, self.static_seed
        return seed_generator(spawn_seed(self.seed, "restart", self.lives)), False

    def receive(self, numbers: torch.Tensor) -> torch.Tensor:
        """Notes the ``numbers`` of a batch's trajectories in this life; returns theirs in all lives."""
        numbers = numbers + self.first
        self.frames += numbers.numel()
        self.following = max(self.following, int(numbers.max()) + 1)
        return numbers
