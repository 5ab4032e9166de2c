"""Shape arithmetic shared by leaves and Composites.

Every shape operation of a spec is a function of its *leading* dimensions: it moves the shape of the spec and
each tensor the spec is made of (bounds, masks) in the same way and leaves trailing dimensions alone. So an
operation is written once, as a plain tensor function, and applied to all of them.

A dimension of unknown size (-1) cannot appear in a tensor. While an operation runs it is represented by
:data:`UNKNOWN`, a size that no real dimension is expected to have, through expanded tensors that own one
element of memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from envkit.errors import SpecError

__all__ = [
    "UNKNOWN",
    "ShapeOp",
    "as_size",
    "compact",
    "describe_shape",
    "full_size",
    "index_op",
    "known_index",
    "matches",
    "probe",
    "settle",
    "sizes_from_args",
]

ShapeOp = Callable[[Tensor], Tensor]

UNKNOWN = 100_003


def as_size(shape: int | Iterable[int]) -> torch.Size:
    """Return ``shape`` as a ``torch.Size``; an integer stands for one dimension.

    >>> as_size(3), as_size([2, -1])
    (torch.Size([3]), torch.Size([2, -1]))
    """
    if type(shape) is torch.Size:
        return shape
    if isinstance(shape, (int, np.integer)):
        return torch.Size((int(shape),))
    size = torch.Size(tuple(shape))
    if any(d < -1 for d in size):
        raise SpecError(f"shape: expected sizes >= 0, or -1 for an unknown size, found {tuple(size)}")
    return size


def sizes_from_args(sizes: Sequence[Any]) -> torch.Size:
    """Read ``f(2, 3)`` and ``f((2, 3))`` alike."""
    if len(sizes) == 1 and not isinstance(sizes[0], (int, np.integer)):
        return as_size(sizes[0])
    return as_size(sizes)


def full_size(shape: int | Sequence[int], sizes: torch.Size) -> torch.Size:
    """Return ``(*shape, *sizes)``; cheap for the usual empty ``shape``."""
    return as_size(shape) + sizes if shape != () else sizes


def describe_shape(shape: Iterable[int]) -> str:
    """Print a shape as ``[2, 3]``, an unknown size as ``?``."""
    return "[" + ", ".join("?" if d < 0 else str(d) for d in shape) + "]"


def compact(tensor: Tensor) -> Tensor:
    """Return the part of an expanded tensor that is stored; it broadcasts to the rest.

    >>> compact(torch.zeros(()).expand(3, 4)).shape
    torch.Size([1, 1])
    """
    return tensor[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in tensor.stride())]


def matches(found: torch.Size, expected: torch.Size) -> bool:
    """Whether ``found`` ends with ``expected``, where -1 in ``expected`` stands for any size."""
    n = len(expected)
    tail = found[len(found) - n :]
    return tail == expected or (len(tail) == n and all(e in (-1, f) for f, e in zip(tail, expected, strict=True)))


def probe(shape: torch.Size, device: torch.device | None) -> Tensor:
    """Return a tensor with the given shape (unknown sizes as :data:`UNKNOWN`) that owns a single element."""
    return torch.zeros((), dtype=torch.bool, device=device).expand([UNKNOWN if d < 0 else d for d in shape])


def settle(shape: torch.Size, result: Iterable[int], what: str) -> torch.Size:
    """Turn the shape of a moved probe back into a spec shape.

    Raises:
        SpecError: if ``shape`` has unknown sizes and the operation had to know one of them.
    """
    if -1 not in shape:
        return torch.Size(tuple(result))
    sizes = tuple(-1 if d == UNKNOWN else d for d in result)
    if any(d > UNKNOWN // 2 for d in sizes):
        raise SpecError(f"cannot {what}: the result depends on an unknown size of shape {describe_shape(shape)}")
    return torch.Size(sizes)


def known_index(index: tuple[int, ...], shape: torch.Size) -> tuple[int, ...]:
    """Map an index of a value to the parameters of a spec, which have size 1 where ``shape`` is unknown."""
    return tuple(0 if d < 0 else i for i, d in zip(index, shape, strict=False))


def index_op(index: Any, ndim: int) -> ShapeOp:
    """Return the operation ``tensor[index]``, kept within the first ``ndim`` dimensions.

    Raises:
        SpecError: if the index reaches further than that.
    """
    items: list[Any] = []
    used = 0
    for item in index if isinstance(index, tuple) else (index,):
        if isinstance(item, (list, range, np.ndarray)):
            item = torch.as_tensor(np.asarray(item))
        items.append(item)
        if isinstance(item, Tensor) and item.dtype is torch.bool:
            used += item.ndim
        elif item is not None and item is not Ellipsis and not isinstance(item, bool):
            used += 1
    if used > ndim:
        raise SpecError(f"index {index}: expected at most {ndim} indexed dimensions, found {used}")
    ellipses = [i for i, item in enumerate(items) if item is Ellipsis]
    if len(ellipses) > 1:
        raise SpecError(f"index {index}: expected at most one ellipsis, found {len(ellipses)}")
    if ellipses:
        items[ellipses[0] : ellipses[0] + 1] = [slice(None)] * (ndim - used)
    key = tuple(items)
    return lambda tensor: tensor[key]
