"""Distributions over options that have an order."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from agents.nn.distributions.categorical import Categorical
from agents.nn.distributions.one_hot_categorical import OneHotCategorical

__all__ = ["OneHotOrdinal", "Ordinal"]


class Ordinal(Categorical):
    """Indices whose order means something, such as the bins of a continuous action.

    An option is as likely as all yes-or-no questions "beyond option j?" up to it being answered yes, and the rest no:
    ``logit_i = sum_{j <= i} log sigmoid(s_j) + sum_{j > i} log(1 - sigmoid(s_j))`` (Tang and Agrawal 2020,
    https://arxiv.org/abs/1901.10500). So neighbours are alike.

    Args:
        scores: ``s``, shape ``[*batch, n]``, floating point.

    Example:
        >>> import torch
        >>> Ordinal(torch.tensor([9.0, 9.0, -9.0, -9.0])).mode
        tensor(1)
    """

    def __init__(self, scores: Tensor) -> None:
        super().__init__(_ordinal_logits(scores))


class OneHotOrdinal(OneHotCategorical):
    """An :class:`Ordinal` whose samples are one-hot vectors.

    Args:
        scores: shape ``[*batch, n]``, floating point.
        dtype: dtype of the vectors.

    Example:
        >>> import torch
        >>> OneHotOrdinal(torch.tensor([9.0, 9.0, -9.0])).mode
        tensor([False,  True, False])
    """

    def __init__(self, scores: Tensor, *, dtype: torch.dtype = torch.bool) -> None:
        super().__init__(_ordinal_logits(scores), dtype=dtype)


def _ordinal_logits(scores: Tensor) -> Tensor:
    yes, no = functional.logsigmoid(scores), functional.logsigmoid(-scores)
    return yes.cumsum(-1) + (no.sum(-1, keepdim=True) - no.cumsum(-1))
