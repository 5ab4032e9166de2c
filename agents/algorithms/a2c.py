"""Advantage actor-critic (Mnih et al. 2016, https://arxiv.org/abs/1602.01783), its synchronous form.

Networks, collecting and advantages are those of :class:`~agents.algorithms.on_policy.OnPolicyAgent`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from agents.algorithms.on_policy import OnPolicyAgent, OnPolicyConfig
from agents.objectives import policy_gradient_loss, value_loss
from agents.trainer.hook import Metrics

__all__ = ["A2C", "A2CConfig"]


@dataclass
class A2CConfig(OnPolicyConfig):
    """Hyper-parameters of :class:`A2C`."""

    steps_per_env: int = 5
    """Steps of each env per iteration."""
    gae_lambda: float = 1.0
    """Weight of longer returns in the advantage estimate."""
    lr: float = 7e-4
    """Learning rate of Adam."""
    entropy_coef: float = 0.0
    """Weight of the entropy bonus."""
    normalize_advantage: bool = False
    """Bring the advantages that an update learns from to mean 0 and standard deviation 1."""


class A2C(OnPolicyAgent):
    """An agent that learns by advantage actor-critic: one gradient step on each batch.

    Arguments and errors are those of :class:`~agents.algorithms.on_policy.OnPolicyAgent`.

    Examples:
        >>> from envkit import GymEnv, SerialEnv
        >>> agent = A2C(SerialEnv(2, lambda: GymEnv("CartPole-v1")))
        >>> agent.train(max_steps=100)["steps"]
        100.0
    """

    Config = A2CConfig
    config: A2CConfig

    def update(self, data: dict[Any, Tensor]) -> Metrics:
        """One gradient step on one batch."""
        config = self.config
        data = self._before_update(data)
        observations = [data["observation", key] for key in self.observation_keys]
        distribution = self.distribution(*observations, mask=data.get("mask"))
        log_prob = distribution.log_prob(data["action"])
        entropy = distribution.entropy().mean()
        objective = policy_gradient_loss(log_prob, self.normalized(data["advantage"])).mean()
        value = self.critic(*observations).flatten()
        critic = 0.5 * value_loss(value, data["target"], "l2").mean()
        self.optimizer.step(objective - config.entropy_coef * entropy + config.critic_coef * critic)
        losses = {"loss_objective": objective.item(), "loss_critic": critic.item(), "entropy": entropy.item()}
        self._after_update(losses)
        return losses
