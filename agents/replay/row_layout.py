"""How the entries of an item lie in the bytes of one row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from tensordict import NestedKey, TensorDictBase

from envkit.core.plan import path_of

__all__ = ["Field", "RowLayout", "spelled"]


@dataclass(frozen=True)
class Field:
    """One entry of a row: its key, its form, and its first byte."""

    key: tuple[str, ...]
    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int

    @property
    def array_dtype(self) -> np.dtype:
        """The dtype by which numpy moves its values: an integer of as many bytes where numpy has no such dtype."""
        try:
            return torch.empty(0, dtype=self.dtype).numpy().dtype
        except TypeError:
            return np.dtype(f"i{self.dtype.itemsize}")


class RowLayout:
    """The fields of a row, in the order of the data's keys, and the bytes of the whole row.

    Wide dtypes come first in memory, so that every value is aligned; a row is a multiple of the widest.

    Args:
        entries: key, dtype and shape of each entry.

    Example:
        >>> layout = RowLayout([(("done",), torch.bool, (1,)), (("x",), torch.float32, (3,))])
        >>> layout.size, [field.offset for field in layout.fields]
        (16, [12, 0])
    """

    def __init__(self, entries: list[tuple[tuple[str, ...], torch.dtype, tuple[int, ...]]]) -> None:
        places, size = {}, 0
        for key, dtype, shape in sorted(entries, key=lambda entry: -entry[1].itemsize):
            places[key] = size
            size += prod(shape) * dtype.itemsize
        widest = max((dtype.itemsize for _, dtype, _ in entries), default=1)
        self.size = max(1, -(-size // widest)) * widest
        self.fields = [Field(key, dtype, shape, places[key]) for key, dtype, shape in entries]

    @classmethod
    def of(cls, data: Mapping[str, Any] | TensorDictBase, leading: int, owner: str) -> RowLayout:
        """The layout of the items of ``data``, whose entries have ``leading`` dimensions of items.

        Raises:
            ValueError: an entry is no tensor, or there is none.
        """
        entries = list(_entries(data, (), leading, owner))
        if not entries:
            raise ValueError(f"{owner}: expected data of at least one entry, found none")
        return cls(entries)

    @property
    def record(self) -> np.dtype:
        """The row as a numpy record, its fields numbered."""
        fields = self.fields
        return np.dtype(
            {
                "names": [str(place) for place in range(len(fields))],
                "formats": [(field.array_dtype, field.shape) for field in fields],
                "offsets": [field.offset for field in fields],
                "itemsize": self.size,
            }
        )

    def place(self, key: NestedKey) -> int:
        """The number of the field ``key``.

        Raises:
            KeyError: there is none.
        """
        path = path_of(key)
        for place, field in enumerate(self.fields):
            if field.key == path:
                return place
        raise KeyError(f"expected an entry {key!r}, found {[spelled(field.key) for field in self.fields]}")

    def plain(self) -> list[list[Any]]:
        """The entries in data that JSON can hold."""
        return [[list(field.key), str(field.dtype).split(".")[1], list(field.shape)] for field in self.fields]

    @classmethod
    def from_plain(cls, plain: list[list[Any]]) -> RowLayout:
        """The layout of which ``plain`` tells.

        Raises:
            ValueError: it tells of no dtype that there is.
        """
        entries = []
        for key, name, shape in plain:
            dtype = getattr(torch, name, None)
            if not isinstance(dtype, torch.dtype):
                raise ValueError(f"{spelled(tuple(key))}: expected the name of a dtype, found {name!r}")
            entries.append((tuple(key), dtype, tuple(shape)))
        return cls(entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RowLayout) and self.plain() == other.plain()

    __hash__ = None  # type: ignore[assignment]


def spelled(key: tuple[str, ...]) -> str:
    """A key as a user writes it."""
    return repr(key[0] if len(key) == 1 else key)


def _entries(data: Any, prefix: tuple[str, ...], leading: int, owner: str) -> Iterator[tuple]:
    for name, value in data.items():
        key = (*prefix, name)
        if isinstance(value, TensorDictBase | Mapping):
            yield from _entries(value, key, leading, owner)
        elif isinstance(value, torch.Tensor | np.ndarray):
            dtype = value.dtype if isinstance(value, torch.Tensor) else torch.from_numpy(np.empty(0, value.dtype)).dtype
            yield key, dtype, tuple(value.shape[leading:])
        else:
            raise ValueError(
                f"{owner}: expected a tensor at {spelled(key)}, found {type(value).__name__}; "
                f"ListStorage holds anything"
            )
