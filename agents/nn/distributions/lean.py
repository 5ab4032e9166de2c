"""What the lean distributions have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.distributions import Distribution

__all__ = ["LeanDistribution"]


class LeanDistribution(Distribution, ABC):
    """A :class:`torch.distributions.Distribution` that does next to nothing when it is built.

    A policy makes one distribution per step. The classes of :mod:`torch.distributions` validate and broadcast
    their parameters first, which costs more than sampling; subclasses of this class keep the parameters as
    they are, and check only that a value handed to ``log_prob`` has the shape of a sample.

    Example:
        >>> import torch
        >>> from agents.nn import Categorical
        >>> isinstance(Categorical(logits=torch.zeros(2)), torch.distributions.Distribution)
        True
    """

    _validate_args = False

    @property
    @abstractmethod
    def deterministic_sample(self) -> Tensor:
        """The value an agent acts by when it does not explore, shape ``[*batch_shape, *event_shape]``."""

    def _check_value(self, value: Tensor, shape: torch.Size) -> None:
        """Refuse a value whose last dimensions are not ``shape``; broadcasting would let it through."""
        found = value.shape
        if found != shape and found[len(found) - len(shape) :] != shape:
            raise ValueError(
                f"{type(self).__name__}.log_prob: expected a value of shape [*sample_shape, *{list(shape)}], "
                f"found {list(found)}"
            )
