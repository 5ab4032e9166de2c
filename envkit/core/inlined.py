"""Policies without the TensorDicts between their modules.

A module of TensorDicts reads entries, computes, and writes entries. Where its network is small, reading and writing
cost more than the rest. A loop, which calls a policy over and over on entries of the same keys and shapes, can have
what it computes alone: a function on a plain dict of entries. The same operations are carried out in the same order,
so the results are the same to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from tensordict import NestedKey, TensorDict
from tensordict.nn import TensorDictModule, TensorDictSequential, skip_existing
from torch import Tensor, nn

from envkit.core.inlined_layers import on_tensors, runs_as_written, tells

__all__ = ["Entries", "of_module", "of_sequence", "on_entries"]

Entries = dict[NestedKey, Any]


def on_entries(module: Any, given: Collection[NestedKey]) -> Callable[[Entries], None] | None:
    """What a module of TensorDicts does, as a function that reads entries from a dict and writes others into it.

    To be called without gradients. It computes what the module would as it is now: where hooks, parts or parameters
    (rather than their values) are exchanged, ask again. Known are ``TensorDictModule`` and ``TensorDictSequential``
    without special options; other classes tell by a method ``on_entries(given)`` that is this function for their
    instances, and is not used for a subclass with another ``forward``.

    Args:
        module: anything.
        given: keys of the entries that will be there.

    Returns:
        The function; None where nothing is known.

    Examples:
        >>> import torch
        >>> double = TensorDictModule(lambda x: 2 * x, in_keys=["x"], out_keys=["y"])
        >>> entries = {"x": torch.ones(2)}
        >>> on_entries(double, ["x"])(entries)
        >>> entries["y"]
        tensor([2., 2.])
        >>> on_entries(double, ["z"]) is None
        True
    """
    if not (isinstance(module, nn.Module) and runs_as_written(module)) or skip_existing():
        return None
    if tells(module, "on_entries"):
        tell: Any = module.on_entries
        return tell(given)
    if isinstance(module, TensorDictSequential):
        return of_sequence(module, given) if _inherits(module, TensorDictSequential, "forward") else None
    if isinstance(module, TensorDictModule) and _inherits(module, TensorDictModule, "forward"):
        return of_module(module, given)
    return None


def _inherits(module: nn.Module, base: type, *methods: str) -> bool:
    return all(getattr(type(module), name) is getattr(base, name) for name in methods)


def of_sequence(sequence: TensorDictSequential, given: Collection[NestedKey]) -> Callable[[Entries], None] | None:
    """The same for what ``TensorDictSequential.forward`` does, for subclasses that add to it."""
    special = sequence.partial_tolerant or sequence._select_before_return or sequence.inplace in (False, "empty")
    if special or not _inherits(sequence, TensorDictSequential, "_run_module", "_module_iter"):
        return None
    present, parts = set(given), []
    for module in sequence._module_iter():
        part = on_entries(module, present)
        if part is None:
            return None
        parts.append(part)
        present.update(module.out_keys)

    def run(entries: Entries) -> None:
        for part in parts:
            part(entries)

    return run


def of_module(module: TensorDictModule, given: Collection[NestedKey]) -> Callable[[Entries], None] | None:
    """The same for what ``TensorDictModule.forward`` does, for subclasses that add to it."""
    by_position = module._kwargs is None and module.method is None and not module.method_kwargs
    known = _inherits(module, TensorDictModule, "_call_module", "_write_to_tensordict")
    if not (known and by_position and module.inplace is True) or module._get_kwargs:
        return None
    if not set(given).issuperset(module.in_keys):
        return None
    call, in_keys, out_keys = on_tensors(module.module), list(module.in_keys), list(module.out_keys)

    def run(entries: Entries) -> None:
        out = call(*[entries[key] for key in in_keys])
        if out.__class__ is Tensor and len(out_keys) == 1:
            entries[out_keys[0]] = out
        elif out.__class__ is tuple and len(out) == len(out_keys) and all(one.__class__ is Tensor for one in out):
            entries.update(zip(out_keys, out, strict=True))
        else:  # whatever else a module may return, tensordict knows
            made = TensorDictModule(lambda: out, in_keys=[], out_keys=out_keys)(TensorDict())
            entries.update((key, made.get(key)) for key in out_keys if key != "_")

    return run
