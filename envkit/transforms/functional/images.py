"""Images: grey levels and sizes.

Where OpenCV is installed (``opencv-python-headless``) it does what it does fastest; without it the same functions go
through torch, whose results differ by one grey level at most.
"""

from __future__ import annotations

import math
from functools import cache
from types import ModuleType
from typing import Literal, TypeVar

import numpy as np
import torch

__all__ = ["Interpolation", "grayscale", "resize", "resize_into", "resizes_arrays"]

Array = TypeVar("Array", torch.Tensor, np.ndarray)
Interpolation = Literal["nearest", "bilinear", "bicubic", "area"]

# Of red, green and blue, in 2**-15ths: OpenCV's own rounding of ITU-R BT.601's 0.299, 0.587 and 0.114.
WEIGHTS, SHIFT = (9798, 19235, 3735), 15


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
        cv2 = opencv()
        if cv2 is not None and dim == -1 and image.size:
            return cv2.cvtColor(image.reshape(-1, image.shape[-2], 3), cv2.COLOR_RGB2GRAY).reshape(image.shape[:-1])
        return grayscale(torch.from_numpy(image), dim).numpy()
    red, green, blue = (image[(..., channel, *(slice(None),) * (-dim - 1))] for channel in range(3))
    if isinstance(image, torch.Tensor) and image.dtype is torch.uint8:
        r, g, b = WEIGHTS
        return (((red.int() * r + green.int() * g) + (blue.int() * b + (1 << SHIFT - 1))) >> SHIFT).to(torch.uint8)
    return (red * 0.299 + green * 0.587) + blue * 0.114


def resize(image: torch.Tensor, height: int, width: int, interpolation: Interpolation = "bilinear") -> torch.Tensor:
    """Images of another size.

    ``"area"`` is the mean over what each new pixel covers (what Atari preprocessing uses); ``"bilinear"`` and
    ``"bicubic"`` smooth before they shrink. Each image gives the same bits alone and in a batch.

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
    if not image.is_cuda and not image.requires_grad:
        source = image.contiguous().numpy()
        if resizes_arrays(source, height, width, interpolation):
            out = torch.empty((*image.shape[:-2], height, width), dtype=image.dtype)
            resize_into(source, out.numpy())
            return out
    if interpolation == "area":
        return _mean_over_areas(image, height, width)
    flat = image.reshape(-1, 1, *image.shape[-2:])
    levels = flat if flat.is_floating_point() else flat.float()
    smooth = interpolation in ("bilinear", "bicubic")
    out = torch.nn.functional.interpolate(levels, (height, width), mode=interpolation, antialias=smooth)
    if not image.is_floating_point():
        out = out.round().clamp(0, 255).to(image.dtype)
    return out.reshape(*image.shape[:-2], height, width)


def resizes_arrays(source: np.ndarray, height: int, width: int, interpolation: Interpolation) -> bool:
    """Whether :func:`resize_into` does this job: OpenCV is there, and takes means over areas of this dtype.

    Where something has to grow OpenCV's areas are none.
    """
    shrinks = source.shape[-2] >= height and source.shape[-1] >= width
    return interpolation == "area" and shrinks and source.dtype in (np.uint8, np.float32) and opencv() is not None


def resize_into(source: np.ndarray, target: np.ndarray) -> None:
    """Means over areas, by OpenCV.

    Args:
        source: contiguous uint8 or float32 ``[..., H, W]``.
        target: contiguous, of the same dtype and leading dimensions, and smaller; written.
    """
    cv2 = opencv()
    assert cv2 is not None  # as `resizes_arrays` has found
    size, area = target.shape[:-3:-1], cv2.INTER_AREA
    images, results = source.reshape(-1, *source.shape[-2:]), target.reshape(-1, *target.shape[-2:])
    for image, result in zip(images, results, strict=True):
        cv2.resize(image, size, dst=result, interpolation=area)


def _mean_over_areas(image: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Two matrix products. Those of uint8 are sums of integers, exact in any order."""
    old_height, old_width = image.shape[-2:]
    exact = not image.is_floating_point()
    # The largest sum has to be a whole number that the dtype holds.
    small = 255 * old_height * old_width < 1 << 24
    dtype = (torch.float32 if small else torch.float64) if exact else image.dtype
    down, across = (
        torch.from_numpy(_overlaps(old, new)).to(image.device, dtype)
        for old, new in ((old_height, height), (old_width, width))
    )
    levels, count = image.to(dtype), old_height * old_width
    if exact or image.is_cuda:
        out = down @ levels @ across.T
    else:  # one by one: a product of another shape may be summed in another order
        flat = levels.reshape(-1, old_height, old_width)
        out = torch.stack([down @ each @ across.T for each in flat]).reshape(*image.shape[:-2], height, width)
    out = out / count
    return out.round().to(image.dtype) if exact else out


@cache
def _overlaps(old: int, new: int) -> np.ndarray:
    """How much of each old pixel every new one covers, in whole parts of which a new pixel has ``old``: [new, old]."""
    step = math.lcm(old, new)
    edges, cuts = np.arange(old + 1) * (step // old), np.arange(new + 1) * (step // new)
    first, last = np.maximum(edges[:-1], cuts[:-1, None]), np.minimum(edges[1:], cuts[1:, None])
    return (last - first).clip(0) * old // (step // new)
