"""The batch size of an env."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase

from envkit.errors import SpecError
from envkit.specs import Composite
from envkit.transforms.base import Transform

__all__ = ["BatchSizeTransform"]


class BatchSizeTransform(Transform):
    """Another batch size: one for an env that goes by that of its input, or the envs of a batch in another shape.

    Args:
        batch_size: the batch size outside. A batch-locked env must have as many elements.
        reshape_fn: instead of that, a function that reshapes a TensorDict (and, by the same methods, a
            :class:`~envkit.Composite`) of the batch size inside: ``lambda td: td.unflatten(0, (2, 3))``.

    Raises:
        SpecError: the env has another number of elements, or a batch size of its own in which some inputs may have
            more dimensions.

    Examples:
        >>> from envkit import GymEnv, PendulumEnv, SerialEnv, TransformedEnv
        >>> TransformedEnv(PendulumEnv(), BatchSizeTransform([4])).rollout(3).batch_size
        torch.Size([4, 3])
        >>> env = SerialEnv(6, lambda: GymEnv("CartPole-v1"))
        >>> TransformedEnv(env, BatchSizeTransform([2, 3])).reset()["observation"].shape
        torch.Size([2, 3, 4])
    """

    env_only = "BatchSizeTransform gives an env a batch size; stored data can be reshaped as it is"
    sees_masks = True

    def __init__(self, batch_size: Sequence[int] | None = None, reshape_fn: Callable[[Any], Any] | None = None) -> None:
        super().__init__()
        if (batch_size is None) is (reshape_fn is None):
            raise ValueError("BatchSizeTransform: expected batch_size or reshape_fn, found both or neither")
        self.batch_size = None if batch_size is None else torch.Size(batch_size)
        self.reshape_fn = reshape_fn
        self._inside: torch.Size | None = None

    @property
    def _expands(self) -> bool:
        """Whether the env inside goes by the batch size of its input."""
        return self.batch_size is not None and self._inside is None

    def _reshaped(self, value: Any) -> Any:
        return self.reshape_fn(value) if self.batch_size is None else value.reshape(*self.batch_size)  # type: ignore[misc]

    def _call(self, next_tensordict: TensorDictBase) -> TensorDictBase:
        return next_tensordict if self._expands else self._reshaped(next_tensordict)

    def _inv_call(self, tensordict: TensorDictBase) -> TensorDictBase:
        return tensordict if self._inside is None else tensordict.reshape(self._inside)

    def _reset_env_preprocess(self, tensordict: TensorDictBase | None) -> TensorDictBase | None:
        if tensordict is None:
            return TensorDict({}, self.batch_size) if self._expands else None
        return self._inv_call(tensordict)

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Reshapes the specs, or gives them more dimensions."""
        env = self.container
        inside = specs["observation"].shape
        unlocked = env is not None and not self._locked_inside()
        if unlocked and inside:
            raise SpecError(f"BatchSizeTransform: expected no batch size that inputs may exceed, found {list(inside)}")
        self._inside = None if unlocked and self.batch_size is not None else inside
        if self._expands:
            size = self.batch_size or ()
            return {role: spec.expand(*size, *spec.shape) for role, spec in specs.items()}
        if self.batch_size is not None and math.prod(inside) != math.prod(self.batch_size):
            raise SpecError(
                f"BatchSizeTransform: expected a batch size of as many elements as {list(inside)}, found "
                f"{list(self.batch_size)}"
            )
        return {role: self._reshaped(spec) for role, spec in specs.items()}

    def _locked_inside(self) -> bool:
        env, locked = self.container, self.container.base_env.batch_locked
        for transform in env._inside(self):
            locked = transform.transform_env_batch_locked(locked)
        return locked

    def transform_env_batch_size(self, batch_size: torch.Size) -> torch.Size:
        """The batch size outside."""
        return self._reshaped(TensorDict({}, batch_size)).batch_size if self.batch_size is None else self.batch_size

    def transform_env_batch_locked(self, batch_locked: bool) -> bool:
        """True: the batch size is fixed now."""
        return True

    def extra_repr(self) -> str:
        """The batch size."""
        return f"batch_size={None if self.batch_size is None else list(self.batch_size)}"
