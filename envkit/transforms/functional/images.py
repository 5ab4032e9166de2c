"""Images: grey levels and sizes.

Where OpenCV is installed (``opencv-python-headless``) it makes bytes gray, which takes it a fraction of the time; the
levels are the same without it.

OpenCV and the matrix products of numpy share large work out over all cores, however few torch may use, and wait for
each other longer than images of some hundred pixels take. So they are given it in pieces that they leave to one thread.
"""

from __future__ import annotations

import math
from functools import cache
from types import ModuleType
from typing import Any, Literal, TypeVar

import numpy as np
import torch

__all__ = ["Interpolation", "gray_bytes", "grayscale", "mean_over_areas", "resize"]

Array = TypeVar("Array", torch.Tensor, np.ndarray)
Interpolation = Literal["nearest", "bilinear", "bicubic", "area"]

# Of red, green and blue, in 2**-15ths: OpenCV's own rounding of ITU-R BT.601's 0.299, 0.587 and 0.114.
WEIGHTS, SHIFT = (9798, 19235, 3735), 15
# From so many pixels on OpenCV, from so many multiplications on OpenBLAS looks for more threads.
PIXELS, PRODUCTS = 1 << 16, 1 << 18


@cache
def opencv() -> ModuleType | None:
    """OpenCV, if it is installed."""
    try:
        import cv2
    except ImportError:
        return None
    return cv2


def grayscale(image: Array, dim: int = -3) -> Array:
    """The luma of red, green and blue by ITU-R BT.601: ``0.299 r + 0.587 g + 0.114 b``.

    Args:
        image: tensor or numpy array with three channels along ``dim``; uint8 levels are rounded as OpenCV does, floats
            are not.
        dim: the dimension of the channels, negative; it is dropped.

    Examples:
        >>> grayscale(torch.tensor([255, 0, 0], dtype=torch.uint8).reshape(3, 1, 1)).tolist()
        [[76]]
        >>> grayscale(np.ones((4, 5, 3), dtype=np.float32), dim=-1).shape
        (4, 5)
    """
    if isinstance(image, np.ndarray) and image.dtype == np.uint8:
        if dim == -1:
            levels = np.empty(image.shape[:-1], np.uint8)
            gray_bytes(image, levels)
            return levels
        return grayscale(torch.from_numpy(image), dim).numpy()
    tail: Any = (slice(None),) * (-dim - 1)
    red, green, blue = (image[(..., channel, *tail)] for channel in range(3))
    if isinstance(image, torch.Tensor) and image.dtype is torch.uint8:
        r, g, b = WEIGHTS
        return (((red.int() * r + green.int() * g) + (blue.int() * b + (1 << SHIFT - 1))) >> SHIFT).to(torch.uint8)
    return (red * 0.299 + green * 0.587) + blue * 0.114


def gray_bytes(image: np.ndarray, out: np.ndarray) -> None:
    """Same as :func:`grayscale`, of bytes as simulators render them, written to an array.

    Args:
        image: uint8 ``[..., H, W, 3]``.
        out: uint8 ``[..., H, W]``.
    """
    cv2 = opencv()
    if cv2 is None or not image.size:
        out[...] = grayscale(torch.from_numpy(image), -1).numpy()
        return
    levels = out if out.flags.c_contiguous else np.empty(out.shape, np.uint8)
    width = image.shape[-2]
    pixels, lines = image.reshape(-1, width, 3), levels.reshape(-1, width)
    count = max(1, PIXELS // width)
    for first in range(0, len(lines), count):
        piece = slice(first, first + count)
        cv2.cvtColor(pixels[piece], cv2.COLOR_RGB2GRAY, dst=lines[piece])
    if levels is not out:
        out[...] = levels


def resize(image: torch.Tensor, height: int, width: int, interpolation: Interpolation = "bilinear") -> torch.Tensor:
    """Images of another size.

    ``"area"`` is the mean over what each new pixel covers (what Atari preprocessing uses; OpenCV's ``INTER_AREA`` up to
    rounding, where images shrink); ``"bilinear"`` and ``"bicubic"`` smooth before they shrink. Each image gives the
    same bits alone and in a batch.

    Args:
        image: uint8 or float ``[..., H, W]``; uint8 is rounded to the nearest level.
        height: of the result.
        width: of the result.
        interpolation: ``"nearest"``, ``"bilinear"``, ``"bicubic"`` or ``"area"``.

    Returns:
        ``[..., height, width]`` of the same dtype.

    Examples:
        >>> resize(torch.tensor([[0.0, 1.0], [2.0, 5.0]]), 1, 1, "area")
        tensor([[2.]])
    """
    if interpolation == "area":
        if image.is_cuda or image.requires_grad:
            return mean_over_areas(image, height, width)
        return torch.from_numpy(mean_over_areas(image.contiguous().numpy(), height, width))
    flat = image.reshape(-1, 1, *image.shape[-2:])
    levels = flat if flat.is_floating_point() else flat.float()
    smooth = interpolation in ("bilinear", "bicubic")
    out = torch.nn.functional.interpolate(levels, (height, width), mode=interpolation, antialias=smooth)
    if not image.is_floating_point():
        out = out.round().clamp(0, 255).to(image.dtype)
    return out.reshape(*image.shape[:-2], height, width)


def mean_over_areas(image: Array, height: int, width: int) -> Array:
    """The mean over what each new pixel covers: see :func:`resize`.

    Rows and columns are summed by matrix products, which fall into small blocks where old and new size have a common
    divisor. The sums of uint8 are whole numbers, exact in any order.

    Args:
        image: tensor or numpy array, uint8 or float ``[..., H, W]``.
        height: of the result.
        width: of the result.
    """
    old_height, old_width = image.shape[-2:]
    dtype = str(image.dtype).removeprefix("torch.")
    exact = dtype == "uint8"
    if exact:  # the largest sum has to be a whole number that the dtype holds
        dtype = "float32" if 255 * old_height * old_width < 1 << 24 else "float64"
    levels: Any = image
    down: Any = _block(old_height, height, dtype)
    across: Any = _across(old_width, width, dtype)
    down = down.reshape(-1, _piece(len(down), down.shape[1] * old_width), down.shape[1])
    if isinstance(image, torch.Tensor):
        down, across = (torch.from_numpy(block).to(image.device) for block in (down, across))
        levels = levels.to(down.dtype)
    else:
        levels = levels.astype(dtype)
    rows = down @ levels.reshape(-1, 1, down.shape[-1], old_width)
    piece = _piece(height * old_width // len(across), across.shape[0] * across.shape[1])
    out = (rows.reshape(-1, piece, len(across)) @ across) / (down.shape[-1] * len(across))
    if exact:
        out = out.round()
        out = out.to(torch.uint8) if isinstance(out, torch.Tensor) else out.astype(np.uint8)
    return out.reshape(*image.shape[:-2], height, width)


@cache
def _block(old: int, new: int, dtype: str) -> np.ndarray:
    """How much of each old pixel every new one covers, in whole parts of which a new pixel has as many as columns.

    For sizes with a common divisor this repeats itself, and is told once.
    """
    old, new = old // math.gcd(old, new), new // math.gcd(old, new)
    edges, cuts = np.arange(old + 1) * new, np.arange(new + 1) * old
    first, last = np.maximum(edges[:-1], cuts[:-1, None]), np.minimum(edges[1:], cuts[1:, None])
    return (last - first).clip(0).astype(dtype)


@cache
def _across(old: int, new: int, dtype: str) -> np.ndarray:
    """The same the other way round, in the order in which it is multiplied with."""
    return np.ascontiguousarray(_block(old, new, dtype).T)


@cache
def _piece(rows: int, size: int) -> int:
    """How many of a matrix' ``rows`` to multiply at a time with one of ``size`` elements: a part of all."""
    return next(count for count in range(max(1, min(rows, PRODUCTS // size)), 0, -1) if rows % count == 0)
