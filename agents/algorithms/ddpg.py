"""Deep deterministic policy gradient (Lillicrap et al. 2016, https://arxiv.org/abs/1509.02971).

Reads from top to bottom: configuration, networks, then one update: critic, actor, targets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import Tensor, nn

from agents.algorithms.noise import NoiseConfig, action_noise, with_first_steps
from agents.algorithms.off_policy import OffPolicyAgent
from agents.nn import Ensemble
from agents.nn.only_member import OnlyMember
from agents.nn.target import TargetNetwork
from agents.objectives import hold_out_net, value_loss
from agents.returns import td0_target
from envkit import EnvBase

__all__ = ["DDPG", "DDPGConfig"]


@dataclass
class DDPGConfig(NoiseConfig):
    """Hyper-parameters of :class:`DDPG`."""

    tau: float = 0.005
    """How far the targets move towards the networks in each update of the actor."""
    actor_freq: int = 1
    """Updates of the critic for each of the actor."""

    @staticmethod
    def ranges() -> dict[str, tuple[float, float]]:
        """Lowest and highest value of the numbers."""
        return {
            **NoiseConfig.ranges(),
            "tau": (0, 1),
            "actor_freq": (1, math.inf),
        }


class DDPG(OffPolicyAgent):
    """An agent that learns by deep deterministic policy gradient, with continuous actions between finite bounds.

    The networks see actions scaled to the box from -1 to 1.

    Args:
        env: where it learns; an env with a batch is stepped as one. Its observations are vectors.
        config: the hyper-parameters.
        seed: seeds the env, the networks and the noise; None leaves them as they are.
        observation_keys: what the networks see, all observations by default.
        actor: a network from the observations to actions before they are squashed, ``[batch, n]``.
        critic: a network from observations and action to the values of all critics, ``[num_critics, batch, 1]``.

    Raises:
        SpecError: the env's actions, rewards or observations are of a kind that it cannot handle.

    Examples:
        >>> from agents import DDPG, DDPGConfig
        >>> from envkit import GymEnv
        >>> config = DDPGConfig(hidden_sizes=(8,), learning_starts=20, batch_size=8, steps_per_iteration=25)
        >>> agent = DDPG(GymEnv("Pendulum-v1"), config)
        >>> agent.train(max_steps=50)["updates"]
        30.0
    """

    Config = DDPGConfig
    actions = ("continuous",)
    config: DDPGConfig
    num_critics = 1

    def __init__(
        self,
        env: EnvBase,
        config: DDPGConfig | None = None,
        *,
        seed: int | None = 0,
        observation_keys: Sequence[NestedKey] | None = None,
        actor: nn.Module | None = None,
        critic: nn.Module | None = None,
    ) -> None:
        config = self.Config() if config is None else config
        env, observation_keys = with_first_steps(env, observation_keys, config)
        super().__init__(env, config, seed=seed, observation_keys=observation_keys)
        self._low, self._high = self.spaces.finite_action_bounds()
        self.actor = actor if actor is not None else self._default_actor()
        self.critic = critic if critic is not None else self._default_critic()
        self.target_actor, self.target_critic = TargetNetwork(self.actor), TargetNetwork(self.critic)
        self.actor_optimizer = self._descent(self.actor.parameters())
        self.critic_optimizer = self._descent(self.critic.parameters())
        self._noise = action_noise(config, self.spaces)
        acting = _Squashed(self.actor, self._low, self._high)
        self.policy = TensorDictSequential(
            TensorDictModule(acting, in_keys=self.spaces.observation_keys, out_keys=[self.spaces.action_key]),
            *self._noise.values(),
        )
        self._begin()

    # --------------------------------------------------------------- networks

    def _default_actor(self) -> nn.Module:
        return OnlyMember(self._ensemble(1, self.spaces.observation_width(), self.spaces.action_size))

    def _default_critic(self) -> nn.Module:
        return self._ensemble(self.num_critics, self.spaces.observation_width() + self.spaces.action_size, 1)

    # ----------------------------------------------------------------- update

    def update(self, rows: TensorDictBase) -> dict[str, Tensor]:
        """One update of the critic, and of actor and targets if it is their turn, on rows of the buffer."""
        observation = self.observations(rows)
        action = (rows[self.spaces.action_key] - self._low) * (2.0 / (self._high - self._low)) - 1.0

        with torch.no_grad():
            reward, terminated, gamma = self.outcome(rows)
            target = td0_target(reward, self.next_value(rows["next"]), terminated, gamma)
        values = self.critic(*observation, action).squeeze(-1)
        critic_loss = 0.5 * self.mean(rows, value_loss(values, target.expand_as(values), "l2").sum(0))
        self.critic_optimizer.step(critic_loss)
        losses = {"loss_critic": critic_loss.detach(), "value": values.detach().mean()}

        if self.updates % self.config.actor_freq == 0:
            with hold_out_net(self.critic):
                value = self.actor_value(observation, action)
            actor_loss = -self.mean(rows, value.squeeze(-1))
            self.actor_optimizer.step(actor_loss)
            self.target_actor.follow(self.config.tau)
            self.target_critic.follow(self.config.tau)
            losses["loss_actor"] = actor_loss.detach()
        return losses

    def next_value(self, following: TensorDictBase) -> Tensor:
        """What the targets make of the observations that follow; ``[batch]``."""
        observation = self.observations(following)
        action = self.act(self.target_actor.module, observation)
        return self.target_critic.module(*observation, action)[0].squeeze(-1)

    def actor_value(self, observation: list[Tensor], taken: Tensor) -> Tensor:
        """What the actor climbs: the value of its actions, ``[batch, 1]``; ``taken`` are those of the rows."""
        return self.first_value(*observation, self.act(self.actor, observation))

    def first_value(self, *inputs: Tensor) -> Tensor:
        """The values of the first critic, which the actor climbs; ``[batch, 1]``."""
        return self.critic.one(0, *inputs) if isinstance(self.critic, Ensemble) else self.critic(*inputs)[0]

    @staticmethod
    def act(actor: nn.Module, observation: list[Tensor]) -> Tensor:
        """Actions of an actor, scaled to the box from -1 to 1; ``[batch, n]``."""
        return torch.tanh(actor(*observation))

    def _parts(self) -> dict[str, Any]:
        return {
            "actor": self.actor,
            "critic": self.critic,
            "target_actor": self.target_actor,
            "target_critic": self.target_critic,
            "actor_optimizer": self.actor_optimizer,
            "critic_optimizer": self.critic_optimizer,
            **self._noise,
        }


class _Squashed(nn.Module):
    """An actor whose actions lie between bounds."""

    low: Tensor
    high: Tensor

    def __init__(self, actor: nn.Module, low: Tensor, high: Tensor) -> None:
        super().__init__()
        self.actor = actor
        self.register_buffer("low", low)
        self.register_buffer("high", high)

    def forward(self, *observation: Tensor) -> Tensor:
        share = (torch.tanh(self.actor(*observation)) + 1.0) / 2.0
        return torch.lerp(self.low.expand_as(share), self.high.expand_as(share), share)
