"""Soft actor-critic (Haarnoja et al. 2018, https://arxiv.org/abs/1801.01290 and https://arxiv.org/abs/1812.05905).

Reads from top to bottom: configuration, networks, then one update: critics, actor, temperature.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import Tensor, nn

from agents.algorithms.noise import NoiseConfig, action_noise, with_first_steps
from agents.algorithms.off_policy import OffPolicyAgent
from agents.nn import ProbabilisticActor, TanhNormal
from agents.nn.only_member import OnlyMember
from agents.nn.target import TargetNetwork
from agents.objectives import Temperature, hold_out_net, sac_actor_loss, soft_value, temperature_loss, value_loss
from agents.returns import td0_target
from envkit import EnvBase
from envkit.core.inlined_layers import on_tensors

__all__ = ["SAC", "SACConfig"]

LOG_STD = (-20.0, 2.0)


@dataclass
class SACConfig(NoiseConfig):
    """Hyper-parameters of :class:`SAC`."""

    num_critics: int = 2
    """Critics, of whose values the lowest counts."""
    tau: float = 0.005
    """How far the target critics move towards the critics in each update."""
    actor_freq: int = 1
    """Updates of the critics for each of the actor."""
    alpha: float | None = None
    """Weight of the entropy; None learns it."""
    alpha_init: float = 1.0
    """First weight of the entropy, if it is learnt."""
    target_entropy: float | None = None
    """Entropy that the learnt weight aims at; minus the number of action dimensions by default."""
    noise: str = "none"
    """What is added to the actions drawn: none, gaussian noise, or ornstein-uhlenbeck, which has a memory."""

    @staticmethod
    def ranges() -> dict[str, tuple[float, float]]:
        """Lowest and highest value of the numbers."""
        return {
            **NoiseConfig.ranges(),
            "num_critics": (1, math.inf),
            "tau": (0, 1),
            "actor_freq": (1, math.inf),
            "alpha": (1e-8, math.inf),
            "alpha_init": (1e-8, math.inf),
        }


class SAC(OffPolicyAgent):
    """An agent that learns by soft actor-critic, with continuous actions between finite bounds.

    Actions come from a :class:`~agents.nn.TanhNormal`. All networks, entropies and log-probabilities are of actions
    scaled to the box from -1 to 1.

    Args:
        env: where it learns; an env with a batch is stepped as one. Its observations are vectors.
        config: the hyper-parameters.
        seed: seeds the env, the networks and the sampling; None leaves them as they are.
        observation_keys: what the networks see, all observations by default.
        actor: a network from the observations to means and logarithms of standard deviations, ``[batch, 2 * n]``.
        critic: a network from observations and action to the values of all critics, ``[num_critics, batch, 1]``.

    Raises:
        SpecError: the env's actions, rewards or observations are of a kind that it cannot handle.

    Examples:
        >>> from agents import SAC, SACConfig
        >>> from envkit import GymEnv
        >>> config = SACConfig(hidden_sizes=(8,), learning_starts=20, batch_size=8, steps_per_iteration=25)
        >>> agent = SAC(GymEnv("Pendulum-v1"), config)
        >>> agent.train(max_steps=50)["updates"]
        30.0
    """

    Config = SACConfig
    actions = ("continuous",)
    config: SACConfig

    def __init__(
        self,
        env: EnvBase,
        config: SACConfig | None = None,
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
        self.actor = _Gaussian(actor if actor is not None else self._default_actor())
        self.critic = critic if critic is not None else self._default_critic()
        self.target = TargetNetwork(self.critic)
        self.temperature = Temperature(config.alpha_init if config.alpha is None else config.alpha)
        self.actor_optimizer = self._descent(self.actor.parameters())
        self.critic_optimizer = self._descent(self.critic.parameters())
        self.alpha_optimizer = self._descent(self.temperature.parameters())
        self._target_entropy = -float(self.spaces.action_size)
        if config.target_entropy is not None:
            self._target_entropy = config.target_entropy
        net = TensorDictModule(self.actor, in_keys=self.spaces.observation_keys, out_keys=["loc", "scale"])
        acting = ProbabilisticActor(
            net,
            ["loc", "scale"],
            [self.spaces.action_key],
            distribution_class=TanhNormal,
            distribution_kwargs={"low": self._low, "high": self._high},
        )
        self._noise = action_noise(config, self.spaces)
        self.policy = TensorDictSequential(acting, *self._noise.values()) if self._noise else acting
        self._begin()

    # --------------------------------------------------------------- networks

    def _default_actor(self) -> nn.Module:
        return OnlyMember(self._ensemble(1, self.spaces.observation_width(), 2 * self.spaces.action_size))

    def _default_critic(self) -> nn.Module:
        width = self.spaces.observation_width() + self.spaces.action_size
        return self._ensemble(self.config.num_critics, width, 1)

    # ----------------------------------------------------------------- update

    def update(self, rows: TensorDictBase) -> dict[str, Tensor]:
        """One update of critics, actor and temperature on rows of the buffer."""
        config = self.config
        observation = self.observations(rows)
        action = (rows[self.spaces.action_key] - self._low) * (2.0 / (self._high - self._low)) - 1.0
        alpha = self.temperature()

        values, target = self.values_and_target(rows, observation, action, alpha)
        critic_loss = 0.5 * value_loss(values, target.expand_as(values), "l2").sum(0).mean()
        self.critic_optimizer.step(critic_loss)
        self._follow()
        losses = {"loss_critic": critic_loss.detach(), "value": values.detach().mean()}

        if self.updates % config.actor_freq == 0:
            new_action, log_prob = self.distribution(*observation).rsample_with_log_prob()
            with hold_out_net(self.critic):
                value = self.actor_value(self.critic(*observation, new_action).squeeze(-1))
            actor_loss = sac_actor_loss(value, log_prob, alpha).mean()
            self.actor_optimizer.step(actor_loss)
            if config.alpha is None:
                self.alpha_optimizer.step(
                    temperature_loss(self.temperature.log_alpha, log_prob, self._target_entropy).mean()
                )
            losses |= {"loss_actor": actor_loss.detach(), "entropy": -log_prob.detach().mean(), "alpha": alpha}
        return losses

    def values_and_target(
        self, rows: TensorDictBase, observation: list[Tensor], action: Tensor, alpha: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The values of all critics, ``[num_critics, batch]``, and what they should be, ``[batch]``."""
        reward, terminated, gamma = self.outcome(rows)
        with torch.no_grad():
            following = self.observations(rows["next"])
            next_action, next_log_prob = self.distribution(*following).rsample_with_log_prob()
            next_value = self.target_value(self.target.module(*following, next_action).squeeze(-1))
            target = td0_target(reward, soft_value(next_value, next_log_prob, alpha), terminated, gamma)
        return self.critic(*observation, action).squeeze(-1), target

    def _follow(self) -> None:
        self.target.follow(self.config.tau)

    def target_value(self, values: Tensor) -> Tensor:
        """What counts for targets of the values of all critics, ``[num_critics, batch]``: the lowest."""
        return values.amin(0)

    def actor_value(self, values: Tensor) -> Tensor:
        """What the actor climbs of the values of all critics, ``[num_critics, batch]``: the lowest."""
        return values.amin(0)

    def distribution(self, *observation: Tensor) -> TanhNormal:
        """The distribution of actions, scaled to the box from -1 to 1, at a batch of observations."""
        return TanhNormal(*self.actor(*observation))

    def _parts(self) -> dict[str, Any]:
        return {
            "actor": self.actor,
            "critic": self.critic,
            "target": self.target,
            "actor_optimizer": self.actor_optimizer,
            "critic_optimizer": self.critic_optimizer,
            "alpha_optimizer": self.alpha_optimizer,
            "temperature": self.temperature,
            **self._noise,
        }


class _Gaussian(nn.Module):
    """Mean and standard deviation out of one network."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *observation: Tensor) -> tuple[Tensor, Tensor]:
        loc, log_std = self.net(*observation).chunk(2, -1)
        return loc, log_std.clamp(*LOG_STD).exp()

    def on_tensors(self) -> Callable[..., tuple[Tensor, Tensor]]:
        """The same without the price of calling modules; see ``on_tensors`` in ``envkit/core/inlined_layers.py``."""
        net = on_tensors(self.net)

        def run(*observation: Tensor) -> tuple[Tensor, Tensor]:
            loc, log_std = net(*observation).chunk(2, -1)
            return loc, log_std.clamp(*LOG_STD).exp()

        return run
