"""Soft actor-critic for discrete actions (Christodoulou 2019, https://arxiv.org/abs/1910.07207).

Reads from top to bottom: configuration, networks, then one update: critics, actor, temperature. Expectations over
actions take the place of samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase
from tensordict.nn import TensorDictModule
from torch import Tensor, nn

from agents.algorithms.config import OffPolicyConfig
from agents.algorithms.off_policy import OffPolicyAgent
from agents.nn import Categorical, MaskedCategorical, ProbabilisticActor
from agents.nn.only_member import OnlyMember
from agents.nn.target import TargetNetwork
from agents.objectives import Temperature, chosen_value, discrete_soft_value, temperature_loss, value_loss
from agents.returns import td0_target
from envkit import EnvBase

__all__ = ["DiscreteSAC", "DiscreteSACConfig"]


@dataclass
class DiscreteSACConfig(OffPolicyConfig):
    """Hyper-parameters of :class:`DiscreteSAC`."""

    num_critics: int = 2
    """Critics, of whose values the lowest counts."""
    tau: float = 0.005
    """How far the target critics move towards the critics in each update."""
    alpha: float | None = None
    """Weight of the entropy; None learns it."""
    alpha_init: float = 1.0
    """First weight of the entropy, if it is learnt."""
    target_entropy_weight: float = 0.2
    """Entropy that the learnt weight aims at, as a share of the largest one."""

    @staticmethod
    def ranges() -> dict[str, tuple[float, float]]:
        """Lowest and highest value of the numbers."""
        return {
            **OffPolicyConfig.ranges(),
            "num_critics": (1, math.inf),
            "tau": (0, 1),
            "alpha": (1e-8, math.inf),
            "alpha_init": (1e-8, math.inf),
            "target_entropy_weight": (0, 1),
        }


class DiscreteSAC(OffPolicyAgent):
    """An agent that learns by soft actor-critic, with discrete actions.

    Where the env says which actions are possible, in an observation ``"action_mask"`` or ``"mask"``, only those are
    taken and reckoned with; the learnt weight aims at a share of the entropy of all of them nonetheless.

    Args:
        env: where it learns; an env with a batch is stepped as one. Its observations are vectors.
        config: the hyper-parameters.
        seed: seeds the env, the networks and the sampling; None leaves them as they are.
        observation_keys: what the networks see, all observations by default.
        actor: a network from the observations to logits, ``[batch, n]``.
        critic: a network from the observations to the values of actions of all critics, ``[num_critics, batch, n]``.

    Raises:
        SpecError: the env's actions, rewards or observations are of a kind that it cannot handle.

    Examples:
        >>> from agents import DiscreteSAC, DiscreteSACConfig
        >>> from envkit import GymEnv
        >>> config = DiscreteSACConfig(hidden_sizes=(8,), learning_starts=20, batch_size=8, steps_per_iteration=25)
        >>> agent = DiscreteSAC(GymEnv("CartPole-v1"), config)
        >>> agent.train(max_steps=50)["updates"]
        30.0
    """

    Config = DiscreteSACConfig
    actions = ("discrete",)
    config: DiscreteSACConfig

    def __init__(
        self,
        env: EnvBase,
        config: DiscreteSACConfig | None = None,
        *,
        seed: int | None = 0,
        observation_keys: Sequence[NestedKey] | None = None,
        actor: nn.Module | None = None,
        critic: nn.Module | None = None,
    ) -> None:
        super().__init__(env, config, seed=seed, observation_keys=observation_keys)
        config = self.config
        width = self.spaces.observation_width() if actor is None or critic is None else 0
        size = self.spaces.action_size
        self.actor = actor if actor is not None else OnlyMember(self._ensemble(1, width, size))
        self.critic = critic if critic is not None else self._ensemble(config.num_critics, width, size)
        self.target = TargetNetwork(self.critic)
        self.temperature = Temperature(config.alpha_init if config.alpha is None else config.alpha)
        self.actor_optimizer, self.critic_optimizer, self.alpha_optimizer = (
            self._descent(net.parameters()) for net in (self.actor, self.critic, self.temperature)
        )
        self._target_entropy = config.target_entropy_weight * math.log(self.spaces.action_size)
        net = TensorDictModule(self.actor, in_keys=self.spaces.observation_keys, out_keys=["logits"])
        read: dict[str, NestedKey] = {"logits": "logits"}
        if self.spaces.mask_key is not None:
            read["mask"] = self.spaces.mask_key
        kind = Categorical if self.spaces.mask_key is None else MaskedCategorical
        self.policy = ProbabilisticActor(net, read, [self.spaces.action_key], distribution_class=kind)
        self._begin()

    # ----------------------------------------------------------------- update

    def update(self, rows: TensorDictBase) -> dict[str, Tensor]:
        """One update of critics, actor and temperature on rows of the buffer."""
        config, action = self.config, rows[self.spaces.action_key]
        observation = self.observations(rows)
        alpha = self.temperature()

        reward, terminated, gamma = self.outcome(rows)
        with torch.no_grad():
            following = self.observations(rows["next"])
            next_values = self.target.module(*following).amin(0)
            next_value = discrete_soft_value(next_values, self.log_probs(rows["next"]), alpha)
            target = td0_target(reward, next_value, terminated, gamma)
        every = self.critic(*observation)
        values = chosen_value(every, action.expand(every.shape[:-1]))
        critic_loss = 0.5 * value_loss(values, target.expand_as(values), "l2").sum(0).mean()
        self.critic_optimizer.step(critic_loss)
        self.target.follow(config.tau)

        log_probs = self.log_probs(rows)
        actor_loss = -discrete_soft_value(every.detach().amin(0), log_probs, alpha).mean()
        self.actor_optimizer.step(actor_loss)
        entropy = discrete_soft_value(torch.zeros_like(log_probs), log_probs.detach(), 1.0)
        if config.alpha is None:
            log_alpha = self.temperature.log_alpha
            self.alpha_optimizer.step(temperature_loss(log_alpha, -entropy, self._target_entropy).mean())
        return {
            "loss_critic": critic_loss.detach(),
            "value": values.detach().mean(),
            "loss_actor": actor_loss.detach(),
            "entropy": entropy.mean(),
            "alpha": alpha,
        }

    def log_probs(self, rows: TensorDictBase) -> Tensor:
        """Log-probabilities of actions, ``[batch, n]``; minus infinity for those that are not possible."""
        logits = self.actor(*self.observations(rows))
        for key in self.spaces.mask_keys:
            logits = logits.masked_fill(~rows.get(key), -torch.inf)
        return logits.log_softmax(-1)

    def _seen_keys(self) -> list[NestedKey]:
        return [*super()._seen_keys(), *self.spaces.mask_keys]

    def _parts(self) -> dict[str, Any]:
        return {
            "actor": self.actor,
            "critic": self.critic,
            "target": self.target,
            "temperature": self.temperature,
            "actor_optimizer": self.actor_optimizer,
            "critic_optimizer": self.critic_optimizer,
            "alpha_optimizer": self.alpha_optimizer,
        }
