"""Noise that drifts back to its mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from tensordict import NestedKey
from torch import Tensor

from agents.exploration.annealing import LinearAnnealing
from agents.exploration.base import ExplorationModule
from envkit import TensorSpec
from envkit.errors import PolicyError

__all__ = ["OrnsteinUhlenbeckProcessModule"]


class OrnsteinUhlenbeckProcessModule(ExplorationModule):
    """Adds ``eps * x`` to the action, ``x`` an Ornstein-Uhlenbeck process for each env, and projects it into its spec.

    At each step ``x' = x + theta * (mu - x) * dt + sigma_t * sqrt(dt) * normal`` (Uhlenbeck and Ornstein 1930; the
    exploration of DDPG, Lillicrap et al. 2016, https://arxiv.org/abs/1509.02971). ``x`` starts at ``x0`` in the first
    step of each episode, which the entry ``is_init_key`` marks (the env needs an :class:`~envkit.InitTracker`), and
    where it is asked for the first time. Its present values are part of the ``state_dict``.

    Args:
        spec: spec of the action, see :class:`ExplorationModule`.
        eps_init: ``eps`` at first.
        eps_end: ``eps`` at last.
        annealing_num_steps: how many steps :meth:`step` makes from one to the other.
        theta: how strongly ``x`` is drawn to ``mu``.
        mu: the mean of ``x``.
        sigma: standard deviation of the noise per unit of time, at the start of an episode; a number, or one for each
            number of the action.
        dt: time between steps.
        x0: where ``x`` starts.
        sigma_min: ``sigma`` after ``n_steps_annealing`` steps of an episode, likewise; by default it stays as it
            is.
        n_steps_annealing: how many steps of an episode ``sigma`` takes to get there.
        action_key: the action.
        is_init_key: the mark of first steps, shape ``[*batch, 1]``.
        safe: whether the action is projected into the spec.
        generator: source of the random numbers, see :class:`ExplorationModule`.

    Raises:
        ValueError: if ``n_steps_annealing`` is not positive.

    Example:
        >>> import torch
        >>> from agents import MLP, Actor, TensorDictSequential
        >>> from envkit import ExplorationType, GymEnv, InitTracker, TransformedEnv
        >>> env = TransformedEnv(GymEnv("Pendulum-v1"), InitTracker())
        >>> policy = TensorDictSequential(Actor(MLP(3, 1)), OrnsteinUhlenbeckProcessModule(env.action_spec))
        >>> env.rollout(5, policy, exploration_type=ExplorationType.RANDOM)["action"].shape
        torch.Size([5, 1])
    """

    noise: Tensor
    steps: Tensor

    def __init__(
        self,
        spec: TensorSpec | None = None,
        eps_init: float = 1.0,
        eps_end: float = 0.1,
        annealing_num_steps: int = 1000,
        *,
        theta: float = 0.15,
        mu: float = 0.0,
        sigma: float | Tensor = 0.2,
        dt: float = 1e-2,
        x0: float = 0.0,
        sigma_min: float | Tensor | None = None,
        n_steps_annealing: int = 1000,
        action_key: NestedKey = "action",
        is_init_key: NestedKey = "is_init",
        safe: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        others = {is_init_key: "the mark of first steps (transforms: InitTracker)"}
        super().__init__(spec, action_key=action_key, other_keys=others, generator=generator)
        if n_steps_annealing < 1:
            raise ValueError(
                f"{type(self).__name__}: n_steps_annealing: expected at least 1, found {n_steps_annealing}"
            )
        self.theta, self.mu, self.sigma, self.dt, self.x0 = theta, mu, sigma, dt, x0
        self.sigma_min, self.n_steps_annealing = sigma_min, n_steps_annealing
        self.safe = safe
        self.annealing = LinearAnnealing(eps_init, eps_end, annealing_num_steps)
        # Of the size of the batch that is met first.
        self.register_buffer("noise", torch.empty(0))
        self.register_buffer("steps", torch.empty(0, dtype=torch.int64))

    @property
    def eps(self) -> float:
        """What the noise is multiplied by."""
        return self.annealing.value

    def step(self, frames: int = 1) -> None:
        """Lower ``eps`` by ``frames`` steps; a training loop calls this with the frames of each batch."""
        self.annealing.step(frames)

    def _explore(self, action: Tensor, *others: Tensor) -> Tensor:
        self._leading(action)
        first = others[0].squeeze(-1)
        first = first.reshape(*first.shape, *(1,) * (action.ndim - first.ndim))
        if self.noise.shape != action.shape:
            if self.noise.numel() and not first.all():
                raise PolicyError(
                    f"{type(self).__name__}: expected the batch of envs met before, with an action of shape "
                    f"{list(self.noise.shape)}, found {list(action.shape)} in the middle of episodes"
                )
            # Where it is asked amid an episode for the first time, it starts there.
            self.noise = torch.full_like(action, self.x0)
            self.steps = torch.zeros_like(first, dtype=torch.int64)
        noise, steps = self.noise, self.steps
        if first.any():
            noise.masked_fill_(first, self.x0)
            steps.masked_fill_(first, 0)
        normal = torch.randn(action.shape, generator=self.generator, dtype=action.dtype, device=action.device)
        rate = self.theta * self.dt
        noise.mul_(1.0 - rate).add_(rate * self.mu).addcmul_(normal, self._sigma(steps, normal))
        steps.add_(1)
        action = action + self.eps * noise
        return self._leaf.project(action) if self.safe else action

    def _sigma(self, steps: Tensor, like: Tensor) -> Tensor:
        """The deviation of this step for each env, times ``sqrt(dt)``."""
        root = math.sqrt(self.dt)
        if self.sigma_min is None:
            return torch.as_tensor(self.sigma * root, dtype=like.dtype, device=like.device)
        progress = (steps / self.n_steps_annealing).clamp_max(1.0).to(like.dtype)
        return (self.sigma + progress * (self.sigma_min - self.sigma)) * root

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        # A state in which nothing has run yet, such as that of the policy whose weights a collector publishes, leaves
        # the noise of running episodes alone.
        for name in ("noise", "steps"):
            loaded = state_dict.get(prefix + name)
            if loaded is not None:
                if loaded.numel():
                    setattr(self, name, torch.empty_like(loaded))
                else:
                    state_dict = {**state_dict, prefix + name: getattr(self, name)}
        super()._load_from_state_dict(state_dict, prefix, *args)
