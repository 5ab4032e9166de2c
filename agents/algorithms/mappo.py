"""Multi-agent proximal policy optimisation (Yu et al. 2022, https://arxiv.org/abs/2103.01955).

:class:`~agents.algorithms.ippo.IPPO` with a critic that sees what all agents see: it is asked in training only, so that
the agents still act by what they see themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from agents.algorithms.ippo import IPPO, IPPOConfig
from agents.algorithms.ppo import PPO

__all__ = ["MAPPO", "MAPPOConfig"]


@dataclass
class MAPPOConfig(IPPOConfig):
    """Hyper-parameters of :class:`MAPPO`; steps and batch sizes count steps of the env."""


class MAPPO(IPPO):
    """An agent that learns by multi-agent PPO: decentralised policies, and a centralised critic.

    The critic is one network from the observations of all agents to a value for each. Arguments and errors are those of
    :class:`~agents.algorithms.ippo.IPPO`.

    Examples:
        >>> from envkit import VmasEnv  # doctest: +SKIP
        >>> agent = MAPPO(VmasEnv("balance", num_envs=4, n_agents=3), MAPPOConfig(steps_per_env=32))  # doctest: +SKIP
        >>> agent.train(max_steps=256)["iteration"]  # doctest: +SKIP
        2.0
    """

    Config = MAPPOConfig
    config: MAPPOConfig

    def _default_critic(self, width: int) -> nn.Module:
        agents = self.spaces.team.numel()
        return _Joint(PPO._mlp(self, agents * width, agents, 1.0))


class _Joint(nn.Module):
    """A value for each agent, ``[*batch, agents, 1]``, from what all of them see, ``[*batch, agents, n]``."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *observation: Tensor) -> Tensor:
        return self.net(torch.cat(observation, -1).flatten(-2)).unsqueeze(-1)
