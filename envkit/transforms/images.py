"""Images: their layout, colours, size and part."""

from __future__ import annotations

from typing import TypeVar, get_args

import numpy as np
import torch

from envkit.specs import Bounded, TensorSpec
from envkit.transforms.base import Transform
from envkit.transforms.functional.images import Interpolation, gray_bytes, grayscale, mean_over_areas, resize
from envkit.transforms.keys import Keys
from envkit.transforms.rearrange import rearranged
from envkit.transforms.rows import ColumnFunction

__all__ = ["CenterCrop", "Crop", "GrayScale", "Resize", "ToTensorImage"]

Array = TypeVar("Array", torch.Tensor, np.ndarray)
LEVELS = 255


class _OfImages(Transform):
    """A transform of ``["pixels"]`` unless it is told otherwise, by a function that grows with every number in it."""

    def __init__(self, in_keys: Keys, out_keys: Keys) -> None:
        super().__init__(["pixels"] if in_keys is None else in_keys, out_keys)

    def _transform_leaf(self, leaf: TensorSpec) -> TensorSpec:
        if not isinstance(leaf, Bounded):
            return super()._transform_leaf(leaf)
        low, high = (self._apply_transform(end) for end in (leaf.low, leaf.high))
        return Bounded(low, high, shape=low.shape, dtype=low.dtype, device=leaf.device)


class ToTensorImage(_OfImages):
    """Images as torch's networks take them: channels first, floats from 0 to 1.

    Args:
        from_int: whether levels are divided by 255; by default those of integer images are.
        unsqueeze: whether a dimension of size 1 is put before the three of the image.
        dtype: floating-point dtype of the result, torch's default dtype by default.
        in_keys: images of shape ``[..., H, W, C]``; ``["pixels"]`` by default.
        out_keys: their names outside, where they are ``[..., C, H, W]``.

    Examples:
        >>> from tensordict import TensorDict
        >>> out = ToTensorImage()(TensorDict({"pixels": torch.full((4, 5, 3), 255, dtype=torch.uint8)}))["pixels"]
        >>> out.shape, out.max()
        (torch.Size([3, 4, 5]), tensor(1.))
    """

    def __init__(
        self,
        from_int: bool | None = None,
        unsqueeze: bool = False,
        dtype: torch.dtype | None = None,
        *,
        in_keys: Keys = None,
        out_keys: Keys = None,
    ) -> None:
        super().__init__(in_keys, out_keys)
        self.from_int, self.unsqueeze = from_int, unsqueeze
        self.dtype = torch.get_default_dtype() if dtype is None else dtype
        if not self.dtype.is_floating_point:
            raise ValueError(f"ToTensorImage: expected a floating-point dtype, found {self.dtype}")

    def _divides(self, dtype: torch.dtype) -> bool:
        return not dtype.is_floating_point if self.from_int is None else self.from_int

    def _apply_transform(self, value: torch.Tensor) -> torch.Tensor:
        out = value.movedim(-1, -3).to(self.dtype, memory_format=torch.contiguous_format)
        if self._divides(value.dtype):
            out = out / LEVELS
        return out.unsqueeze(-4) if self.unsqueeze else out

    def _on_arrays(self, source: np.ndarray, target: np.ndarray) -> ColumnFunction | None:
        if self.dtype is torch.bfloat16:
            return None
        images = np.moveaxis(source, -1, -3)
        results = target[..., 0, :, :, :] if self.unsqueeze else target
        if not self._divides(torch.from_numpy(source[:0]).dtype):

            def copy(row: int) -> None:
                results[row, ...] = images[row]

            return copy
        dtype, most = target.dtype, target.dtype.type(LEVELS)

        def divide(row: int) -> None:
            np.divide(images[row], most, out=results[row, ...], dtype=dtype, casting="unsafe")

        return divide


class GrayScale(_OfImages):
    """Grey levels of coloured images, by :func:`~envkit.transforms.functional.grayscale`.

    Args:
        in_keys: images with three channels, of bytes or floats; ``["pixels"]`` by default.
        out_keys: their names outside, where they are ``[..., 1, H, W]``.
        channel_dim: where the channels are: -3 (``[..., 3, H, W]``), or -1 for images as simulators render them
            (``[..., H, W, 3]``), which are quicker done in bytes than turned into floats first.

    Examples:
        >>> from tensordict import TensorDict
        >>> frame = torch.full((210, 160, 3), 77, dtype=torch.uint8)
        >>> gray = GrayScale(channel_dim=-1)(TensorDict({"pixels": frame}))["pixels"]
        >>> gray.shape, gray.max()
        (torch.Size([1, 210, 160]), tensor(77, dtype=torch.uint8))
    """

    in_dtypes = (torch.uint8, torch.float32, torch.float64)

    def __init__(self, in_keys: Keys = None, out_keys: Keys = None, *, channel_dim: int = -3) -> None:
        super().__init__(in_keys, out_keys)
        if channel_dim not in (-1, -3):
            raise ValueError(f"GrayScale: expected channel_dim -1 or -3, found {channel_dim}")
        self.channel_dim = channel_dim

    def _apply_transform(self, value: torch.Tensor) -> torch.Tensor:
        if value.ndim < 3 or value.shape[self.channel_dim] != 3:
            raise ValueError(f"expected 3 channels in dimension {self.channel_dim}, found shape {list(value.shape)}")
        if value.dtype is torch.uint8 and not value.is_cuda:
            gray = torch.from_numpy(grayscale(value.contiguous().numpy(), self.channel_dim))
        else:
            gray = grayscale(value, self.channel_dim)
        return gray.unsqueeze(-3)

    def _on_arrays(self, source: np.ndarray, target: np.ndarray) -> ColumnFunction:
        results, dim = target[..., 0, :, :], self.channel_dim
        if dim == -1 and source.dtype == np.uint8:
            return lambda row: gray_bytes(source[row], results[row])

        def convert(row: int) -> None:
            results[row, ...] = grayscale(source[row], dim)

        return convert


class Resize(_OfImages):
    """Images of another size, by :func:`~envkit.transforms.functional.resize`.

    Args:
        w: width of the result.
        h: height of the result; ``w`` by default.
        interpolation: ``"nearest"``, ``"bilinear"``, ``"bicubic"``, or ``"area"``: the mean over what a pixel
            covers, quickest on bytes.
        in_keys: images of shape ``[..., H, W]``, of bytes or floats; ``["pixels"]`` by default.
        out_keys: their names outside.

    Examples:
        >>> from tensordict import TensorDict
        >>> Resize(8, 6, "area")(TensorDict({"pixels": torch.zeros(3, 12, 16)}))["pixels"].shape
        torch.Size([3, 6, 8])
    """

    in_dtypes = (torch.uint8, torch.float32, torch.float64)

    def __init__(
        self,
        w: int,
        h: int | None = None,
        interpolation: Interpolation = "bilinear",
        *,
        in_keys: Keys = None,
        out_keys: Keys = None,
    ) -> None:
        super().__init__(in_keys, out_keys)
        self.w, self.h = _size(self, w, h)
        if interpolation not in get_args(Interpolation):
            raise ValueError(
                f"Resize: interpolation: expected one of {get_args(Interpolation)}, found {interpolation!r}"
            )
        self.interpolation: Interpolation = interpolation

    def _apply_transform(self, value: torch.Tensor) -> torch.Tensor:
        if value.ndim < 2:
            raise ValueError(f"expected images of shape [..., H, W], found {list(value.shape)}")
        return resize(value, self.h, self.w, self.interpolation)

    def _on_arrays(self, source: np.ndarray, target: np.ndarray) -> ColumnFunction | None:
        if self.interpolation != "area":
            return None
        height, width = self.h, self.w

        def shrink(row: int) -> None:
            target[row, ...] = mean_over_areas(source[row], height, width)

        return shrink

    def _transform_leaf(self, leaf: TensorSpec) -> TensorSpec:
        if self.interpolation != "bicubic":
            return super()._transform_leaf(leaf)
        # Cubics overshoot the values that they pass through; bytes are cut off.
        changed = self._apply_transform(leaf.zero())
        return (
            Transform._transform_leaf(self, leaf)
            if changed.is_floating_point()
            else Bounded(0, LEVELS, shape=changed.shape, dtype=changed.dtype, device=leaf.device)
        )


class _Cropping(_OfImages):
    """A part of each image."""

    takes_arrays = True

    def __init__(self, w: int, h: int | None, in_keys: Keys, out_keys: Keys) -> None:
        super().__init__(in_keys, out_keys)
        self.w, self.h = _size(self, w, h)

    def _corner(self, height: int, width: int) -> tuple[int, int]:
        """Top and left of the part, of an image of this size."""
        raise NotImplementedError(f"{type(self).__name__} defines no _corner")

    def _apply_transform(self, value: Array) -> Array:
        height, width = value.shape[-2:]
        top, left = self._corner(height, width)
        if top + self.h > height or left + self.w > width:
            raise ValueError(
                f"expected images that hold {self.h} x {self.w} pixels from row {top}, column {left}, found "
                f"{height} x {width}"
            )
        return value[..., top : top + self.h, left : left + self.w]

    def _transform_leaf(self, leaf: TensorSpec) -> TensorSpec:
        return rearranged(leaf, self._apply_transform, "crop")


class CenterCrop(_Cropping):
    """The middle of images.

    Args:
        w: width of the result.
        h: height of the result; ``w`` by default.
        in_keys: images of shape ``[..., H, W]``; ``["pixels"]`` by default.
        out_keys: their names outside.

    Examples:
        >>> from tensordict import TensorDict
        >>> CenterCrop(2, 1)(TensorDict({"pixels": torch.arange(12).reshape(3, 4)}))["pixels"]
        tensor([[5, 6]])
    """

    def __init__(self, w: int, h: int | None = None, *, in_keys: Keys = None, out_keys: Keys = None) -> None:
        super().__init__(w, h, in_keys, out_keys)

    def _corner(self, height: int, width: int) -> tuple[int, int]:
        return max(0, height - self.h) // 2, max(0, width - self.w) // 2


class Crop(_Cropping):
    """A part of images.

    Args:
        w: width of the result.
        h: height of the result; ``w`` by default.
        top: the first row.
        left: the first column.
        in_keys: images of shape ``[..., H, W]``; ``["pixels"]`` by default.
        out_keys: their names outside.

    Examples:
        >>> from tensordict import TensorDict
        >>> Crop(2, 1, top=2, left=1)(TensorDict({"pixels": torch.arange(12).reshape(3, 4)}))["pixels"]
        tensor([[ 9, 10]])
    """

    def __init__(
        self,
        w: int,
        h: int | None = None,
        top: int = 0,
        left: int = 0,
        *,
        in_keys: Keys = None,
        out_keys: Keys = None,
    ) -> None:
        super().__init__(w, h, in_keys, out_keys)
        if top < 0 or left < 0:
            raise ValueError(f"Crop: expected top and left of at least 0, found {top} and {left}")
        self.top, self.left = top, left

    def _corner(self, height: int, width: int) -> tuple[int, int]:
        return self.top, self.left


def _size(transform: Transform, w: int, h: int | None) -> tuple[int, int]:
    h = w if h is None else h
    if w < 1 or h < 1:
        raise ValueError(f"{type(transform).__name__}: expected a size of at least 1 x 1, found w={w}, h={h}")
    return w, h
