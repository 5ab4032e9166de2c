"""REINFORCE (Williams 1992, Machine Learning 8), with a learnt baseline or without.

Networks and collecting are those of :class:`~agents.algorithms.on_policy.OnPolicyAgent`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor

from agents.algorithms.on_policy import OnPolicyAgent, OnPolicyConfig
from agents.objectives import policy_gradient_loss, value_loss
from agents.returns import reward_to_go
from agents.trainer.hook import Metrics

__all__ = ["REINFORCE", "REINFORCEConfig"]


@dataclass
class REINFORCEConfig(OnPolicyConfig):
    """Hyper-parameters of :class:`REINFORCE`; ``gae_lambda`` is of no effect, as returns are summed up to the end."""

    steps_per_env: int = 512
    """Steps of each env per iteration."""
    lr: float = 2e-3
    """Learning rate of Adam."""
    entropy_coef: float = 0.0
    """Weight of the entropy bonus."""
    baseline: bool = True
    """Subtract the critic's value from the returns; otherwise there is nothing for the critic to do."""


class REINFORCE(OnPolicyAgent):
    """An agent that learns by REINFORCE: one gradient step on the episodes that ended in each batch.

    The steps of episodes that go on after a batch are not learnt from; those that follow in the next batch are.
    Arguments and errors are those of :class:`~agents.algorithms.on_policy.OnPolicyAgent`.

    Examples:
        >>> from envkit import GymEnv
        >>> agent = REINFORCE(GymEnv("CartPole-v1"), REINFORCEConfig(steps_per_env=100))
        >>> agent.train(max_steps=200)["steps"]
        200.0
    """

    Config = REINFORCEConfig
    config: REINFORCEConfig

    @torch.no_grad()
    def estimate(self, batch: TensorDictBase) -> dict[Any, Tensor]:
        """Returns of the steps whose episodes ended in the batch, one row per step."""
        following, shape = batch["next"], (self.spaces.count, self.config.steps_per_env, 1)
        done = following[self.spaces.done_key].reshape(shape)
        returns = reward_to_go(self.rewards(batch).reshape(shape), done, gamma=self.config.gamma).flatten()
        ended = done.flip(1).cummax(1).values.flip(1).flatten()
        mask = self.spaces.mask_key
        read = (*self.observation_keys, self.taken_key, *([] if mask is None else [mask]))
        flat = {key: batch[key].flatten(0, batch.ndim - 1)[ended] for key in read}
        observations = [flat[key] for key in self.observation_keys]
        target = returns[ended]
        value = self.critic(*observations).flatten() if self.config.baseline else torch.zeros_like(target)
        return {
            "action": flat[self.taken_key],
            "advantage": target - value,
            "target": target,
            **({} if mask is None else {"mask": flat[mask]}),
            **{("observation", key): column for key, column in zip(self.observation_keys, observations, strict=True)},
        }

    def update(self, data: dict[Any, Tensor]) -> Metrics:
        """One gradient step on one batch, none if no episode ended in it."""
        data = self._before_update(data)
        if len(data["target"]) < 2:
            return {}
        config = self.config
        observations = [data["observation", key] for key in self.observation_keys]
        distribution = self.distribution(*observations, mask=data.get("mask"))
        log_prob = distribution.log_prob(data["action"])
        entropy = distribution.entropy().mean()
        objective = policy_gradient_loss(log_prob, self.normalized(data["advantage"])).mean()
        loss = objective - config.entropy_coef * entropy
        losses = {"loss_objective": objective.item(), "entropy": entropy.item()}
        if config.baseline:
            critic = 0.5 * value_loss(self.critic(*observations).flatten(), data["target"], "l2").mean()
            loss = loss + config.critic_coef * critic
            losses["loss_critic"] = critic.item()
        self.optimizer.step(loss)
        self._after_update(losses)
        return losses
