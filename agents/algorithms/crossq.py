"""CrossQ (Bhatt et al. 2024, https://arxiv.org/abs/1902.05605).

:class:`~agents.SAC` without target networks: critics with batch renormalisation see the steps and what follows them in
one batch, so that both are normalised alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from agents.algorithms.config import ACTIVATIONS
from agents.algorithms.sac import SAC, SACConfig
from agents.descent import Descent
from agents.nn import MLP, BatchRenorm1d
from agents.objectives import soft_value
from agents.returns import td0_target

__all__ = ["CrossQ", "CrossQConfig"]


@dataclass
class CrossQConfig(SACConfig):
    """Hyper-parameters of :class:`CrossQ`; ``tau`` is of no effect, as there is no target network."""

    lr: float = 1e-3
    """Learning rate of Adam, whose first moments decay by 0.5."""
    actor_freq: int = 3
    """Updates of the critics for each of the actor."""
    critic_sizes: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of the critics; the paper has 2048."""
    momentum: float = 0.01
    """Weight of a batch in the running moments."""
    warmup_updates: int = 10_000
    """Updates with plain batch normalisation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.critic_sizes = tuple(self.critic_sizes)

    @staticmethod
    def ranges() -> dict[str, tuple[float, float]]:
        """Lowest and highest value of the numbers."""
        return {**SACConfig.ranges(), "momentum": (0, 1), "warmup_updates": (0, math.inf)}


class CrossQ(SAC):
    """An agent that learns by CrossQ; arguments and errors are those of :class:`SAC`.

    Examples:
        >>> from agents import CrossQ, CrossQConfig
        >>> from envkit import GymEnv
        >>> config = CrossQConfig(critic_sizes=(8,), learning_starts=20, batch_size=8, steps_per_iteration=25)
        >>> agent = CrossQ(GymEnv("Pendulum-v1"), config)
        >>> agent.train(max_steps=50)["updates"]
        30.0
    """

    Config = CrossQConfig
    config: CrossQConfig

    def _default_critic(self) -> nn.Module:
        config = self.config
        width = self.spaces.observation_width() + self.spaces.action_size
        options = {"momentum": config.momentum, "warmup_steps": config.warmup_updates}
        return _Critics(
            MLP(
                width,
                1,
                num_cells=list(config.critic_sizes),
                activation_class=ACTIVATIONS[config.activation],
                norm_class=BatchRenorm1d,
                norm_kwargs=options,
            )
            for _ in range(config.num_critics)
        )

    def _descent(self, parameters: object) -> Descent:
        return Descent(parameters, self.config.lr, betas=(0.5, 0.999), max_grad_norm=self.config.max_grad_norm)  # type: ignore[arg-type]

    def values_and_target(
        self, rows: TensorDictBase, observation: list[Tensor], action: Tensor, alpha: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`SAC.values_and_target`; both come from one call of the critics."""
        following = self.observations(rows["next"])
        reward, terminated, gamma = self.outcome(rows)
        with torch.no_grad():
            next_action, next_log_prob = self.distribution(*following).rsample_with_log_prob()
        joined = [torch.cat(pair) for pair in zip([*observation, action], [*following, next_action], strict=True)]
        self.critic.train()
        values, next_values = self.critic(*joined).squeeze(-1).chunk(2, -1)
        self.critic.eval()  # for the actor, whose actions are not to count for the moments
        next_value = self.target_value(next_values.detach())
        return values, td0_target(reward, soft_value(next_value, next_log_prob, alpha), terminated, gamma)

    def _follow(self) -> None:
        """There is no target network to move."""


class _Critics(nn.ModuleList):
    """Several networks of the same inputs; ``[members, *batch, 1]``."""

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.stack([net(*inputs) for net in self])
