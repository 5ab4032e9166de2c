"""Proximal policy optimisation (Schulman et al. 2017, https://arxiv.org/abs/1707.06347).

Reads from top to bottom: configuration, then the update of a batch. Networks, collecting and advantages are those of
:class:`~agents.algorithms.on_policy.OnPolicyAgent`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agents.algorithms.on_policy import OnPolicyAgent, OnPolicyConfig
from agents.objectives import approximate_kl, clip_fraction, clipped_surrogate, kl_penalty, surrogate, value_loss
from agents.trainer.hook import Metrics
from envkit import EnvBase

__all__ = ["PPO", "PPOConfig"]

VARIANTS = ("clip", "kl", "none")
KL_TOLERANCE = 1.5


@dataclass
class PPOConfig(OnPolicyConfig):
    """Hyper-parameters of :class:`PPO`."""

    num_minibatches: int = 4
    """Minibatches per epoch."""
    epochs: int = 4
    """Passes over the data of an iteration."""
    variant: str = "clip"
    """What keeps the policy near the one that collected: clip its ratio, an adaptive kl penalty, or none."""
    clip_epsilon: float = 0.2
    """How far the probability ratio may move from 1."""
    anneal_clip: bool = False
    """Lower the clipping range linearly to zero over the training."""
    clip_value: bool = False
    """Clip the critic's change as the policy's."""
    kl_target: float = 0.01
    """Divergence in nats that the penalty aims at."""
    kl_coef: float = 1.0
    """First weight of the penalty."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variant not in VARIANTS:
            raise ValueError(f"PPOConfig.variant: expected one of {list(VARIANTS)}, found {self.variant!r}")

    @staticmethod
    def ranges() -> dict[str, tuple[float, float]]:
        """Lowest and highest value of the numbers."""
        return {
            **OnPolicyConfig.ranges(),
            "num_minibatches": (1, math.inf),
            "epochs": (1, math.inf),
            "clip_epsilon": (0, math.inf),
            "kl_target": (0, math.inf),
            "kl_coef": (0, math.inf),
        }


class PPO(OnPolicyAgent):
    """An agent that learns by proximal policy optimisation.

    Arguments and errors are those of :class:`~agents.algorithms.on_policy.OnPolicyAgent`.

    Examples:
        >>> from envkit import GymEnv, SerialEnv
        >>> agent = PPO(SerialEnv(2, lambda: GymEnv("CartPole-v1")), PPOConfig(steps_per_env=32))
        >>> metrics = agent.train(max_steps=128)
        >>> agent.steps, agent.iterations
        (128, 2)
        >>> agent.evaluate(GymEnv("CartPole-v1"), seeds=[0]).lengths[0] > 0
        True
    """

    Config = PPOConfig
    config: PPOConfig

    def __init__(self, env: EnvBase, config: PPOConfig | None = None, **options: Any) -> None:
        super().__init__(env, config, **options)
        self._kl = KLCoefficient(self.config.kl_coef, self.config.kl_target)

    def update(self, data: dict[Any, Tensor]) -> Metrics:
        """Several epochs of minibatch steps on one batch."""
        config = self.config
        clip_epsilon = config.clip_epsilon * (self.remaining if config.anneal_clip else 1.0)
        losses: list[Tensor] = []
        log_ratios: list[Tensor] = []
        for rows in self._minibatches(data):
            rows = self._before_update(rows)
            observations = [rows["observation", key] for key in self.observation_keys]
            distribution = self.distribution(*observations, mask=rows.get("mask"))
            log_prob, old_log_prob, advantage, entropies, value, target = self.of_living(
                rows,
                distribution.log_prob(rows["action"]),
                rows["log_prob"],
                rows["advantage"],
                distribution.entropy(),
                self.critic(*observations).squeeze(-1),
                rows["target"],
            )
            advantage, entropy = self.normalized(advantage), entropies.mean()
            if config.variant == "clip":
                objective = clipped_surrogate(log_prob, old_log_prob, advantage, clip_epsilon).mean()
            else:
                objective = surrogate(log_prob, old_log_prob, advantage).mean()
            if config.variant == "kl":
                objective = objective + self._kl.value * kl_penalty(log_prob, old_log_prob).mean()
            clipping: tuple[Any, ...] = ()
            if config.clip_value:
                clipping = (*self.of_living(rows, rows["value"]), clip_epsilon)
            critic = 0.5 * value_loss(value, target, "l2", *clipping).mean()
            loss = objective - config.entropy_coef * entropy + config.critic_coef * critic

            self.optimizer.step(loss)

            losses.append(torch.stack([objective, critic, entropy]).detach())
            self._after_update(losses[-1])
            log_ratios.append((log_prob - old_log_prob).detach())
        names = ("loss_objective", "loss_critic", "entropy")
        drift = torch.cat(log_ratios)
        kl = approximate_kl(drift).item()
        metrics = {
            **dict(zip(names, torch.stack(losses).mean(0).tolist(), strict=True)),
            "kl_approx": kl,
            "clip_fraction": clip_fraction(drift, clip_epsilon).item(),
            "clip_epsilon": clip_epsilon,
        }
        if config.variant == "kl":
            metrics["kl_coef"] = self._kl.value
            self._kl.adapt(kl)
        return metrics

    def _minibatches(self, data: dict[Any, Tensor]) -> Iterator[dict[Any, Tensor]]:
        """The rows of a batch, shuffled and split anew in each epoch."""
        read = [key for key in data if key != "value" or self.config.clip_value]
        for _ in range(self.config.epochs):
            order = torch.randperm(len(data["action"]))
            parts = [data[key][order].tensor_split(self.config.num_minibatches) for key in read]
            for columns in zip(*parts, strict=True):
                yield dict(zip(read, columns, strict=True))

    def _check_batch(self) -> None:
        """An empty minibatch has no mean, and one row no standard deviation: either would turn all weights to NaN."""
        least = 2 if self.config.normalize_advantage else 1
        most = self.steps_per_iteration // least
        if self.config.num_minibatches > most:
            raise ValueError(
                f"PPOConfig.num_minibatches: expected at most {most}, for {least} or more of the "
                f"{self.steps_per_iteration} steps in each, found {self.config.num_minibatches}"
            )

    def _parts(self) -> dict[str, Any]:
        return {**super()._parts(), "kl": self._kl}


class KLCoefficient:
    """The weight of a penalty on the divergence, which follows how far that is from its target.

    Schulman et al. 2017 (https://arxiv.org/abs/1707.06347, section 4).

    Examples:
        >>> coefficient = KLCoefficient(1.0, target=0.01)
        >>> coefficient.adapt(0.02)
        >>> coefficient.value
        2.0
    """

    def __init__(self, value: float, target: float) -> None:
        self.value, self.target = value, target

    def adapt(self, kl: float) -> None:
        """Doubles the weight if the divergence is well above its target, halves it if it is well below."""
        if kl > self.target * KL_TOLERANCE:
            self.value *= 2.0
        elif kl < self.target / KL_TOLERANCE:
            self.value /= 2.0

    def state_dict(self) -> dict[str, float]:
        """The weight."""
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Takes over what :meth:`state_dict` returned."""
        self.value = float(state["value"])
