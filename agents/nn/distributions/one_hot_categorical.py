"""A distribution over one-hot vectors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn import functional

from agents.nn.distributions.categorical import Categorical

__all__ = ["OneHotCategorical"]


class OneHotCategorical(Categorical):
    """One-hot vectors of ``n`` options, drawn in proportion to ``probs`` or to ``exp(logits)``.

    Args:
        logits: unnormalised log-probabilities, shape ``[*batch, n]``, floating point.
        probs: unnormalised probabilities, shape ``[*batch, n]``; give exactly one of the two.
        dtype: dtype of the vectors; the default is that of :class:`envkit.OneHot`.

    Raises:
        ValueError: if both or none of ``logits`` and ``probs`` are given.

    Example:
        >>> import torch
        >>> dist = OneHotCategorical(logits=torch.tensor([0.0, 0.0, -torch.inf]))
        >>> dist.mode, dist.log_prob(torch.tensor([False, True, False]))
        (tensor([ True, False, False]), tensor(-0.6931))
    """

    def __init__(
        self, logits: Tensor | None = None, probs: Tensor | None = None, *, dtype: torch.dtype = torch.bool
    ) -> None:
        super().__init__(logits, probs)
        self._dtype = dtype

    @property
    def event_shape(self) -> torch.Size:
        """The number of options."""
        return self.logits.shape[-1:]

    @property
    def support(self) -> Any:
        """One-hot vectors."""
        return constraints.one_hot

    @property
    def mode(self) -> Tensor:
        """The most probable vector, ``[*batch_shape, n]``."""
        return self._vectors(super().mode)

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:  # type: ignore[override]
        """Vectors of shape ``[*sample_shape, *batch_shape, n]``."""
        return self._vectors(super().sample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of vectors of shape ``[*sample_shape, *batch_shape, n]``, without the last dimension.

        Raises:
            ValueError: if the last dimensions of ``value`` are not ``[*batch_shape, n]``.
        """
        self._check_value(value, self.logits.shape)
        return super().log_prob(value.byte().argmax(-1) if value.dtype is torch.bool else value.argmax(-1))

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All vectors, shape ``[n, *batch_shape, n]`` (``[n, 1, ..., n]`` when ``expand`` is false)."""
        return self._vectors(super().enumerate_support(expand))

    def _vectors(self, index: Tensor) -> Tensor:
        return functional.one_hot(index, self.logits.shape[-1]).to(self._dtype)
