"""Twin delayed deep deterministic policy gradient (Fujimoto et al. 2018, https://arxiv.org/abs/1802.09477).

:class:`~agents.DDPG` with three changes: of two critics the lower value counts, the actor is updated less often, and
the action that follows is smoothed by noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tensordict import TensorDictBase
from torch import Tensor

from agents.algorithms.ddpg import DDPG, DDPGConfig
from agents.objectives import smoothed_action

__all__ = ["TD3", "TD3Config"]


@dataclass
class TD3Config(DDPGConfig):
    """Hyper-parameters of :class:`TD3`."""

    actor_freq: int = 2
    """Updates of the critics for each of the actor."""
    target_noise_std: float = 0.2
    """Standard deviation of the noise on the action that follows, for actions scaled to the box from -1 to 1."""
    target_noise_clip: float = 0.5
    """Largest such noise."""

    @staticmethod
    def ranges() -> dict[str, tuple[float, float]]:
        """Lowest and highest value of the numbers."""
        return {**DDPGConfig.ranges(), "target_noise_std": (0, math.inf), "target_noise_clip": (0, math.inf)}


class TD3(DDPG):
    """An agent that learns by twin delayed DDPG; arguments and errors are those of :class:`DDPG`.

    Examples:
        >>> from agents import TD3, TD3Config
        >>> from envkit import GymEnv
        >>> config = TD3Config(hidden_sizes=(8,), learning_starts=20, batch_size=8, steps_per_iteration=25)
        >>> agent = TD3(GymEnv("Pendulum-v1"), config)
        >>> agent.train(max_steps=50)["updates"]
        30.0
    """

    Config = TD3Config
    config: TD3Config
    num_critics = 2

    def next_value(self, following: TensorDictBase) -> Tensor:
        """See :meth:`DDPG.next_value`."""
        observation = self.observations(following)
        action = self.act(self.target_actor.module, observation)
        config = self.config
        action = smoothed_action(action, config.target_noise_std, config.target_noise_clip, -1.0, 1.0)
        return self.target_critic.module(*observation, action).amin(0).squeeze(-1)
