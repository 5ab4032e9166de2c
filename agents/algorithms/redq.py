"""Randomised ensembled double Q-learning (Chen et al. 2021, https://arxiv.org/abs/2101.05982).

:class:`~agents.SAC` with three changes: many critics, of which a few drawn at random tell the target; many updates for
each step; and an actor that climbs the mean of all critics, once for each round of updates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from agents.algorithms.sac import SAC, SACConfig

__all__ = ["REDQ", "REDQConfig"]


@dataclass
class REDQConfig(SACConfig):
    """Hyper-parameters of :class:`REDQ`."""

    num_critics: int = 10
    """Critics."""
    subset: int = 2
    """Critics, drawn anew for each update, of whose values the lowest counts for the target."""
    gradient_steps: int = 20
    """Updates each time."""
    actor_freq: int = 20
    """Updates of the critics for each of the actor."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.subset > self.num_critics:
            raise ValueError(f"REDQConfig.subset: expected at most num_critics {self.num_critics}, found {self.subset}")

    @staticmethod
    def ranges() -> dict[str, tuple[float, float]]:
        """Lowest and highest value of the numbers."""
        return {**SACConfig.ranges(), "subset": (1, math.inf)}


class REDQ(SAC):
    """An agent that learns by randomised ensembled double Q-learning; arguments and errors are those of :class:`SAC`.

    Examples:
        >>> from agents import REDQ, REDQConfig
        >>> from envkit import GymEnv
        >>> config = REDQConfig(hidden_sizes=(8,), learning_starts=20, batch_size=8, steps_per_iteration=25)
        >>> agent = REDQ(GymEnv("Pendulum-v1"), config)
        >>> agent.train(max_steps=25)["updates"]
        100.0
    """

    Config = REDQConfig
    config: REDQConfig

    def target_value(self, values: Tensor) -> Tensor:
        """The lowest of a few."""
        chosen = torch.randperm(len(values))[: self.config.subset]
        return values[chosen].amin(0)

    def actor_value(self, values: Tensor) -> Tensor:
        """The mean of all."""
        return values.mean(0)
