"""Statistics that transforms learn while an env runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from tensordict import NestedKey, TensorDictBase
from torch import nn

from envkit.core.masks import aligned, mask_of, read_masks
from envkit.core.plan import Plan
from envkit.transforms.functional import update_moments

__all__ = ["RunningMoments", "mask_for"]

TINY = float(np.finfo(np.float64).tiny)


class RunningMoments(nn.Module):
    """The running mean and variance of one entry, kept in float64 buffers.

    Values on the CPU are taken in by numpy, whose calls cost less, others by torch on their device.

    Args:
        shape: the shape of one value, without batch dimensions.
        decay: how much of its weight what is known keeps at each update, in (0, 1].
        eps: the least variance that counts.

    Examples:
        >>> moments = RunningMoments(torch.Size([1]), decay=1.0, eps=1e-4)
        >>> moments.update(torch.tensor([[1.0], [3.0]]))
        >>> [statistic.tolist() for statistic in moments.loc_scale(torch.float32)]
        [[2.0], [1.0]]
    """

    weight: torch.Tensor
    mean: torch.Tensor
    spread: torch.Tensor

    def __init__(self, shape: torch.Size, *, decay: float, eps: float) -> None:
        super().__init__()
        self.decay, self.eps = decay, eps
        for name in ("weight", "mean", "spread"):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    @property
    def shape(self) -> torch.Size:
        """The shape of one value."""
        return self.mean.shape

    @property
    def known(self) -> bool:
        """Whether there has been a value."""
        return bool(self.weight.any())

    def update(self, value: torch.Tensor, mask: torch.Tensor | None = None) -> None:
        """Takes in the values ``[*batch, *shape]`` of one step, or those in ``mask``, which broadcasts to them."""
        value = value.detach()
        if value.device.type == "cpu" and self.mean.device.type == "cpu":
            value = value.to(torch.float64) if value.dtype is torch.bfloat16 else value
            self.learner()(value.numpy(), None if mask is None else mask.numpy())
        else:
            self._update((self.weight, self.mean, self.spread), value, mask)

    def learner(self) -> Callable[[np.ndarray, np.ndarray | None], None]:
        """:meth:`update` for numpy arrays on the CPU, for loops."""
        return partial(self._update, tuple(buffer.numpy() for buffer in (self.weight, self.mean, self.spread)))

    def _update(self, state: Any, value: Any, mask: Any = None) -> None:
        batch_dims = value.ndim - state[1].ndim
        if mask is not None and all(size == 1 for size in mask.shape[batch_dims:]):
            # Whole values: what is left of them is quicker than masks for each element.
            mask = mask.reshape(value.shape[:batch_dims])
            value, mask, batch_dims = value[mask], None, 1
        if math.prod(value.shape):
            update_moments(state[0], state[1], state[2], value, batch_dims=batch_dims, decay=self.decay, mask=mask)

    def loc_scale(self, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """The mean and the standard deviation, as ``dtype``."""
        variance = self.spread / self.weight.clamp_min(TINY)
        return self.mean.to(dtype), variance.clamp_min(self.eps).sqrt().to(dtype)

    def reader(self, dtype: np.dtype) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
        """:meth:`loc_scale` as numpy arrays, for loops."""
        weight, mean, spread = (buffer.numpy() for buffer in (self.weight, self.mean, self.spread))
        tiny, eps = np.array(TINY), np.array(self.eps)

        def read() -> tuple[np.ndarray, np.ndarray]:
            variance = spread / np.maximum(weight, tiny)
            return mean.astype(dtype), np.sqrt(np.maximum(variance, eps)).astype(dtype)

        return read


def mask_for(
    key: NestedKey, value: torch.Tensor, given: TensorDictBase | None, plan: Plan, name: str
) -> torch.Tensor | None:
    """Which elements of an entry were stepped or reset: what an update counts; None stands for all.

    Args:
        key: the entry.
        value: what it holds now.
        given: what was stepped or reset, with its masks.
        plan: the env's plan.
        name: ``"_step"`` or ``"_reset"``.
    """
    masks = None if given is None else read_masks(given, plan, name)
    return aligned(mask_of(key, plan, masks), value.shape) if masks else None
