"""Transforms on rows: a chain compiled to functions of a row, when a loop binds its env to slabs.

Loops write rows of columns (see :mod:`envkit.core.rows`). Between any two transforms of a chain there are columns as
well; what a transform leaves alone is the same memory on both of its sides, out to the loop's own slabs and in to
those the base env is bound to. So a step is: the inverses, outermost first, write what the base env reads; the base
env steps; each transform, innermost first, writes what it makes of it. Bit for bit that is what the hooks on
TensorDicts do, which remain the way of any chain that has no rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from tensordict import NestedKey

from envkit.core.masks import Masks
from envkit.errors import EnvDataError

if TYPE_CHECKING:
    from envkit.transforms.base import Transform

__all__ = ["ColumnFunction", "Columns", "RowForm", "Sides", "binds_rows", "elementwise_rows"]

Arrays = Mapping[NestedKey, Any]
ColumnFunction = Callable[[int], None]
"""Reads a row of one column and writes that row of another."""

VALUE = ("_apply_transform", "_inv_apply_transform")
WHOLE = ("_call", "_inv_call", "_step", "_reset")


class Sides(NamedTuple):
    """The columns of one slab by key, as a transform finds them and as it leaves them.

    Where key, shape and dtype are the same on both sides, so is the memory, and the change is made in place.
    """

    inner: Arrays
    outer: Arrays


class Columns(NamedTuple):
    """All columns that a transform may read and write, numpy arrays of shape ``[rows, *leaf.shape]``.

    Attributes:
        root: what a row holds before the action is executed. Entries named by ``in_keys_inv`` have memory of their own
            inside: what the policy wrote is recorded as it wrote it.
        following: what it holds under ``"next"``.
        stepped: the root's columns as the policy sees them, outside of all transforms: where entries named by
            ``memory_keys`` are found again.
    """

    root: Sides
    following: Sides
    stepped: Arrays


class RowForm(NamedTuple):
    """What a transform does to rows. None stands for nothing.

    Attributes:
        step: ``step(row)``: the env inside has written following row ``row`` of its columns; write yours. Returns
            whether it has raised a done flag; none may be lowered. Flags of a row are False until they are written,
            everything else has to be written.
        reset: ``reset(row, masks)``: the env inside has been reset into root row ``row``; write yours, as if
            everything had been reset. Outside of ``masks`` (by reset key; None for a whole reset) what was there is
            put back afterwards, in entries that the transform adds or names in ``out_keys``: others it may not write.
        inv: ``inv(row)``: write the actions and states of root row ``row`` inside, from those outside.
    """

    step: Callable[[int], bool | None] | None = None
    reset: Callable[[int, Masks | None], None] | None = None
    inv: Callable[[int], None] | None = None


@cache
def _owner(cls: type, name: str) -> int:
    """How far up its ancestors a class has ``name`` from: 0 for itself."""
    return next(i for i, ancestor in enumerate(cls.__mro__) if name in vars(ancestor))


def binds_rows(transform: Transform) -> bool:
    """Whether a transform has rows: whoever has last changed a hook on data has told that of rows as well."""
    cls: type = type(transform)
    return _binds_rows(cls)


@cache
def _binds_rows(cls: type) -> bool:
    own, root = _owner(cls, "_bind_rows"), _root(cls)
    if _owner(cls, "_reset_env_preprocess") < root:
        return False
    if own == root:
        return all(_owner(cls, name) == root for name in WHOLE)
    return all(own <= _owner(cls, name) for name in (*VALUE, *WHOLE))


def _root(cls: type) -> int:
    """How far up the base class of all transforms is: the last to define these hooks."""
    return max(i for i, ancestor in enumerate(cls.__mro__) if "_bind_rows" in vars(ancestor))


def elementwise_rows(transform: Transform, columns: Columns) -> RowForm | None:
    """The rows of a transform of single values: each in key of a side becomes its out key there."""
    out = list(zip(transform.in_keys, transform.out_keys, strict=True))
    back = list(zip(transform.out_keys_inv, transform.in_keys_inv, strict=True))
    step = _each(transform, out, columns.following.inner, columns.following.outer, inverse=False)
    reset = _each(transform, out, columns.root.inner, columns.root.outer, inverse=False)
    inv = _each(transform, back, columns.root.outer, columns.root.inner, inverse=True)
    if step is None or reset is None or inv is None:
        return None
    return RowForm(_all(step), _ignoring_masks(_all(reset)), _all(inv))


def _each(
    transform: Transform,
    pairs: Sequence[tuple[NestedKey, NestedKey]],
    sources: Arrays,
    targets: Arrays,
    *,
    inverse: bool,
) -> list[ColumnFunction] | None:
    """A function for each pair whose source is on this side; None if one of them cannot be had."""
    functions: list[ColumnFunction] = []
    written: list[np.ndarray] = []
    for source_key, target_key in pairs:
        source, target = sources.get(source_key), targets.get(target_key)
        if source is None:
            continue
        if not isinstance(source, np.ndarray) or not isinstance(target, np.ndarray):
            return None
        if any(source is other for other in written):
            return None  # what it was before the pair before is gone
        functions.append(_column_function(transform, source, target, target_key, inverse=inverse))
        written.append(target)
    return functions


def _column_function(
    transform: Transform, source: np.ndarray, target: np.ndarray, key: NestedKey, *, inverse: bool
) -> ColumnFunction:
    cls: type = type(transform)
    name, on_arrays = VALUE[inverse], "_inv_on_arrays" if inverse else "_on_arrays"
    if _owner(cls, on_arrays) <= _owner(cls, name):
        function = getattr(transform, on_arrays)(source, target)
        if function is not None:
            return function
    apply, shape = getattr(transform, name), target.shape[1:]
    if transform.takes_arrays and _owner(cls, "takes_arrays") <= _owner(cls, name):
        dtype: Any = target.dtype

        def through_numpy(row: int) -> None:
            value = apply(source[row, ...])
            if value.shape != shape or value.dtype != dtype:
                raise _misfit(transform, key, value, shape, dtype)
            target[row, ...] = value

        return through_numpy
    dtype = torch.from_numpy(target[:0]).dtype

    def through_torch(row: int) -> None:
        value = apply(torch.from_numpy(source[row, ...]))
        if value.shape != shape or value.dtype is not dtype:
            raise _misfit(transform, key, value, shape, dtype)
        target[row, ...] = value.detach().numpy()

    return through_torch


def _misfit(transform: Transform, key: NestedKey, value: Any, shape: tuple[int, ...], dtype: Any) -> EnvDataError:
    return EnvDataError(
        f"{type(transform).__name__}: {key!r}: expected {dtype} of shape {list(shape)}, as its spec says, found "
        f"{value.dtype} of shape {list(value.shape)}"
    )


def _all(functions: list[ColumnFunction]) -> ColumnFunction | None:
    """One function that calls all."""
    if len(functions) < 2:
        return functions[0] if functions else None

    def call_all(row: int) -> None:
        for function in functions:
            function(row)

    return call_all


def _ignoring_masks(function: ColumnFunction | None) -> Callable[[int, Masks | None], None] | None:
    return None if function is None else lambda row, masks: function(row)
