"""Checks of hyper-parameters, and those that agents with replay share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

from torch import nn

__all__ = ["ACTIVATIONS", "OffPolicyConfig", "check_config"]

ACTIVATIONS = {"elu": nn.ELU, "gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}
POSITIVE, NOT_NEGATIVE, SHARE = (1, math.inf), (0, math.inf), (0, 1)


def check_config(config: Any, ranges: dict[str, tuple[float, float]]) -> None:
    """Checks the numbers of a config against inclusive ranges, and its ``hidden_sizes`` and ``activation``.

    None is in any range.

    Raises:
        ValueError: something is out of range; names the class, the field, what was expected and what was found.
    """
    name = type(config).__name__
    for field, (low, high) in ranges.items():
        value = getattr(config, field)
        if value is not None and not (isinstance(value, Real) and low <= float(value) <= high):
            expected = f"at least {low}" if high == math.inf else f"a number from {low} to {high}"
            raise ValueError(f"{name}.{field}: expected {expected}, found {value!r}")
    config.hidden_sizes = tuple(config.hidden_sizes)
    if not all(isinstance(width, int) and width > 0 for width in config.hidden_sizes):
        raise ValueError(f"{name}.hidden_sizes: expected positive integers, found {config.hidden_sizes}")
    if config.activation not in ACTIVATIONS:
        raise ValueError(f"{name}.activation: expected one of {sorted(ACTIVATIONS)}, found {config.activation!r}")


@dataclass
class OffPolicyConfig:
    """Hyper-parameters of agents that learn from replayed steps."""

    buffer_size: int = 1_000_000
    """Steps that the replay buffer holds."""
    batch_size: int = 256
    """Steps that an update learns from."""
    learning_starts: int = 1_000
    """Steps with random actions before the first update."""
    train_freq: int = 1
    """Steps of each env between updates."""
    gradient_steps: int = 1
    """Updates each time."""
    gamma: float = 0.99
    """Discount factor."""
    n_steps: int = 1
    """Steps of reward before the value of what follows is taken."""
    lr: float = 3e-4
    """Learning rate of Adam."""
    anneal_lr: bool = False
    """Lower the learning rate linearly to zero over the training."""
    max_grad_norm: float | None = None
    """Largest norm of a gradient; None for any."""
    hidden_sizes: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers."""
    activation: str = "relu"
    """Activation: elu, gelu, relu, silu or tanh."""
    steps_per_iteration: int = 1_000
    """Steps between two reports, rounded down to a multiple of what is collected between updates."""

    def __post_init__(self) -> None:
        check_config(self, self.ranges())
        if self.buffer_size < self.batch_size:
            raise ValueError(
                f"{type(self).__name__}.buffer_size: expected at least batch_size {self.batch_size}, "
                f"found {self.buffer_size}"
            )

    @staticmethod
    def ranges() -> dict[str, tuple[float, float]]:
        """Lowest and highest value of the numbers."""
        counts = ("buffer_size", "batch_size", "train_freq", "gradient_steps", "n_steps", "steps_per_iteration")
        return {
            **dict.fromkeys(counts, POSITIVE),
            "learning_starts": NOT_NEGATIVE,
            "gamma": SHARE,
            "lr": NOT_NEGATIVE,
            "max_grad_norm": NOT_NEGATIVE,
        }
