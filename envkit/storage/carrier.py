"""Short cuts into the data carrier, for entries that are known to fit.

A public constructor call checks and converts each entry, which costs several times a simulator's step when it
happens at every step on data that fits by construction. These functions reach past it. Everything
that knows how a ``TensorDict`` keeps its entries is in this file, and holds that knowledge against a real one when it
is imported: with a version that keeps them elsewhere, the public ways are taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from tensordict import LazyStackedTensorDict, NestedKey, TensorDict, TensorDictBase

__all__ = ["entries", "flat_items", "peek", "put", "unchecked"]


def _public(source: dict[str, Any], batch_size: torch.Size, device: torch.device | None = None) -> TensorDict:
    return TensorDict(source, batch_size, device=device)


def _direct(source: dict[str, Any], batch_size: torch.Size, device: torch.device | None = None) -> TensorDict:
    out = _new(TensorDict)
    out._tensordict = source
    out._batch_size = batch_size
    out._device = device
    out._td_dim_names = None
    return out


def _layout_is_known() -> bool:
    sample = torch.zeros(())
    built, direct = TensorDict({"a": sample}, []), _direct({"a": sample}, torch.Size(()))
    return (
        vars(built).keys() == vars(direct).keys()
        and type(built._tensordict) is dict
        and built._is_locked is False
        and direct.get("a") is sample
    )


_new = TensorDict.__new__
_KNOWN = _layout_is_known()

unchecked: Callable[..., TensorDict] = _direct if _KNOWN else _public
"""``unchecked(entries, batch_size, device=None)``: a TensorDict that takes over the dict ``entries`` as it is."""


def entries(tensordict: TensorDictBase) -> dict[str, Any]:
    """The first-level entries of a TensorDict, to be read only.

    Examples:
        >>> list(entries(TensorDict({"a": torch.zeros(2)}, [2])))
        ['a']
    """
    if _KNOWN and tensordict.__class__ is TensorDict:
        return tensordict._tensordict
    return dict(tensordict.items())


def peek(tensordict: TensorDictBase, key: NestedKey) -> Any:
    """The entry at ``key``, or None.

    Examples:
        >>> peek(TensorDict({"a": torch.zeros(2)}, [2]), "b") is None
        True
    """
    if not _KNOWN or tensordict.__class__ is not TensorDict:
        return tensordict.get(key, None)
    if key.__class__ is str:
        return tensordict._tensordict.get(key)
    value: Any = tensordict
    for name in key:
        if value.__class__ is not TensorDict:
            return None if value is None else tensordict.get(key, None)
        value = value._tensordict.get(name)
    return value


def put(tensordict: TensorDictBase, key: NestedKey, value: Any) -> None:
    """Sets an entry that is known to fit.

    Examples:
        >>> td = TensorDict({}, [2])
        >>> put(td, "a", torch.zeros(2))
        >>> td["a"].shape
        torch.Size([2])
    """
    level: Any = tensordict
    name: Any = key
    if key.__class__ is not str:
        name = key[-1]
        for part in key[:-1]:
            level = peek(level, part) if level.__class__ is TensorDict else None
    if _KNOWN and level.__class__ is TensorDict and not level._is_locked:
        level._tensordict[name] = value
    else:
        tensordict.set(key, value)


def flat_items(tensordict: TensorDictBase) -> Iterator[tuple[Any, Any]]:
    """All leaves with their paths; an element of a lazy stack is a number in the path, for its leaves may be its own.

    Examples:
        >>> unequal = [TensorDict({"x": torch.zeros(1)}), TensorDict({"x": torch.zeros(2), "y": torch.zeros(1)})]
        >>> [path for path, _ in flat_items(TensorDict({"g": TensorDict.lazy_stack(unequal)}))]
        [('g', 0, 'x'), ('g', 1, 'x'), ('g', 1, 'y')]
    """
    if isinstance(tensordict, LazyStackedTensorDict):
        parts: Any = enumerate(tensordict.unbind(tensordict.stack_dim))
    else:
        parts = tensordict.items()
    for name, value in parts:
        if isinstance(value, TensorDictBase):
            yield from (((name, *path), leaf) for path, leaf in flat_items(value))
        else:
            yield (name,), value
