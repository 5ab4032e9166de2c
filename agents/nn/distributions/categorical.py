"""A distribution over indices."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import constraints

from agents.nn.distributions.lean import LeanDistribution

__all__ = ["Categorical"]


class Categorical(LeanDistribution):
    """Indices ``0 ... n-1``, drawn in proportion to ``probs`` or to ``exp(logits)``.

    Samples are drawn by an exponential race: the index of the largest ``logit - log(e)`` with ``e`` standard
    exponential noise (the Gumbel-max trick, Maddison et al. 2014, https://arxiv.org/abs/1411.0030). A logit
    of minus infinity excludes its index.

    Args:
        logits: unnormalised log-probabilities, shape ``[*batch, n]``, floating point.
        probs: unnormalised probabilities, shape ``[*batch, n]``; give exactly one of the two.

    Raises:
        ValueError: if both or none of ``logits`` and ``probs`` are given.

    Example:
        >>> import torch
        >>> dist = Categorical(logits=torch.tensor([0.0, 0.0, -torch.inf]))
        >>> dist.probs
        tensor([0.5000, 0.5000, 0.0000])
        >>> dist.log_prob(torch.tensor(1)), dist.entropy()
        (tensor(-0.6931), tensor(0.6931))
        >>> bool((dist.sample((100,)) < 2).all())
        True
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {"logits": constraints.real_vector}
    has_enumerate_support = True

    def __init__(self, logits: Tensor | None = None, probs: Tensor | None = None) -> None:
        if (logits is None) == (probs is None):
            raise ValueError("Categorical: expected exactly one of logits and probs")
        # Any constant may be added to the scores: they are normalised when a probability is asked for.
        self._scores: Tensor = probs.log() if logits is None else logits  # type: ignore[union-attr]
        self._log_probs: Tensor | None = None

    @property
    def logits(self) -> Tensor:
        """Normalised log-probabilities, shape ``[*batch_shape, n]``."""
        if self._log_probs is None:
            self._log_probs = torch.log_softmax(self._scores, -1)
        return self._log_probs

    @property
    def probs(self) -> Tensor:
        """Probabilities, shape ``[*batch_shape, n]``."""
        return self.logits.exp()

    @property
    def batch_shape(self) -> torch.Size:
        """Shape of the batch: that of the parameters without their last dimension."""
        return self._scores.shape[:-1]

    @property
    def event_shape(self) -> torch.Size:
        """Always empty: a sample is one index."""
        return torch.Size()

    @property
    def support(self) -> Any:
        """The integers from 0 to ``n - 1``."""
        return constraints.integer_interval(0, self._scores.shape[-1] - 1)

    @property
    def mode(self) -> Tensor:
        """The most probable index, int64, shape ``batch_shape``."""
        return self._scores.argmax(-1)

    @property
    def deterministic_sample(self) -> Tensor:
        """The mode."""
        return self.mode

    @property
    def mean(self) -> Tensor:
        """Not defined: the average of indices is not an index."""
        raise NotImplementedError("Categorical has no mean: indices are names, not quantities; use mode")

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:  # type: ignore[override]
        """Indices of shape ``[*sample_shape, *batch_shape]``, int64."""
        scores = self._scores
        if sample_shape:
            scores = scores.expand(*sample_shape, *scores.shape)
        # exponential_ never returns zero, so the logarithm is finite.
        return (scores - torch.empty_like(scores).exponential_().log_()).argmax(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of indices of shape ``[*sample_shape, *batch_shape]``, of that same shape.

        Raises:
            ValueError: if the last dimensions of ``value`` are not ``batch_shape``.
        """
        logits = self.logits
        if value.shape != logits.shape[:-1]:
            self._check_value(value, logits.shape[:-1])
            logits = logits.expand(*value.shape, logits.shape[-1])
        return logits.gather(-1, value.long().unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Tensor:
        """Entropy in nats, shape ``batch_shape``."""
        logits = self.logits
        # An excluded index contributes 0, not 0 * -inf.
        return -(logits.exp() * logits.clamp_min(torch.finfo(logits.dtype).min)).sum(-1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All indices, shape ``[n, *batch_shape]`` (``[n, 1, ...]`` when ``expand`` is false)."""
        batch_shape = self.batch_shape
        values = torch.arange(self._scores.shape[-1], device=self._scores.device)
        values = values.view(-1, *(1 for _ in batch_shape))
        return values.expand(-1, *batch_shape) if expand else values
