"""A slab is a spec in memory.

One :class:`Slab` owns a column per leaf of a :class:`~envkit.specs.Composite`, with a leading dimension of
*rows*. Everything that records steps writes into rows of a slab, so a rollout needs no stacking afterwards:
the slab *is* the rollout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from tensordict import LazyStackedTensorDict, NestedKey, NonTensorData, TensorDict, TensorDictBase

from envkit.specs import Composite, NonTensor, TensorSpec
from envkit.storage.carrier import unchecked

__all__ = ["Column", "Slab", "row_builder"]

Column = torch.Tensor | list


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

    def write(self, row: int, values: Mapping[NestedKey, Any] | TensorDictBase, keys: Iterable[NestedKey]) -> None:
        """Copies ``values[key]`` into row ``row`` for each of ``keys``."""
        for key in keys:
            column = self.columns[key]
            if isinstance(column, list):
                column[row] = values.get(key)
            else:
                column[row].copy_(values.get(key))  # type: ignore[arg-type]

    def reader(self, keys: Iterable[NestedKey]) -> Callable[[int], TensorDict]:
        """A function from a row's index to a TensorDict over that row's memory, for rows that are read one by one."""
        keys = list(keys)
        columns = [self.columns[key] for key in keys]
        build = row_builder(keys, self.spec, self.batch_size, self.device)
        return lambda row: build([column[row] for column in columns])

    def unbinder(self, keys: Iterable[NestedKey]) -> Callable[[int, int], list[TensorDict]]:
        """A function from ``start, stop`` to one TensorDict for each of these rows, over their memory."""
        keys = list(keys)
        columns = [self.columns[key] for key in keys]
        build = row_builder(keys, self.spec, self.batch_size, self.device)

        def unbind(start: int, stop: int) -> list[TensorDict]:
            parts = [c[start:stop] if c.__class__ is list else c[start:stop].unbind(0) for c in columns]  # type: ignore[union-attr]
            return [build(values) for values in zip(*parts, strict=True)]

        return unbind

    def unbound(self, keys: Iterable[NestedKey], stop: int, start: int = 0) -> list[TensorDict]:
        """One TensorDict for each of the rows ``start:stop``, over their memory."""
        return self.unbinder(keys)(start, stop)

    def tensordict(self, stop: int, start: int = 0, *, time_dim: int = 0) -> TensorDictBase:
        """Rows ``start:stop`` as one TensorDict, with the rows moved to dimension ``time_dim``.

        Its batch size is ``(*batch[:time_dim], stop - start, *batch[time_dim:])``. No tensor is copied. With loose
        columns it is a lazy stack.
        """
        if self.loose:
            rows = self.unbound(self.columns, stop, start)
            return LazyStackedTensorDict.lazy_stack(rows, time_dim)
        columns = [column for column in self.columns.values() if isinstance(column, torch.Tensor)]
        moved = [column[start:stop].movedim(0, time_dim) for column in columns]
        size = [*self.batch_size[:time_dim], stop - start, *self.batch_size[time_dim:]]
        return row_builder(list(self.columns), self.spec, torch.Size(size), self.device)(moved)


def _allocate(leaf: TensorSpec, rows: int, device: torch.device | None) -> Column:
    if isinstance(leaf, NonTensor) or leaf.has_dynamic_shape:
        return [None] * rows
    return torch.zeros((rows, *leaf.shape), dtype=leaf.dtype, device=device or leaf.device)


def as_array(column: Column) -> np.ndarray | torch.Tensor | list:
    """A numpy view of a CPU tensor; anything else unchanged."""
    if isinstance(column, torch.Tensor) and column.device.type == "cpu" and column.dtype is not torch.bfloat16:
        return column.numpy()
    return column


def row_builder(
    keys: Iterable[NestedKey], spec: Composite, batch_size: torch.Size, device: torch.device | None
) -> Callable[[Iterable[Any]], TensorDict]:
    """A function from values, in the order of ``keys``, to a TensorDict; the nesting is worked out here, once.

    A nested TensorDict gets ``batch_size`` followed by the dimensions that its own spec adds to the root's.
    """
    paths: list[tuple[str, ...]] = [(key,) if isinstance(key, str) else key for key in keys]  # type: ignore[misc]
    if all(len(path) == 1 for path in paths) and not any(
        isinstance(leaf, NonTensor) for leaf in spec.values(True, True)
    ):
        names = [path[0] for path in paths]
        return lambda values: unchecked(dict(zip(names, values)), batch_size, device)  # noqa: B905 - of equal length by construction

    def build(values: Iterable[Any]) -> TensorDict:
        return fill((), dict(zip(paths, values, strict=True)))

    def fill(prefix: tuple[str, ...], values: dict[tuple[str, ...], Any]) -> TensorDict:
        inner = spec.get(prefix, None) if prefix else spec
        extra = inner.shape[len(spec.shape) :] if isinstance(inner, Composite) else ()
        out = TensorDict({}, torch.Size((*batch_size, *extra)), device=device)
        depth = len(prefix)
        for path, value in values.items():
            name = path[depth]
            if len(path) > depth + 1:
                if name not in out.keys():  # noqa: SIM118 - a TensorDict
                    below = {p: v for p, v in values.items() if p[depth] == name}
                    out.set(name, fill(path[: depth + 1], below))
            elif isinstance(value, (torch.Tensor, TensorDictBase)):
                out.set(name, value)
            else:
                out.set(name, NonTensorData(value, batch_size=out.batch_size))  # type: ignore[arg-type]
        return out

    return build
