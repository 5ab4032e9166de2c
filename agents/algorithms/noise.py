"""Noise that agents with continuous actions add to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tensordict import NestedKey
from torch import Tensor, nn

from agents.algorithms.config import OffPolicyConfig
from agents.algorithms.spaces import Spaces
from agents.exploration import AdditiveGaussianModule, OrnsteinUhlenbeckProcessModule
from envkit import EnvBase, InitTracker, TransformedEnv

__all__ = ["NoiseConfig", "action_noise", "with_first_steps"]

NOISES = ("none", "gaussian", "ornstein-uhlenbeck")


@dataclass
class NoiseConfig(OffPolicyConfig):
    """Hyper-parameters of agents that may add noise to their actions."""

    noise: str = "gaussian"
    """What is added to actions: none, gaussian noise, or ornstein-uhlenbeck, which has a memory."""
    noise_std: float = 0.1
    """Its standard deviation, for actions scaled to the box from -1 to 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.noise not in NOISES:
            raise ValueError(f"{type(self).__name__}.noise: expected one of {list(NOISES)}, found {self.noise!r}")

    @staticmethod
    def ranges() -> dict[str, tuple[float, float]]:
        """Lowest and highest value of the numbers."""
        return {**OffPolicyConfig.ranges(), "noise_std": (0, math.inf)}


def with_first_steps(
    env: EnvBase, observation_keys: Sequence[NestedKey] | None, config: NoiseConfig
) -> tuple[EnvBase, Sequence[NestedKey] | None]:
    """The env, and what is seen of it; with first steps marked, if the noise's memory begins anew with each episode."""
    if config.noise != "ornstein-uhlenbeck":
        return env, observation_keys
    seen = list(env.observation_keys) if observation_keys is None else observation_keys
    return TransformedEnv(env, InitTracker()), seen


def action_noise(config: NoiseConfig, spaces: Spaces) -> dict[str, nn.Module]:
    """The module that adds noise to actions as the env has them, by its name among an agent's parts; empty for none."""
    if config.noise == "none":
        return {}
    low, high = spaces.finite_action_bounds()
    std: Tensor = config.noise_std * (high - low) / 2
    spec, key = spaces.action, spaces.action_key
    if config.noise == "gaussian":
        return {"exploration": AdditiveGaussianModule(spec, 1.0, 1.0, std=std, action_key=key)}
    return {"exploration": OrnsteinUhlenbeckProcessModule(spec, eps_init=1.0, eps_end=1.0, sigma=std, action_key=key)}
