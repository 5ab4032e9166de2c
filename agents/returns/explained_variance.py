"""How much of the returns a critic foresees."""

from __future__ import annotations

from torch import Tensor

__all__ = ["explained_variance"]


def explained_variance(target: Tensor, prediction: Tensor) -> Tensor:
    """The share of the variance of ``target`` that ``prediction`` explains, a scalar.

    ``1 - Var(target - prediction) / Var(target)``: 1 for a critic that is right, up to a constant; 0 for one that
    says the same for all; below 0 for one that is worse than that. NaN if all targets are equal.

    Args:
        target: returns or value targets, of any shape.
        prediction: values, of the same shape.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> import torch
        >>> explained_variance(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.0, 0.0, 2.0]))
        tensor(0.6667)
    """
    if target.shape != prediction.shape:
        # Broadcasting [n] against [n, 1] would compare each with all.
        raise ValueError(f"prediction: expected shape {list(target.shape)}, found {list(prediction.shape)}")
    rest, whole = ((values - values.mean()).square().sum() for values in (target - prediction, target))
    return 1.0 - rest / whole.where(whole > 0, float("nan"))
