"""Distributions over options of which some are not allowed."""

from __future__ import annotations

import torch
from torch import Tensor

from agents.nn.distributions.categorical import Categorical
from agents.nn.distributions.one_hot_categorical import OneHotCategorical

__all__ = ["MaskedCategorical", "MaskedOneHotCategorical"]


class MaskedCategorical(Categorical):
    """A :class:`Categorical` of the allowed options alone.

    Args:
        logits: unnormalised log-probabilities of all options, shape ``[*batch, n]``, floating point.
        probs: unnormalised probabilities; give exactly one of the two.
        mask: True where an option is allowed, shape ``[*batch, n]``. Every row must allow some.
        indices: numbers of the allowed options, shape ``[*batch, k]``, in place of ``mask``.
        padding_value: entry of ``indices`` that stands for none, so that rows may allow different numbers of options.

    Raises:
        ValueError: if both or none of ``logits`` and ``probs``, or of ``mask`` and ``indices``, are given, or the mask
            is not boolean or of another shape.

    Example:
        >>> import torch
        >>> dist = MaskedCategorical(torch.zeros(4), mask=torch.tensor([True, False, True, False]))
        >>> dist.probs
        tensor([0.5000, 0.0000, 0.5000, 0.0000])
        >>> MaskedCategorical(torch.zeros(4), indices=torch.tensor([0, 2, -1]), padding_value=-1).probs
        tensor([0.5000, 0.0000, 0.5000, 0.0000])
    """

    def __init__(
        self,
        logits: Tensor | None = None,
        probs: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        indices: Tensor | None = None,
        padding_value: int | None = None,
    ) -> None:
        super().__init__(_allowed(type(self).__name__, logits, probs, mask, indices, padding_value))


class MaskedOneHotCategorical(OneHotCategorical):
    """A :class:`OneHotCategorical` of the allowed options alone.

    Args:
        logits: as in :class:`MaskedCategorical`.
        probs: likewise.
        mask: likewise.
        indices: likewise.
        padding_value: likewise.
        dtype: dtype of the vectors.

    Raises:
        ValueError: as :class:`MaskedCategorical`.

    Example:
        >>> import torch
        >>> MaskedOneHotCategorical(torch.tensor([1.0, 2.0, 0.0]), mask=torch.tensor([True, False, True])).mode
        tensor([ True, False, False])
    """

    def __init__(
        self,
        logits: Tensor | None = None,
        probs: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        indices: Tensor | None = None,
        padding_value: int | None = None,
        dtype: torch.dtype = torch.bool,
    ) -> None:
        super().__init__(_allowed(type(self).__name__, logits, probs, mask, indices, padding_value), dtype=dtype)


def _allowed(
    owner: str,
    logits: Tensor | None,
    probs: Tensor | None,
    mask: Tensor | None,
    indices: Tensor | None,
    padding_value: int | None,
) -> Tensor:
    """Logits with minus infinity for what is not allowed."""
    if (logits is None) == (probs is None):
        raise ValueError(f"{owner}: expected exactly one of logits and probs")
    if (mask is None) == (indices is None):
        raise ValueError(f"{owner}: expected exactly one of mask and indices")
    scores: Tensor = probs.log() if logits is None else logits  # type: ignore[union-attr]
    if indices is not None:
        real = indices != padding_value if padding_value is not None else torch.ones_like(indices, dtype=torch.bool)
        # What stands for none allows an option beyond the last, which is then cut off.
        places = torch.where(real, indices, scores.shape[-1])
        mask = torch.zeros(*scores.shape[:-1], scores.shape[-1] + 1, dtype=torch.bool, device=scores.device)
        mask = mask.scatter(-1, places, True)[..., :-1]
    if mask is None or mask.dtype is not torch.bool or mask.shape != scores.shape:
        found = f"{mask.dtype} {list(mask.shape)}" if mask is not None else "None"
        raise ValueError(f"{owner}: mask: expected torch.bool {list(scores.shape)}, found {found}")
    return scores.masked_fill(~mask, -torch.inf)
