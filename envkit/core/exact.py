"""What envs return, taken into rows at once where it is exactly what rows hold.

Completing a TensorDict first, by reshaping and by cloning done flags, costs more than all the rest of a row's way.
Most envs, most of the time, return nothing that needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tensordict import NestedKey, TensorDict

from envkit.core.plan import Plan, path_of
from envkit.storage import Slab, entries, peek

__all__ = ["ExactEntries", "ExactStep"]


class ExactEntries:
    """Takes the entries of a TensorDict as arrays, provided that they are exactly what the columns of a slab hold.

    Arrays are compared at a fraction of what looking at tensors costs. Anything else, from a shape that lacks its last
    1 to a missing key, is left for the long way to complete or to refuse.

    Args:
        slab: what the entries are for; its columns at these keys are arrays.
        needed: keys that must be there.
        optional: keys that may be there.
        refused: keys that must not be there.

    Attributes:
        keys: the keys of what :meth:`read` returns, needed and optional ones.

    Examples:
        >>> import torch
        >>> from envkit.specs import Composite, Unbounded
        >>> exact = ExactEntries(Slab(Composite(x=Unbounded((2,)), y=Unbounded((1,))), rows=1), ["x"], ["y"])
        >>> exact.read(TensorDict({"x": torch.ones(2)}))
        [array([1., 1.], dtype=float32), None]
        >>> exact.read(TensorDict({"x": torch.ones(1, 2)})) is None
        True
    """

    def __init__(
        self,
        slab: Slab,
        needed: Sequence[NestedKey],
        optional: Sequence[NestedKey] = (),
        refused: Sequence[NestedKey] = (),
    ) -> None:
        self._size = slab.batch_size
        levels: dict[tuple[str, ...], tuple[list, set]] = {}
        for key in (*needed, *optional):
            path, array = path_of(key), slab.arrays[key]
            leaf = (path[-1], array.shape[1:], array.dtype, key in needed, key)
            levels.setdefault(path[:-1], ([], set()))[0].append(leaf)
        for key in refused:
            levels.setdefault(path_of(key)[:-1], ([], set()))[1].add(path_of(key)[-1])
        self.keys = [key for leaves, _ in levels.values() for *_, key in leaves]
        self._levels = [
            (prefix, [leaf[:-1] for leaf in leaves], unwanted) for prefix, (leaves, unwanted) in levels.items()
        ]

    def read(self, out: Any) -> list[Any] | None:
        """The arrays at :attr:`keys`, None where an optional one is missing; None if anything is not as expected."""
        if out.__class__ is not TensorDict or out.batch_size != self._size:
            return None
        found = []
        try:
            for prefix, leaves, unwanted in self._levels:
                level = peek(out, prefix) if prefix else out
                flat = {} if level is None else entries(level)
                if unwanted and not unwanted.isdisjoint(flat):
                    return None
                for name, shape, dtype, needed in leaves:
                    value = flat.get(name)
                    if value is not None:
                        value = value.numpy()
                        if value.shape != shape or value.dtype is not dtype:
                            return None
                    elif needed:
                        return None
                    found.append(value)
        except (AttributeError, RuntimeError, TypeError):  # no plain tensor of the CPU
            return None
        return found


class ExactStep:
    """Writes what a step returned into a row, and derives done flags there instead of in a TensorDict."""

    def __init__(self, plan: Plan, following: Slab) -> None:
        values = [*plan.observation_keys, *plan.reward_keys]
        self._exact = ExactEntries(following, values, plan.done_keys)
        place = {key: index for index, key in enumerate(self._exact.keys)}
        self._values = [(place[key], following.arrays[key]) for key in values]
        self._groups = [
            (group.derive, [place[key] for key in group.keys], [following.arrays[key] for key in group.keys])
            for group in plan.done_groups
        ]

    @staticmethod
    def suits(plan: Plan, following: Slab) -> bool:
        """Whether all columns are arrays, and flags booleans that can be derived from each other."""
        arrays = following.arrays
        if len(plan.done_keys) > sum(len(group.keys) for group in plan.done_groups):
            return False
        plain = all(arrays[key].__class__ is np.ndarray for key in plan.next_spec.keys(True, True))
        return plain and all(arrays[key].dtype == np.bool_ for key in plan.done_keys)

    def write(self, row: int, out: Any) -> bool | None:
        """Returns whether anything is done; None if the output is not exactly what rows hold."""
        values = self._exact.read(out)
        if values is None:
            return None
        ended = False
        for derive, places, arrays in self._groups:
            told = [values[place] for place in places]
            if told[0] is None and told[1] is None:
                return None
            flags = derive(*told)
            for array, flag in zip(arrays, flags, strict=False):  # where nothing is truncated there are two arrays
                array[row] = flag
            if not ended and np.count_nonzero(flags[0]):
                ended = True
        for place, array in self._values:
            array[row] = values[place]
        return ended
