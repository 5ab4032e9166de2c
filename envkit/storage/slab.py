"""A slab is a spec in memory.

One :class:`Slab` owns a column per leaf of a :class:`~envkit.specs.Composite`, with a leading dimension of
*rows*. Everything that records steps writes into rows of a slab, so a rollout needs no stacking afterwards:
the slab *is* the rollout.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from tensordict import LazyStackedTensorDict, NestedKey, NonTensorData, TensorDict, TensorDictBase

from envkit.specs import Composite, TensorSpec
from envkit.storage.carrier import entries, peek, unchecked

__all__ = ["Column", "Slab", "put_row"]

Column = torch.Tensor | list
VIEWS = 32
ALIGNMENT = 64  # bytes: columns do not share the lines of a processor's cache
# From so many bytes on numpy asks for large pages, where torch does not: the first write to a row costs a quarter.
LARGE = 1 << 22


class Slab:
    """Storage for a composite spec with a leading dimension of ``rows``.

    ``columns[key]`` is a tensor of shape ``(rows, *leaf.shape)``, zero-initialised; ``arrays[key]`` is a numpy
    array over the same memory (the tensor itself when it lives on an accelerator). Leaves that have no fixed layout
    (a dimension of -1, or non-tensor data) are kept as plain Python lists of length ``rows`` under both names.

    Args:
        spec: what a row holds. Leaf shapes include the env's batch size.
        rows: number of rows.
        device: where the columns live; each leaf's own device by default.
        memory: bytes in which to lay the columns out, uint8 ``[n]`` with ``n`` at least :meth:`size_of`, instead of
            memory of their own; they keep what is there.

    Examples:
        >>> from envkit.specs import Composite, Unbounded
        >>> slab = Slab(Composite(observation=Unbounded((2,))), rows=3)
        >>> slab.arrays["observation"][1] = [1.0, 2.0]
        >>> slab.columns["observation"].tolist()
        [[0.0, 0.0], [1.0, 2.0], [0.0, 0.0]]
        >>> slab.tensordict(2).batch_size
        torch.Size([2])
    """

    def __init__(
        self, spec: Composite, rows: int, *, device: torch.device | None = None, memory: np.ndarray | None = None
    ) -> None:
        self.spec = spec
        self.rows = rows
        self.batch_size = torch.Size(spec.shape)
        self.device = device if device is not None else spec.device
        self.home: Any = None  # whoever laid it out in memory of theirs may say here where that is
        self.columns: dict[NestedKey, Column] = {}
        self.arrays: dict[NestedKey, Any] = {}
        first = 0
        for key, leaf in spec.items(True, True):
            if memory is None:
                self.add(key, _allocate(leaf, rows, self.device))
            else:
                self.add(key, _carve(leaf, rows, memory[first:]))
                first += _bytes_of(leaf, rows)

    @staticmethod
    def size_of(spec: Composite, rows: int) -> int:
        """Bytes of memory that the columns of a slab take, all of fixed layout."""
        return sum(_bytes_of(leaf, rows) for leaf in spec.values(True, True))

    @property
    def loose(self) -> bool:
        """Whether some column is a list, because its leaf has no fixed layout."""
        return any(isinstance(column, list) for column in self.columns.values())

    def add(self, key: NestedKey, column: Column) -> None:
        """Adds a column that the spec does not name, such as the log-probabilities a policy writes."""
        self.columns[key] = column
        self.arrays[key] = as_array(column)

    def select(self, index: int | slice, spec: Composite) -> Slab:
        """The slab of one element of the batch, or of some, of spec ``spec``: every column at ``[:, index]``.

        It shares its memory with this one.
        """
        for key, column in self.columns.items():
            if isinstance(column, list):
                raise TypeError(f"column {key!r} has no fixed layout and cannot be shared between envs of a batch")
        return _Part(self, index, spec)

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
        loose = {key for key, column in zip(keys, columns, strict=True) if isinstance(column, list)}
        build = row_builder(dict(enumerate(keys)), self.spec, self.batch_size, self.device, loose)
        return lambda row: build([column[row] for column in columns])

    def viewer(self, keys: Iterable[NestedKey]) -> Callable[[int], TensorDict]:
        """Same as :meth:`reader`, for rows that are read one after the other."""
        return self.viewers(keys)[0]

    def viewers(self, *selections: Iterable[NestedKey]) -> list[Callable[[int], TensorDict]]:
        """Same as :meth:`viewer`, for several selections of keys that are read from the same rows.

        Views are made for a few rows at once, which is cheaper; few, so that they are still in the processor's cache
        when they are handed out.
        """
        chosen = [list(keys) for keys in selections]
        every = list(dict.fromkeys(key for keys in chosen for key in keys))
        columns = [self.columns[key] for key in every]
        if any(isinstance(column, list) for column in columns):
            return [self.reader(keys) for keys in chosen]  # the entries of lists are not there yet
        first = 0
        views: list[tuple[torch.Tensor, ...]] = []

        def values_of(row: int) -> tuple[torch.Tensor, ...]:
            nonlocal first, views
            index = row - first
            if not 0 <= index < len(views):
                parts = [column[row : row + VIEWS].unbind(0) for column in columns]  # type: ignore[union-attr]
                first, index, views = row, 0, list(zip(*parts, strict=True))
            return views[index]

        def view_of(keys: list[NestedKey]) -> Callable[[int], TensorDict]:
            build = row_builder({every.index(key): key for key in keys}, self.spec, self.batch_size, self.device)
            return lambda row: build(values_of(row))

        return [view_of(keys) for keys in chosen]

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
        return row_builder(dict(enumerate(self.columns)), self.spec, torch.Size(size), self.device)(moved)


class _Part(Slab):
    """What :meth:`Slab.select` returns. Its tensors are made when they are asked for: simulators want arrays alone."""

    def __init__(self, whole: Slab, index: int | slice, spec: Composite) -> None:
        self.spec, self.rows, self.device, self.home = spec, whole.rows, whole.device, None
        self.batch_size = torch.Size(spec.shape)
        self.arrays = {key: array[:, index] for key, array in whole.arrays.items()}
        self._whole, self._index = dict(whole.columns), index

    @functools.cached_property
    def columns(self) -> dict[NestedKey, Column]:  # type: ignore[override]
        return {key: column[:, self._index] for key, column in self._whole.items()}  # type: ignore[call-overload]


def _allocate(leaf: TensorSpec, rows: int, device: torch.device | None) -> Column:
    if leaf.dtype is None or leaf.has_dynamic_shape:
        return [None] * rows
    device = device or leaf.device
    size = _bytes_of(leaf, rows)
    if size < LARGE or (device is not None and device.type != "cpu"):
        return torch.zeros((rows, *leaf.shape), dtype=leaf.dtype, device=device)
    memory = np.zeros(size + ALIGNMENT, np.uint8)
    return _carve(leaf, rows, memory[-memory.ctypes.data % ALIGNMENT :])


def _bytes_of(leaf: TensorSpec, rows: int) -> int:
    size = rows * leaf.shape.numel() * leaf.dtype.itemsize  # type: ignore[union-attr]
    return -(-size // ALIGNMENT) * ALIGNMENT


def _carve(leaf: TensorSpec, rows: int, memory: np.ndarray) -> torch.Tensor:
    shape = (rows, *leaf.shape)
    count = torch.Size(shape).numel() * leaf.dtype.itemsize  # type: ignore[union-attr]
    return torch.from_numpy(memory[:count]).view(leaf.dtype).view(shape)  # type: ignore[arg-type]


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
    keys: Mapping[int, NestedKey],
    spec: Composite,
    batch_size: torch.Size,
    device: torch.device | None,
    loose: Collection[NestedKey] = (),
) -> Callable[[Sequence[Any]], TensorDict]:
    """A function from values to a TensorDict; the nesting is worked out here, once.

    A nested TensorDict gets ``batch_size`` followed by the dimensions that its own spec adds to the root's.

    Args:
        keys: the key of the value at each place; there may be values that have none.
        spec: what gives nested TensorDicts their sizes.
        batch_size: that of the result.
        device: that of the result.
        loose: keys whose values may be other things than tensors.
    """
    paths = {place: (key,) if isinstance(key, str) else key for place, key in keys.items()}
    return _level((), paths, spec, batch_size, device, {place for place, key in keys.items() if key in loose})


def _level(
    prefix: tuple[str, ...],
    paths: Mapping[int, Any],
    spec: Composite,
    batch_size: torch.Size,
    device: torch.device | None,
    loose: Collection[int],
) -> Callable[[Sequence[Any]], TensorDict]:
    """What :func:`row_builder` returns, for the level ``prefix``, and its paths and loose values by place."""
    inner = spec.get(prefix, None) if prefix else spec
    extra = inner.shape[len(spec.shape) :] if isinstance(inner, Composite) else ()
    size, depth = torch.Size((*batch_size, *extra)), len(prefix)
    leaves = [(path[depth], place) for place, path in paths.items() if len(path) == depth + 1]
    wrapped = [(name, place) for name, place in leaves if place in loose]
    names = dict.fromkeys(path[depth] for path in paths.values() if len(path) > depth + 1)
    levels = []
    for name in names:
        below = {place: path for place, path in paths.items() if path[depth] == name}
        levels.append((name, _level((*prefix, name), below, spec, batch_size, device, loose)))

    if not (wrapped or levels):
        return lambda values: unchecked({name: values[place] for name, place in leaves}, size, device)

    def build(values: Sequence[Any]) -> TensorDict:
        made: dict[str, Any] = {name: values[place] for name, place in leaves}
        for name, place in wrapped:
            if not isinstance(values[place], (torch.Tensor, TensorDictBase)):
                made[name] = NonTensorData(values[place], batch_size=size)
        for name, make in levels:
            made[name] = make(values)
        return unchecked(made, size, device)

    return build
