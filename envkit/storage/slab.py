"""A slab is a spec in memory.

One :class:`Slab` owns a column per leaf of a :class:`~envkit.specs.Composite`, with a leading dimension of
*rows*. Everything that records steps writes into rows of a slab, so a rollout needs no stacking afterwards:
the slab *is* the rollout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from tensordict import LazyStackedTensorDict, NestedKey, NonTensorData, TensorDict, TensorDictBase

from envkit.specs import Composite, TensorSpec
from envkit.storage.carrier import entries, peek, unchecked

__all__ = ["Column", "Slab", "put_row"]

Column = torch.Tensor | list
VIEWS = 32


class Slab:
    """Storage for a composite spec with a leading dimension of ``rows``.

    ``columns[key]`` is a tensor of shape ``(rows, *leaf.shape)``, zero-initialised; ``arrays[key]`` is a numpy
    array over the same memory (the tensor itself when it lives on an accelerator). Leaves that have no fixed layout
    (a dimension of -1, or non-tensor data) are kept as plain Python lists of length ``rows`` under both names.

    Args:
        spec: what a row holds. Leaf shapes include the env's batch size.
        rows: number of rows.
        device: where the columns live; each leaf's own device by default.

    Examples:
        >>> from envkit.specs import Composite, Unbounded
        >>> slab = Slab(Composite(observation=Unbounded((2,))), rows=3)
        >>> slab.arrays["observation"][1] = [1.0, 2.0]
        >>> slab.columns["observation"].tolist()
        [[0.0, 0.0], [1.0, 2.0], [0.0, 0.0]]
        >>> slab.tensordict(2).batch_size
        torch.Size([2])
    """

    def __init__(self, spec: Composite, rows: int, *, device: torch.device | None = None) -> None:
        self.spec = spec
        self.rows = rows
        self.batch_size = torch.Size(spec.shape)
        self.device = device if device is not None else spec.device
        self.columns: dict[NestedKey, Column] = {}
        self.arrays: dict[NestedKey, Any] = {}
        for key, leaf in spec.items(True, True):
            self.add(key, _allocate(leaf, rows, self.device))

    @property
    def loose(self) -> bool:
        """Whether some column is a list, because its leaf has no fixed layout."""
        return any(isinstance(column, list) for column in self.columns.values())

    def add(self, key: NestedKey, column: Column) -> None:
        """Adds a column that the spec does not name, such as the log-probabilities a policy writes."""
        self.columns[key] = column
        self.arrays[key] = as_array(column)

    def select(self, index: int, spec: Composite) -> Slab:
        """The slab of one element of the batch, of spec ``spec``: every column at ``[:, index]``, sharing memory."""
        part = object.__new__(Slab)
        part.spec = spec
        part.rows, part.device = self.rows, self.device
        part.batch_size = self.batch_size[1:]
        part.columns, part.arrays = {}, {}
        for key, column in self.columns.items():
            if isinstance(column, list):
                raise TypeError(f"column {key!r} has no fixed layout and cannot be shared between envs of a batch")
            part.add(key, column[:, index])
        return part

    def writer(self, keys: Iterable[NestedKey]) -> Callable[[int, TensorDictBase], None]:
        """A function ``write(row, tensordict)`` that copies the entries ``keys`` into a row.

        Shapes and dtypes are the caller's care.
        """
        levels: dict[tuple[str, ...], list[tuple[str, Any]]] = {}
        loose = []
        for key in keys:
            path: Any = (key,) if isinstance(key, str) else key
            array = self.arrays[key]
            if isinstance(array, list):
                loose.append((key, array))
            else:
                levels.setdefault(path[:-1], []).append((path[-1], array))
        levelled = list(levels.items())

        def write(row: int, values: TensorDictBase) -> None:
            for prefix, arrays in levelled:
                flat = entries(peek(values, prefix) if prefix else values)
                for name, array in arrays:
                    try:
                        array[row] = flat[name].numpy()
                    except (AttributeError, RuntimeError, TypeError):  # no plain tensor of the CPU, or no array
                        put_row(array, row, flat[name])
            for key, array in loose:
                put_row(array, row, values.get(key))

        return write

    def reader(self, keys: Iterable[NestedKey]) -> Callable[[int], TensorDict]:
        """A function from a row's index to a TensorDict over that row's memory, for rows that are read one by one."""
        keys = list(keys)
        columns = [self.columns[key] for key in keys]
        build = row_builder(keys, self.spec, self.batch_size, self.device)
        return lambda row: build([column[row] for column in columns])

    def viewer(self, keys: Iterable[NestedKey]) -> Callable[[int], TensorDict]:
        """Same as :meth:`reader`, for rows that are read one after the other.

        Views are made for a few rows at once, which is cheaper; few, so that they are still in the processor's cache
        when they are handed out.
        """
        keys = list(keys)
        columns = [self.columns[key] for key in keys]
        tensors = [column for column in columns if isinstance(column, torch.Tensor)]
        if len(tensors) < len(columns):
            return self.reader(keys)  # the entries of lists are not there yet
        build = row_builder(keys, self.spec, self.batch_size, self.device)
        first = 0
        views: list[TensorDict] = []

        def view(row: int) -> TensorDict:
            nonlocal first, views
            index = row - first
            if not 0 <= index < len(views):
                parts = [tensor[row : row + VIEWS].unbind(0) for tensor in tensors]
                first, index, views = row, 0, [build(values) for values in zip(*parts, strict=True)]
            return views[index]

        return view

    def tensordict(self, stop: int, start: int = 0, *, time_dim: int = 0) -> TensorDictBase:
        """Rows ``start:stop`` as one TensorDict, with the rows moved to dimension ``time_dim``.

        Its batch size is ``(*batch[:time_dim], stop - start, *batch[time_dim:])``. No tensor is copied. With loose
        columns it is a lazy stack.
        """
        if self.loose:
            read = self.reader(self.columns)
            return LazyStackedTensorDict.lazy_stack([read(row) for row in range(start, stop)], time_dim)
        columns = [column for column in self.columns.values() if isinstance(column, torch.Tensor)]
        moved = [column[start:stop].movedim(0, time_dim) for column in columns]
        size = [*self.batch_size[:time_dim], stop - start, *self.batch_size[time_dim:]]
        return row_builder(list(self.columns), self.spec, torch.Size(size), self.device)(moved)


def _allocate(leaf: TensorSpec, rows: int, device: torch.device | None) -> Column:
    if leaf.dtype is None or leaf.has_dynamic_shape:
        return [None] * rows
    return torch.zeros((rows, *leaf.shape), dtype=leaf.dtype, device=device or leaf.device)


def as_array(column: Column) -> np.ndarray | torch.Tensor | list:
    """A numpy view of a CPU tensor; anything else unchanged."""
    if isinstance(column, torch.Tensor) and column.device.type == "cpu" and column.dtype is not torch.bfloat16:
        return column.numpy()
    return column


def put_row(array: Any, row: int, value: Any) -> None:
    """Writes a value, tensor or not, into a row of a column's array."""
    if isinstance(value, NonTensorData):
        value = value.data
    if array.__class__ is np.ndarray and isinstance(value, torch.Tensor):
        value = (
            value.numpy() if value.device.type == "cpu" and not value.requires_grad else value.detach().cpu().numpy()
        )
    array[row] = value


def row_builder(
    keys: Iterable[NestedKey], spec: Composite, batch_size: torch.Size, device: torch.device | None
) -> Callable[[Iterable[Any]], TensorDict]:
    """A function from values, in the order of ``keys``, to a TensorDict; the nesting is worked out here, once.

    A nested TensorDict gets ``batch_size`` followed by the dimensions that its own spec adds to the root's.
    """
    paths: list[tuple[str, ...]] = [(key,) if isinstance(key, str) else key for key in keys]  # type: ignore[misc]
    if all(len(path) == 1 for path in paths) and not any(leaf.dtype is None for leaf in spec.values(True, True)):
        names = [path[0] for path in paths]
        return lambda values: unchecked(dict(zip(names, values)), batch_size, device)  # noqa: B905 - of equal length by construction

    return _level((), list(enumerate(paths)), spec, batch_size, device)


def _level(
    prefix: tuple[str, ...],
    paths: list[tuple[int, tuple[str, ...]]],
    spec: Composite,
    batch_size: torch.Size,
    device: torch.device | None,
) -> Callable[[Iterable[Any]], TensorDict]:
    """What :func:`row_builder` returns, for the level ``prefix`` and its numbered paths."""
    inner = spec.get(prefix, None) if prefix else spec
    extra = inner.shape[len(spec.shape) :] if isinstance(inner, Composite) else ()
    size, depth = torch.Size((*batch_size, *extra)), len(prefix)
    leaves = [(path[depth], index) for index, path in paths if len(path) == depth + 1]
    names = dict.fromkeys(path[depth] for _, path in paths if len(path) > depth + 1)
    levels = [
        (name, _level((*prefix, name), [p for p in paths if p[1][depth] == name], spec, batch_size, device))
        for name in names
    ]

    def build(values: Iterable[Any]) -> TensorDict:
        values = values if isinstance(values, (list, tuple)) else list(values)
        made: dict[str, Any] = {}
        for name, index in leaves:
            value = values[index]
            if value.__class__ is not torch.Tensor and not isinstance(value, (torch.Tensor, TensorDictBase)):
                value = NonTensorData(value, batch_size=size)
            made[name] = value
        for name, make in levels:
            made[name] = make(values)
        return unchecked(made, size, device)

    return build
