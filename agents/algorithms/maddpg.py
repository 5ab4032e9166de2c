"""Multi-agent deep deterministic policy gradient (Lowe et al. 2017, https://arxiv.org/abs/1706.02275).

:class:`~agents.DDPG` for a group of agents: each acts by what it sees itself, and is judged by a critic that sees what
all of them see and do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import NestedKey
from torch import Tensor, nn

from agents.algorithms.ddpg import DDPG, DDPGConfig
from agents.nn.multi_agent import MultiAgentNetwork
from agents.nn.only_member import OnlyMember
from envkit import EnvBase

__all__ = ["MADDPG", "MADDPGConfig"]


@dataclass
class MADDPGConfig(DDPGConfig):
    """Hyper-parameters of :class:`MADDPG`; steps and batch sizes count steps of the env."""

    share_params: bool = False
    """One actor for all agents, rather than one each. Critics are always one each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.noise == "ornstein-uhlenbeck":
            raise ValueError(f"MADDPGConfig.noise: expected none or gaussian, found {self.noise}")


class MADDPG(DDPG):
    """An agent that learns by multi-agent DDPG, with continuous actions between finite bounds.

    The actor of an agent climbs the value that the agent's critic gives to its own new action beside those that the
    others took. What the env has to be like is told at :class:`~agents.algorithms.ippo.IPPO`.

    Args:
        env: where it learns; an env with a batch is stepped as one. Its observations are vectors.
        config: the hyper-parameters.
        seed: seeds the env, the networks and the noise; None leaves them as they are.
        observation_keys: what the networks see, all observations of the group by default.
        actor: a network from the observations, ``[*batch, agents, n]`` each, to actions before they are squashed, of
            the same leading shape.
        critic: a centralized network from observations and actions, joined, to the value for each agent; see
            :class:`~agents.nn.multi_agent.MultiAgentMLP`.

    Raises:
        SpecError: the env has no group of agents or several, or agents of different kinds; or actions or observations
            that it cannot handle.

    Examples:
        >>> from envkit import VmasEnv  # doctest: +SKIP
        >>> agent = MADDPG(VmasEnv("balance", num_envs=4, n_agents=3))  # doctest: +SKIP
        >>> agent.train(max_steps=2_000)["iteration"]  # doctest: +SKIP
        2.0
    """

    Config = MADDPGConfig
    team = True
    config: MADDPGConfig

    def __init__(
        self,
        env: EnvBase,
        config: MADDPGConfig | None = None,
        *,
        seed: int | None = 0,
        observation_keys: Sequence[NestedKey] | None = None,
        actor: nn.Module | None = None,
        critic: MultiAgentNetwork | None = None,
    ) -> None:
        judge = None if critic is None else _Judge(critic)
        super().__init__(env, config, seed=seed, observation_keys=observation_keys, actor=actor, critic=judge)

    # --------------------------------------------------------------- networks

    def _default_actor(self) -> nn.Module:
        def make() -> nn.Module:
            return DDPG._default_actor(self)

        return MultiAgentNetwork(make, self.spaces.team.numel(), share_params=self.config.share_params)

    def _default_critic(self) -> nn.Module:
        agents = self.spaces.team.numel()
        width = agents * (self.spaces.observation_width() + self.spaces.action_size)

        def make() -> nn.Module:
            return OnlyMember(self._ensemble(1, width, 1))

        return _Judge(MultiAgentNetwork(make, agents, centralized=True, share_params=False))

    # ----------------------------------------------------------------- update

    def actor_value(self, observation: list[Tensor], taken: Tensor) -> Tensor:
        """What each actor climbs, ``[batch, agents, 1]``: its agent's value of its action, and of those others took."""
        judge: Any = self.critic
        return judge.of_own(observation, self.act(self.actor, observation), taken)


class _Judge(nn.Module):
    """The critics of all agents, as the one critic that DDPG has: ``[1, batch, agents, 1]``."""

    def __init__(self, critics: MultiAgentNetwork) -> None:
        super().__init__()
        self.critics = critics

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.critics(*inputs).unsqueeze(0)

    def of_own(self, observation: list[Tensor], own: Tensor, taken: Tensor) -> Tensor:
        """Values of actions ``own`` of each agent, where the others do as in ``taken``; ``[batch, agents, 1]``."""
        agents = taken.shape[-2]
        itself = torch.eye(agents, dtype=torch.bool, device=taken.device).unsqueeze(-1)
        joint = torch.where(itself, own.unsqueeze(-3), taken.unsqueeze(-3))
        seen = torch.cat(observation, -1).unsqueeze(-3)
        views = torch.cat([seen.expand(*joint.shape[:-1], -1), joint], -1)
        return self.critics.each(views.flatten(-2))
