"""What the two stacks of unequal specs share: shape operations, and values taken apart and put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from tensordict import LazyStackedTensorDict, TensorDictBase, is_non_tensor
from torch import Tensor

from envkit.errors import SpecError
from envkit.specs.base import TensorSpec
from envkit.specs.keys import EntryError
from envkit.specs.shapes import ShapeOp, describe_shape

__all__ = ["call_each", "joined", "moved", "parted"]

T = TypeVar("T")

# What unknown sizes are tried with: an operation whose outcome differs between the two depends on them.
_TRIALS = (61, 67)


def moved(elements: Sequence[TensorSpec], dim: int, op: ShapeOp, what: str) -> Any:
    """Apply a shape operation to the stack of ``elements`` along ``dim``.

    The operation is tried on the positions of the elements. Where the outcome takes a slice from one element, that
    element goes through the same operation; the slices are stacked again.

    Raises:
        SpecError: if the operation is impossible or depends on sizes in which the elements differ.
    """
    count = len(elements)
    leading = min(element._leading() for element in elements)

    def wide(tensor: Tensor) -> Tensor:
        return tensor.unsqueeze(dim).expand(*tensor.shape[:dim], count, *tensor.shape[dim:])

    plans = []
    for shape in {element.shape[:leading] for element in elements}:
        for trial in _TRIALS if -1 in shape else _TRIALS[:1]:
            sizes = [trial if d < 0 else d for d in shape]
            positions = torch.arange(count, device=elements[0].device)
            positions = positions.view(count, *[1] * (leading - dim)).expand(*sizes[:dim], count, *sizes[dim:])
            try:
                plans.append(_sources(op(positions)))
            except RuntimeError as error:
                raise SpecError(f"cannot {what} a stack of elements of shape {describe_shape(shape)}") from error
    axis, sources = plans[0]
    if any(plan != plans[0] for plan in plans):
        shapes = ", ".join(describe_shape(element.shape) for element in elements)
        raise SpecError(f"cannot {what}: the result depends on sizes that are unknown or differ, of elements {shapes}")
    if axis is None:
        return elements[sources[0]]._reshaped(lambda t: op(wide(t)), what)

    def part(position: int, source: int) -> Any:
        def select(tensor: Tensor) -> Tensor:
            return op(tensor).select(axis, position)

        if source < 0:
            return moved(elements, dim, select, what)
        return elements[source]._reshaped(lambda t: select(wide(t)), what)

    return torch.stack([part(position, source) for position, source in enumerate(sources)], axis)


def _sources(positions: Tensor) -> tuple[int | None, list[int]]:
    """Return the axis along which the elements lie, and which element is at each place of it.

    The axis is None if there is only one element; an element is -1 where there are several.
    """
    if not positions.numel():
        return None, [0]
    flat = positions.reshape(-1)
    if bool((flat == flat[0]).all()):
        return None, [int(flat[0])]
    slices = [positions.movedim(axis, 0).flatten(1) for axis in range(positions.ndim)] if positions.ndim > 1 else []
    for axis, rows in enumerate(slices):
        if bool((rows == rows[:, :1]).all()):
            return axis, rows[:, 0].tolist()
    if positions.ndim == 1:
        return 0, positions.tolist()
    return 0, [-1] * positions.shape[0]


def parted(value: Any, dim: int, ndim: int, count: int) -> list[Any] | None:
    """Take a stacked value apart; None if it has no dimension ``dim`` (of ``ndim``, from the right) of size ``count``.

    A list or tuple has been taken apart already.
    """
    if isinstance(value, (list, tuple)):
        return list(value) if len(value) == count else None
    if not isinstance(value, (Tensor, TensorDictBase)) and not is_non_tensor(value):
        return None
    position = value.ndim - ndim + dim
    if value.ndim < ndim or value.shape[position] != count:
        return None
    return list(value.unbind(position))


def joined(values: Sequence[Any], position: int) -> Any:
    """Stack tensors, or whatever else a TensorDict holds, along a dimension."""
    if isinstance(values[0], Tensor):
        return torch.stack(list(values), position)
    return LazyStackedTensorDict.lazy_stack(list(values), position)


def call_each(functions: Sequence[Callable[..., T]], *columns: Sequence[Any]) -> list[T]:
    """Call the function of each element with its arguments; errors say which element it was."""
    results = []
    for i, (function, *arguments) in enumerate(zip(functions, *columns, strict=True)):
        try:
            results.append(function(*arguments))
        except EntryError as error:
            raise EntryError(error.args[0], f"element {i}: {error.args[1]}") from error
        except SpecError as error:
            raise SpecError(f"element {i}: {error}") from error
    return results
