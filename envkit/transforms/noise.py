"""Noise that lasts for an episode."""

from __future__ import annotations

import torch
from tensordict import NestedKey, TensorDictBase

from envkit.core.masks import Masks
from envkit.errors import SpecError
from envkit.specs import Composite, Unbounded
from envkit.transforms.base import Transform
from envkit.transforms.rows import Columns, RowForm

__all__ = ["gSDENoise"]


class gSDENoise(Transform):  # noqa: N801 - the field's name
    """Draws the noise matrix of generalised state-dependent exploration at the beginning of each episode.

    It stands among the observations, standard normal of shape ``[*batch, action_dim, state_dim]``, and stays the same
    until the next reset. Raffin, Kober and Stulp, 2021, "Smooth Exploration for Robotic Reinforcement Learning".

    Args:
        state_dim: the number of features that the policy explores by.
        action_dim: the number of dimensions of the action; by default that of the env's action.
        key: the name of the matrix.

    Raises:
        ValueError: a size is not positive.
        SpecError: ``action_dim`` is needed, or the env has an observation of that name already.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> env = TransformedEnv(GymEnv("Pendulum-v1"), gSDENoise(state_dim=3))
        >>> noise = env.rollout(5)["_eps_gSDE"]
        >>> noise.shape, bool((noise == noise[0]).all())
        (torch.Size([5, 1, 3]), True)
    """

    env_only = "gSDENoise draws noise for the episodes of an env; stored data already has its noise"

    def __init__(self, state_dim: int, action_dim: int | None = None, key: NestedKey = "_eps_gSDE") -> None:
        super().__init__()
        for name, size in (("state_dim", state_dim), ("action_dim", action_dim)):
            if size is not None and size < 1:
                raise ValueError(f"gSDENoise: {name}: expected at least 1, found {size}")
        self.state_dim, self.action_dim, self.key = state_dim, action_dim, key
        self._leaf = Unbounded((1, 1))
        self._batch_dims = 0
        self._generator: torch.Generator | None = None

    @property
    def memory_keys(self) -> list[NestedKey]:
        """The noise."""
        return [self.key]

    def set_seed(self, seed: int | None) -> None:
        """Seeds the noise."""
        self._generator = None if seed is None else torch.Generator().manual_seed(seed)

    def _drawn(self, batch_size: torch.Size) -> torch.Tensor:
        size = (*batch_size, *self._leaf.shape[self._batch_dims :])
        return torch.randn(size, generator=self._generator).to(self._leaf.device)

    def _reset(self, tensordict: TensorDictBase | None, tensordict_reset: TensorDictBase) -> TensorDictBase:
        return tensordict_reset.set(self.key, self._drawn(tensordict_reset.batch_size))

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        return next_tensordict.set(self.key, self._take(tensordict, self.key))

    def _bind_rows(self, columns: Columns) -> RowForm:
        before, after, first = (
            columns.stepped[self.key],
            columns.following.outer[self.key],
            columns.root.outer[self.key],
        )
        batch = self._leaf.shape[: self._batch_dims]

        def step(row: int) -> None:
            after[row] = before[row]

        def reset(row: int, masks: Masks | None) -> None:
            first[row] = self._drawn(batch).numpy()

        return RowForm(step, reset)

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Adds the noise."""
        actions, observation = specs["action"], specs["observation"].clone()
        if observation.get(self.key, None) is not None:
            raise SpecError(f"gSDENoise: {self.key!r}: expected a new observation, found one of the env's")
        shapes = [leaf.shape[len(actions.shape) :] for leaf in actions.values(True, True)]
        size = self.action_dim
        if size is None:
            if len(shapes) != 1 or len(shapes[0]) != 1:
                raise SpecError(f"gSDENoise: expected action_dim, or one action of one dimension, found {actions}")
            size = shapes[0][0]
        self._batch_dims = len(observation.shape)
        observation[self.key] = self._leaf = Unbounded((*observation.shape, size, self.state_dim), observation.device)
        return {**specs, "observation": observation}
