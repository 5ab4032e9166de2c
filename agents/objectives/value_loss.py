"""How far values are from their targets."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from agents.returns.shapes import check_same_shape

__all__ = ["value_loss"]

DISTANCES = {
    "l1": functional.l1_loss,
    "l2": functional.mse_loss,
    "smooth_l1": functional.smooth_l1_loss,
}


def value_loss(
    value: Tensor,
    target: Tensor,
    kind: str = "smooth_l1",
    old_value: Tensor | None = None,
    clip: float | None = None,
) -> Tensor:
    """Return the distance between values and their targets, per sample. Its mean is the loss.

    With ``clip``, the value may move at most that far from ``old_value`` before its gradient is cut: the loss
    is the larger of the distances of the value and of the clipped value (not in the paper but in the code
    that came with it, Engstrom et al. 2020, https://arxiv.org/abs/2005.12729).

    Args:
        value: values under the critic that learns, any shape.
        target: what they should be, same shape.
        kind: ``"smooth_l1"`` (Huber with threshold 1), ``"l1"``, or ``"l2"``: ``(value - target) ** 2``,
            without the factor one half.
        old_value: values under the critic that made the targets, same shape; needed with ``clip``.
        clip: distance, or ``None`` for no clipping.

    Raises:
        ValueError: if the shapes differ, ``kind`` is unknown, or ``clip`` comes without ``old_value``.

    Example:
        >>> import torch
        >>> value_loss(torch.tensor([1.0, 3.0]), torch.tensor([1.5, 1.0]), "l2")
        tensor([0.2500, 4.0000])
    """
    check_same_shape("value_loss", value=value, target=target)
    distance = DISTANCES.get(kind)
    if distance is None:
        raise ValueError(f"value_loss: expected kind to be one of {sorted(DISTANCES)}, found {kind!r}")
    loss = distance(value, target, reduction="none")
    if clip is None:
        return loss
    if old_value is None:
        raise ValueError("value_loss: clip needs old_value, found None")
    check_same_shape("value_loss", value=value, old_value=old_value)
    clipped = old_value + (value - old_value).clamp(-clip, clip)
    return torch.maximum(loss, distance(clipped, target, reduction="none"))
