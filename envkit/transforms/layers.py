"""The columns between the transforms of a chain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from tensordict import NestedKey

from envkit.specs import Composite, TensorSpec
from envkit.storage import Slab
from envkit.storage.slab import Column, as_array

__all__ = ["FOLLOWING", "ROOT", "Layers", "Layout"]

# Roles of what a slab holds, a later one replacing entries of the same name.
ROOT, FOLLOWING = ("state", "observation", "done", "action"), ("observation", "reward", "done")


class Layers(NamedTuple):
    """The columns of a bound chain: ``arrays[i]`` are those inside of transform ``i``, the last ones the loop's own."""

    arrays: list[dict[NestedKey, Any]]
    inner: Slab


class Layout:
    """Which columns the transforms of a chain share, and which they need memory for, on one of the two sides of a step.

    An entry of the same key, shape and dtype inside and outside of a transform is one column.

    Args:
        levels: the specs by role, the base env's and those outside of each transform.
        roles: the roles of what a row holds.
        apart: for each transform, the entries that have memory of their own inside of it all the same.
        spec: what a row of the base env's slab holds.
    """

    def __init__(
        self,
        levels: Sequence[dict[str, Composite]],
        roles: Sequence[str],
        apart: Sequence[Sequence[NestedKey]],
        spec: Composite,
    ) -> None:
        self._spec, self._keys = spec, list(spec.keys(True, True))
        leaves = [{key: leaf for role in roles for key, leaf in specs[role].items(True, True)} for specs in levels]
        self._shared: list[list[NestedKey]] = []
        self._own: list[list[tuple[NestedKey, TensorSpec, bool]]] = []
        self.passed = set(leaves[-1])
        for i, own in enumerate(apart):
            inside, outside = leaves[i], leaves[i + 1]
            shared = [key for key in inside if key not in own and key in outside and _alike(inside[key], outside[key])]
            # What is only observed is gone once the row is done, and one row will do for all.
            observed = set(levels[i]["observation"].keys(True, True))
            self._shared.append(shared)
            self._own.append([(key, leaf, key in observed) for key, leaf in inside.items() if key not in shared])
            self.passed &= set(shared)

    def bind(self, slab: Slab) -> Layers:
        """The columns for a slab of the outermost entries."""
        within = slab.inner if isinstance(slab, _Around) else None
        columns, arrays = slab.columns, [slab.arrays]
        for i in reversed(range(len(self._shared))):
            if i == 0 and within is not None:
                columns, inside = within.columns, within.arrays
            else:
                made = {key: _column(leaf, slab.rows, 1 if brief else slab.rows) for key, leaf, brief in self._own[i]}
                columns = made | {key: columns[key] for key in self._shared[i]}
                inside = {key: as_array(column) for key, column in made.items()}
                inside |= {key: arrays[0][key] for key in self._shared[i]}
            arrays.insert(0, inside)
        if within is None:
            within = _slab_over(Slab, self._spec, slab)
            for key in self._keys:
                within.columns[key], within.arrays[key] = columns[key], arrays[0][key]
        return Layers(arrays, within)

    def around(self, spec: Composite, inner: Slab) -> Slab:
        """A slab of the outermost entries, of spec ``spec``, that shares columns with the base env's own."""
        slab = _slab_over(_Around, spec, inner)
        slab.inner = inner
        for key, leaf in spec.items(True, True):
            if key in self.passed:
                slab.columns[key], slab.arrays[key] = inner.columns[key], inner.arrays[key]
            else:
                slab.add(key, _column(leaf, slab.rows, slab.rows))
        return slab


class _Around(Slab):
    """A slab that shares columns with the slab ``inner`` of the env inside."""

    inner: Slab


def _slab_over(kind: Any, spec: Composite, like: Slab) -> Any:
    """A slab that has no columns yet."""
    slab = kind(Composite(shape=spec.shape), like.rows, device=like.device)
    slab.spec = spec
    return slab


def _alike(one: TensorSpec, other: TensorSpec) -> bool:
    return one.dtype is other.dtype and one.shape == other.shape


def _column(leaf: TensorSpec, rows: int, own: int) -> Column:
    """A column of ``rows`` rows, of which ``own`` have memory of their own: all, or one that stands for all."""
    if leaf.dtype is None or leaf.has_dynamic_shape:
        return [None] * rows
    return torch.zeros((own, *leaf.shape), dtype=leaf.dtype).expand(rows, *leaf.shape)
