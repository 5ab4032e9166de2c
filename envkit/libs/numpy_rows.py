"""Moving values between simulators that speak numpy and rows of a slab.

One small function per kind of spec, chosen once. A writer accepts exactly what the spec says: numpy would
broadcast a ``(1,)`` observation over a row of four, or turn 300 into a ``uint8`` 44, without a word.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from tensordict import NestedKey

from envkit.core.plan import path_of
from envkit.errors import EnvDataError, SpecError
from envkit.specs import (
    Binary,
    Bounded,
    Categorical,
    Composite,
    MultiCategorical,
    OneHot,
    TensorSpec,
    Unbounded,
)

__all__ = ["Reader", "Writer", "row_reader", "row_writer"]

Writer = Callable[[int, Any], None]
Reader = Callable[[int], Any]

ndarray = np.ndarray


def row_writer(spec: TensorSpec, arrays: Mapping[NestedKey, Any], key: NestedKey, size: int = 0) -> Writer:
    """A function ``write(row, value)`` for values of ``spec``, kept in ``arrays`` at (or, nested, below) ``key``.

    Args:
        spec: what a value looks like: a leaf, or a Composite for mappings and tuples.
        arrays: arrays of a slab.
        key: where the value goes; ``()`` for the root.
        size: number of batch dimensions of the env (always 0 for one simulator).

    Raises:
        EnvDataError: (by the returned function) a value has another type, shape or dtype.
    """
    if isinstance(spec, Composite):
        return _tree_writer(spec, arrays, key)
    array = arrays[key]
    if spec.dtype is None:
        return array.__setitem__
    if isinstance(spec, (OneHot, MultiCategorical, Binary)) or not isinstance(spec, (Bounded, Unbounded, Categorical)):
        return _encoding_writer(spec, array, key)
    if isinstance(spec, Categorical):
        return _index_writer(spec, array, key) if not spec.shape else _encoding_writer(spec, array, key)
    return _array_writer(spec, array, key)


def _tree_writer(spec: Composite, arrays: Mapping[NestedKey, Any], key: NestedKey) -> Writer:
    prefix = path_of(key) if key else ()
    writers = {}
    for name, child in spec.items():
        writers[name] = row_writer(child, arrays, _below(prefix, name))

    def write(row: int, value: Any) -> None:
        if isinstance(value, tuple):
            value = {str(i): part for i, part in enumerate(value)}
        if not isinstance(value, Mapping):
            raise EnvDataError(
                f"{key or 'observation'!r}: expected a mapping with keys {list(writers)}, found {type(value).__name__}"
            )
        for name, write_part in writers.items():
            if name not in value:
                raise EnvDataError(
                    f"{(*prefix, name)!r} is missing: expected keys {list(writers)}, found {list(value)}"
                )
            write_part(row, value[name])

    return write


def _array_writer(spec: TensorSpec, array: np.ndarray | list, key: NestedKey) -> Writer:
    shape = tuple(spec.shape)
    if isinstance(array, list):
        return lambda row, value: array.__setitem__(row, spec.encode(value))
    dtype = array.dtype
    warned: list[bool] = []

    def write(row: int, value: Any) -> None:
        # Dtypes of one kind are one object, unless they came out of a pickle.
        if value.__class__ is ndarray and value.shape == shape and (value.dtype is dtype or value.dtype == dtype):
            array[row] = value
        else:
            array[row] = convert(value)

    def convert(value: Any) -> np.ndarray:
        found = np.asarray(value)
        if found.shape != shape:
            raise EnvDataError(f"{key!r}: expected shape {list(shape)}, found {list(found.shape)}")
        both_floats = np.issubdtype(found.dtype, np.floating) and np.issubdtype(dtype, np.floating)
        if not both_floats and not np.can_cast(found.dtype, dtype, "safe"):
            if isinstance(value, ndarray | np.generic) or not _holds(spec, value):
                raise EnvDataError(f"{key!r}: expected dtype {dtype}, found {found.dtype}")
        elif found.dtype != dtype and not warned and isinstance(value, ndarray | np.generic):
            warned.append(True)
            warnings.warn(
                f"{key!r}: expected dtype {dtype}, found {found.dtype}; it is cast at every step", stacklevel=4
            )
        return found

    return write


def _holds(spec: TensorSpec, value: Any) -> bool:
    try:
        return spec.is_in(spec.encode(value))
    except SpecError:
        return False


def _below(prefix: tuple[str, ...], name: str) -> NestedKey:
    return (*prefix, name) if prefix else name


def _index_writer(spec: Categorical, array: Any, key: NestedKey) -> Writer:
    start, integers = spec.start, (int, np.int64, np.int32)

    def write(row: int, value: Any) -> None:
        if value.__class__ in integers:
            array[row] = value - start
        else:
            found = np.asarray(value)
            if found.shape != () or not np.issubdtype(found.dtype, np.integer):
                raise EnvDataError(f"{key!r}: expected an integer, found {value!r}")
            array[row] = found - start

    return write


def _encoding_writer(spec: TensorSpec, array: Any, key: NestedKey) -> Writer:
    def write(row: int, value: Any) -> None:
        try:
            array[row] = spec.encode(value).numpy()
        except (ValueError, TypeError) as error:
            raise EnvDataError(f"{key!r}: expected {spec}, found {value!r}") from error

    return write


def row_reader(spec: TensorSpec, arrays: Mapping[NestedKey, Any], key: NestedKey) -> Reader:
    """A function ``read(row)`` that gives a simulator the action of a row, as its own action space would sample it."""
    if isinstance(spec, Composite):
        prefix = path_of(key) if key else ()
        readers = {name: row_reader(child, arrays, _below(prefix, name)) for name, child in spec.items()}
        if spec.is_tuple:
            return lambda row: tuple(read(row) for read in readers.values())
        return lambda row: {name: read(row) for name, read in readers.items()}
    array = arrays[key]
    if isinstance(array, list):
        return array.__getitem__
    if isinstance(spec, Categorical) and not spec.shape and not isinstance(spec, (OneHot, Binary)):
        start = spec.start
        return array.__getitem__ if start == 0 else lambda row: array[row] + start
    if isinstance(spec, (Bounded, Unbounded)):
        # A copy: simulators keep actions, and some change them in place. A scalar is an array of no dimensions.
        return (lambda row: array[row].copy()) if spec.shape else lambda row: np.array(array[row])
    return lambda row: spec.to_numpy(torch.from_numpy(array[row]))
