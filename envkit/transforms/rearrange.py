"""Values in another shape: the same numbers, elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from envkit.specs import Bounded, Categorical, MultiCategorical, TensorSpec
from envkit.transforms.base import Transform
from envkit.transforms.keys import Keys

__all__ = ["FlattenObservation", "PermuteTransform", "SqueezeTransform", "UnsqueezeTransform", "rearranged"]

Array = Any  # a tensor or a numpy array


def rearranged(leaf: TensorSpec, change: Callable[[torch.Tensor], torch.Tensor], what: str) -> TensorSpec:
    """The spec of values whose elements are only moved, copied or dropped: what ``leaf`` says of each stays true of it.

    One-hot vectors may be cut up, and become numbers from 0 to 1; numbers of several ranges become those of the widest.

    Args:
        leaf: the spec of the values.
        change: what happens to them, told by dimensions counted from the end.
        what: the same in words, for errors.
    """
    if leaf._leading() == leaf.ndim:
        return leaf._reshaped(change, what)
    shape = change(leaf.zero()).shape
    if leaf.dtype is torch.bool:
        return Categorical(2, shape, dtype=torch.bool, device=leaf.device)
    highest = int(leaf.nvec.max()) - 1 if isinstance(leaf, MultiCategorical) else 1
    return Bounded(0, highest, shape, dtype=leaf.dtype, device=leaf.device)


class _Rearranging(Transform):
    takes_arrays = True

    def _transform_leaf(self, leaf: TensorSpec) -> TensorSpec:
        return rearranged(leaf, self._apply_transform, f"apply {type(self).__name__}")


class FlattenObservation(_Rearranging):
    """Neighbouring dimensions as one.

    Args:
        first_dim: the first of them, negative.
        last_dim: the last of them, negative.
        in_keys: entries to flatten; ``["pixels"]`` by default.
        out_keys: their names outside.

    Examples:
        >>> from tensordict import TensorDict
        >>> FlattenObservation(-3, -1)(TensorDict({"pixels": torch.zeros(3, 4, 5)}))["pixels"].shape
        torch.Size([60])
    """

    def __init__(self, first_dim: int = -3, last_dim: int = -1, in_keys: Keys = None, out_keys: Keys = None) -> None:
        super().__init__(["pixels"] if in_keys is None else in_keys, out_keys)
        if not first_dim <= last_dim < 0:
            raise ValueError(
                f"FlattenObservation: expected first_dim <= last_dim < 0, counted from the end, so that a batch makes "
                f"no difference; found {first_dim} and {last_dim}"
            )
        self.first_dim, self.last_dim = first_dim, last_dim

    def _apply_transform(self, value: Array) -> Array:
        start, stop = value.ndim + self.first_dim, value.ndim + self.last_dim + 1
        if start < 0:
            raise ValueError(f"expected at least {-self.first_dim} dimensions, found shape {list(value.shape)}")
        shape = value.shape
        return value.reshape((*shape[:start], math.prod(shape[start:stop]), *shape[stop:]))


class PermuteTransform(_Rearranging):
    """Dimensions in another order.

    Args:
        dims: the last dimensions, all negative, in their new order: ``(-1, -3, -2)`` makes ``[..., C, H, W]`` of
            ``[..., H, W, C]``.
        in_keys: entries to permute on their way out.
        out_keys: their names outside.
        in_keys_inv: actions (and states) that are shown in the new order, and put back on their way in.
        out_keys_inv: their names outside.

    Examples:
        >>> from tensordict import TensorDict
        >>> to_chw = PermuteTransform((-1, -3, -2), in_keys=["pixels"])
        >>> to_chw(TensorDict({"pixels": torch.zeros(4, 5, 3)}))["pixels"].shape
        torch.Size([3, 4, 5])
    """

    def __init__(
        self,
        dims: Sequence[int],
        in_keys: Keys = None,
        out_keys: Keys = None,
        in_keys_inv: Keys = None,
        out_keys_inv: Keys = None,
    ) -> None:
        super().__init__(in_keys, out_keys, in_keys_inv, out_keys_inv)
        _needs_keys(self)
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(-len(self.dims), 0)):
            raise ValueError(
                f"PermuteTransform: dims: expected each of {list(range(-len(self.dims), 0))} once, found {self.dims}"
            )
        # Where each of the last dimensions has gone, counted from the end.
        self._back = tuple(self.dims.index(dim) - len(self.dims) for dim in range(-len(self.dims), 0))

    def _apply_transform(self, value: Array) -> Array:
        return _permuted(value, self.dims)

    def _inv_apply_transform(self, value: Array) -> Array:
        return _permuted(value, self._back)


class UnsqueezeTransform(_Rearranging):
    """A dimension of size 1 more; its inverse takes it away.

    Args:
        dim: where it stands in the result, negative.
        in_keys: entries to give it to on their way out.
        out_keys: their names outside.
        in_keys_inv: actions (and states) that are shown with it, and lose it on their way in.
        out_keys_inv: their names outside.

    Examples:
        >>> from tensordict import TensorDict
        >>> UnsqueezeTransform(-2, in_keys=["x"])(TensorDict({"x": torch.zeros(4, 5)}))["x"].shape
        torch.Size([4, 1, 5])
    """

    def __init__(
        self,
        dim: int,
        in_keys: Keys = None,
        out_keys: Keys = None,
        in_keys_inv: Keys = None,
        out_keys_inv: Keys = None,
    ) -> None:
        super().__init__(in_keys, out_keys, in_keys_inv, out_keys_inv)
        _needs_keys(self)
        if dim >= 0:
            raise ValueError(
                f"{type(self).__name__}: dim: expected a negative number, counted from the end, so that a batch makes "
                f"no difference; found {dim}"
            )
        self.dim = dim

    def _apply_transform(self, value: Array) -> Array:
        return _unsqueezed(value, self.dim)

    def _inv_apply_transform(self, value: Array) -> Array:
        return _squeezed(value, self.dim)


class SqueezeTransform(UnsqueezeTransform):
    """A dimension of size 1 less; its inverse puts it back.

    Args:
        dim: the dimension, negative.
        in_keys: entries to take it from on their way out.
        out_keys: their names outside.
        in_keys_inv: actions (and states) that are shown without it, and get it back on their way in.
        out_keys_inv: their names outside.

    Examples:
        >>> from tensordict import TensorDict
        >>> SqueezeTransform(-2, in_keys=["x"])(TensorDict({"x": torch.zeros(4, 1, 5)}))["x"].shape
        torch.Size([4, 5])
    """

    _apply_transform, _inv_apply_transform = (
        UnsqueezeTransform._inv_apply_transform,
        UnsqueezeTransform._apply_transform,
    )


def _needs_keys(transform: Transform) -> None:
    if not transform.in_keys and not transform.in_keys_inv:
        raise ValueError(f"{type(transform).__name__}: expected in_keys or in_keys_inv, found neither")


def _permuted(value: Array, dims: tuple[int, ...]) -> Array:
    lead = value.ndim - len(dims)
    if lead < 0:
        raise ValueError(f"expected at least {len(dims)} dimensions, found shape {list(value.shape)}")
    order = (*range(lead), *(value.ndim + dim for dim in dims))
    return value.permute(order) if isinstance(value, torch.Tensor) else value.transpose(order)


def _unsqueezed(value: Array, dim: int) -> Array:
    place = value.ndim + 1 + dim
    if place < 0:
        raise ValueError(f"expected at least {-dim - 1} dimensions, found shape {list(value.shape)}")
    return value.reshape((*value.shape[:place], 1, *value.shape[place:]))


def _squeezed(value: Array, dim: int) -> Array:
    if value.ndim < -dim or value.shape[dim] != 1:
        raise ValueError(f"expected size 1 in dimension {dim}, found shape {list(value.shape)}")
    place = value.ndim + dim
    return value.reshape((*value.shape[:place], *value.shape[place + 1 :]))
