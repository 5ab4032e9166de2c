"""Pictures of all layouts as RGB frames, cropped and side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tensordict import is_non_tensor

__all__ = ["center_crop", "image_size", "tile", "to_rgb"]

CHANNELS = (1, 3)
# Resampling with sharp kernels goes a little beyond the range of its input; what is further away is no picture.
MOST_OVERSHOOT = 0.25
GAP = 2  # pixels between pictures side by side


def _channels_last(shape: Sequence[int], name: object) -> bool:
    if len(shape) >= 3 and shape[-1] in CHANNELS:
        return True
    if len(shape) >= 3 and shape[-3] in CHANNELS:
        return False
    raise ValueError(
        f"{name!r}: expected pictures of shape (..., height, width, channels) or (..., channels, height, width) with 1 "
        f"or 3 channels, found shape {list(shape)}"
    )


def image_size(shape: Sequence[int], dtype: torch.dtype, name: object) -> tuple[int, int]:
    """Height and width of the pictures in a tensor.

    Args:
        shape: the shape of the tensor.
        dtype: its dtype.
        name: what to call it in messages.

    Raises:
        ValueError: no pictures fit the shape, or the dtype is neither uint8 nor floating-point.

    Examples:
        >>> image_size((8, 3, 48, 64), torch.uint8, "pixels")
        (48, 64)
    """
    if dtype is not torch.uint8 and not dtype.is_floating_point:
        raise ValueError(f"{name!r}: expected pictures of dtype torch.uint8 or floats in [0, 1], found {dtype}")
    height, width = shape[-3:-1] if _channels_last(shape, name) else shape[-2:]
    return height, width


def to_rgb(value: Any, name: object = "pixels") -> npt.NDArray[np.uint8]:
    """Pictures as RGB frames.

    Args:
        value: one or more pictures with 1 or 3 channels, of shape (..., height, width, channels) or (..., channels,
            height, width); if both fit, the former. Either uint8, or floats from 0 to 1. A tensor, an array, or
            non-tensor data that holds arrays.
        name: what to call it in messages.

    Returns:
        An array of uint8 of shape (..., height, width, 3).

    Raises:
        ValueError: another shape, dtype or range.

    Examples:
        >>> to_rgb(torch.ones(2, 1, 48, 64))[0, 0, 0].tolist()
        [255, 255, 255]
    """
    if is_non_tensor(value):
        value = value.tolist()
    if not isinstance(value, torch.Tensor):
        value = torch.from_numpy(
            np.array(value, order="C")
        )  # a copy, as torch takes neither read-only nor flipped ones
    value = value.detach().cpu()
    image_size(value.shape, value.dtype, name)
    if value.is_floating_point():
        value = _quantised(value.float(), name)
    pictures = value.numpy()
    if not _channels_last(pictures.shape, name):
        pictures = np.moveaxis(pictures, -3, -1)
    return np.broadcast_to(pictures, (*pictures.shape[:-1], 3))


def _quantised(value: torch.Tensor, name: object) -> torch.Tensor:
    """Floats from 0 to 1 as bytes."""
    low, high = (value.min().item(), value.max().item()) if value.numel() else (0.0, 0.0)
    if not -MOST_OVERSHOOT <= low <= high <= 1 + MOST_OVERSHOOT:
        raise ValueError(
            f"{name!r}: expected floating-point pictures in [0, 1], found values from {low:g} to {high:g}; record them "
            "before they are normalised"
        )
    return (value.clamp(0, 1) * 255).round().to(torch.uint8)


def center_crop(frames: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """The square of ``size`` pixels in the middle of frames of shape (..., height, width, 3).

    Examples:
        >>> center_crop(np.zeros((5, 48, 64, 3), dtype=np.uint8), 32).shape
        (5, 32, 32, 3)
    """
    top, left = ((extent - size) // 2 for extent in frames.shape[-3:-1])
    return frames[..., top : top + size, left : left + size, :]


def tile(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Frames side by side, row after row, in a grid as wide as it is high, or one wider.

    Args:
        frames: shape (number, height, width, 3).

    Returns:
        One frame, with two black pixels between its parts.

    Examples:
        >>> tile(np.zeros((5, 48, 64, 3), dtype=np.uint8)).shape  # 2 rows of 3
        (98, 196, 3)
    """
    number, height, width, channels = frames.shape
    columns = math.ceil(math.sqrt(number))
    rows = math.ceil(number / columns)
    grid = np.zeros((rows * columns, height + GAP, width + GAP, channels), dtype=np.uint8)
    grid[:number, :height, :width] = frames
    grid = grid.reshape(rows, columns, height + GAP, width + GAP, channels).swapaxes(1, 2)
    return grid.reshape(rows * (height + GAP), columns * (width + GAP), channels)[:-GAP, :-GAP]
