"""The entries of items by level of nesting, as writes look for them and reads return them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from agents.replay.packed_rows import ArrayRows, PackedRows
from agents.replay.row_layout import Field, spelled
from envkit.storage.carrier import entries, unchecked

__all__ = ["RowTree"]


class RowTree:
    """The entries at one level of nesting: what is looked at in each write, and made of each read."""

    def __init__(self, owner: str, key: tuple[str, ...], placed: list[tuple[int, Field]], rows: PackedRows) -> None:
        depth = len(key)
        self.owner, self.key = owner, key
        self.rows, self.in_numpy = rows, isinstance(rows, ArrayRows)
        here = [(place, field) for place, field in placed if len(field.key) == depth + 1]
        self.leaves = [
            (field.key[depth], rows.columns[place], field.dtype, _shown(field), field.shape, field)
            for place, field in here
        ]
        self.places = [(field.key[depth], place) for place, field in here]
        below: dict[str, list[tuple[int, Field]]] = {}
        for place, field in placed:
            if len(field.key) > depth + 1:
                below.setdefault(field.key[depth], []).append((place, field))
        self.children = [(name, RowTree(owner, (*key, name), some, rows)) for name, some in below.items()]
        self.size = len(self.leaves) + len(self.children)

    def match(self, data: Any, lead: tuple[int, ...], matched: list[tuple[Any, Any]]) -> None:
        """Adds to ``matched`` each column with what is to be written there: data of dimensions ``lead`` of items.

        Raises:
            ValueError: keys, shapes or dtypes are others.
        """
        if isinstance(data, TensorDictBase):
            data = entries(data)
        elif data.__class__ is not dict and not isinstance(data, Mapping):
            raise self._other_keys(data)
        if len(data) != self.size:
            raise self._other_keys(data)
        get = data.get
        in_numpy = self.in_numpy
        for name, column, dtype, array_dtype, shape, field in self.leaves:
            value = get(name)
            if value.__class__ is np.ndarray and value.dtype == array_dtype:
                array = value if in_numpy else self.rows.admit(torch.from_numpy(value))
            elif value.__class__ is Tensor:
                if value.dtype is not dtype:
                    raise self._other_form(field, value, lead)
                try:
                    array = value.numpy() if in_numpy else self.rows.admit(value)
                except (RuntimeError, TypeError):  # it has a gradient, is elsewhere, or of a dtype unknown to numpy
                    array = self.rows.admit(value)
            elif value is None:
                raise self._other_keys(data)
            elif isinstance(value, Tensor) and value.dtype is dtype:
                array = self.rows.admit(value)
            else:
                raise self._other_form(field, value, lead)
            if array.shape != lead + shape:
                raise self._other_form(field, value, lead)
            matched.append((column, array))
        for name, child in self.children:
            value = get(name)
            if value is None:
                raise self._other_keys(data)
            child.match(value, lead, matched)

    def build(self, values: list[Tensor], size: torch.Size) -> TensorDict:
        """A TensorDict of batch size ``size`` over the values of all fields."""
        made: dict[str, Any] = {name: values[place] for name, place in self.places}
        for name, child in self.children:
            made[name] = child.build(values, size)
        return unchecked(made, size)

    def _other_form(self, field: Field, value: Any, lead: tuple[int, ...]) -> ValueError:
        found = type(value).__name__
        if isinstance(value, Tensor | np.ndarray):
            here = list(value.shape[len(lead) :] if tuple(value.shape[: len(lead)]) == lead else value.shape)
            found = f"{here} and {value.dtype}"
        return ValueError(
            f"{self.owner}: expected {spelled(field.key)} of shape {list(field.shape)} and dtype "
            f"{field.dtype}, as first written; found {found}"
        )

    def _other_keys(self, data: Any) -> ValueError:
        expected = sorted([leaf[0] for leaf in self.leaves] + [name for name, _ in self.children])
        where = f" under {spelled(self.key)}" if self.key else ""
        found = sorted(data.keys()) if isinstance(data, TensorDictBase | Mapping) else type(data).__name__
        return ValueError(f"{self.owner}: expected the keys {expected}{where}, as first written; found {found}")


def _shown(field: Field) -> np.dtype:
    """The dtype of numpy arrays that may be written to a field; one that none has, if numpy cannot tell it apart."""
    dtype = field.array_dtype
    return dtype if torch.from_numpy(np.empty(0, dtype)).dtype is field.dtype else np.dtype("V1")
