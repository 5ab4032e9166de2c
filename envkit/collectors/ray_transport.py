"""Batches and weights as Ray's object store holds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict

from envkit.storage.carrier import entries, unchecked

__all__ = ["pack", "unpack"]


@dataclass(frozen=True)
class _Packed:
    """A TensorDict, with arrays in place of its tensors."""

    entries: dict[str, Any]
    layout: tuple[torch.Size, torch.device | None]
    names: Any


def pack(value: Any) -> Any:
    """``value`` with numpy arrays in place of the tensors of TensorDicts and dicts.

    Ray writes arrays straight into its shared memory, but pickles tensors byte by byte, at ten times the cost. What
    has no counterpart in numpy (bfloat16, lazy stacks, other objects) is left to it as it is.

    Args:
        value: its tensors are on the CPU.

    Examples:
        >>> pack({"weight": torch.zeros(2)})
        {'weight': array([0., 0.], dtype=float32)}
    """
    if type(value) is TensorDict:
        packed = {name: pack(entry) for name, entry in entries(value).items()}
        return _Packed(packed, (value.batch_size, value.device), value.names)
    if type(value) is dict:
        return {name: pack(entry) for name, entry in value.items()}
    if type(value) is torch.Tensor:
        try:
            return value.numpy()
        except TypeError:
            return value
    return value


def unpack(value: Any) -> Any:
    """What :func:`pack` was given, in memory of its own: arrays in Ray's store can only be read.

    Examples:
        >>> unpack(pack({"weight": torch.zeros(2)}))
        {'weight': tensor([0., 0.])}
    """
    if isinstance(value, _Packed):
        unpacked = unchecked({name: unpack(entry) for name, entry in value.entries.items()}, *value.layout)
        if any(value.names):
            unpacked.names = value.names
        return unpacked
    if type(value) is dict:
        return {name: unpack(entry) for name, entry in value.items()}
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    return value
