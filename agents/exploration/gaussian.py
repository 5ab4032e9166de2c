"""Gaussian noise on top of an action."""

from __future__ import annotations

import torch
from tensordict import NestedKey
from torch import Tensor

from agents.exploration.annealing import LinearAnnealing
from agents.exploration.base import ExplorationModule
from envkit import TensorSpec

__all__ = ["AdditiveGaussianModule"]


class AdditiveGaussianModule(ExplorationModule):
    """Adds ``sigma * x`` to the action, with ``x`` drawn from ``Normal(mean, std)``, and projects it into its spec.

    Args:
        spec: spec of the action, see :class:`ExplorationModule`.
        sigma_init: ``sigma`` at first.
        sigma_end: ``sigma`` at last.
        annealing_num_steps: how many steps :meth:`step` makes from one to the other.
        mean: mean of ``x``, a number or a tensor that broadcasts to the action.
        std: standard deviation of ``x``, likewise.
        action_key: the action.
        safe: whether the action is projected into the spec.
        generator: source of the random numbers, see :class:`ExplorationModule`.

    Example:
        >>> import torch
        >>> from agents import MLP, Actor, TensorDictSequential
        >>> from envkit import Bounded, ExplorationType, set_exploration_type
        >>> from tensordict import TensorDict
        >>> noise = AdditiveGaussianModule(Bounded(-1.0, 1.0, shape=(2,)), sigma_init=9.0)
        >>> policy = TensorDictSequential(Actor(MLP(3, 2)), noise)
        >>> with set_exploration_type(ExplorationType.RANDOM):
        ...     action = policy(TensorDict({"observation": torch.zeros(5, 3)}, [5]))["action"]
        >>> action.shape, bool((action.abs() <= 1.0).all())
        (torch.Size([5, 2]), True)
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        spec: TensorSpec | None = None,
        sigma_init: float = 1.0,
        sigma_end: float = 0.1,
        annealing_num_steps: int = 1000,
        mean: float | Tensor = 0.0,
        std: float | Tensor = 1.0,
        *,
        action_key: NestedKey = "action",
        safe: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(spec, action_key=action_key, generator=generator)
        self.safe = safe
        self.annealing = LinearAnnealing(sigma_init, sigma_end, annealing_num_steps)
        self.register_buffer("mean", torch.as_tensor(mean))
        self.register_buffer("std", torch.as_tensor(std))

    @property
    def sigma(self) -> float:
        """What the noise is multiplied by."""
        return self.annealing.value

    def step(self, frames: int = 1) -> None:
        """Lower ``sigma`` by ``frames`` steps; a training loop calls this with the frames of each batch."""
        self.annealing.step(frames)

    def _explore(self, action: Tensor, *others: Tensor) -> Tensor:
        self._leading(action)
        noise = torch.randn(action.shape, generator=self.generator, dtype=action.dtype, device=action.device)
        action = action + self.sigma * (self.mean + self.std * noise)
        return self._leaf.project(action) if self.safe else action
