"""State as a tree: nested dicts and lists of tensors, arrays and plain values, taken apart for a file."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["join_state", "split_state"]

PLAIN = (str, int, float, bool, type(None))
# The names under which what JSON lacks is written; a dict with such a key is written as pairs.
TENSOR, ARRAY, TUPLE, PAIRS = "$tensor", "$array", "$tuple", "$pairs"
MARKS = frozenset({TENSOR, ARRAY, TUPLE, PAIRS})


def split_state(state: Any) -> tuple[Any, dict[str, Tensor]]:
    """Takes the tensors out of a state: returns what JSON can hold, and the tensors by name.

    Dicts (of any plain keys), lists, tuples, tensors, NumPy arrays and scalars, strings, numbers, bools and None come
    back from :func:`join_state` as they were. Tensors are neither copied nor moved.

    Raises:
        TypeError: something else is in it; says where.

    Examples:
        >>> plain, tensors = split_state({"net": {"w": torch.ones(2)}, "steps": 3, "shape": (1, 2)})
        >>> plain
        {'net': {'w': {'$tensor': 'net.w'}}, 'steps': 3, 'shape': {'$tuple': [1, 2]}}
        >>> join_state(plain, tensors)
        {'net': {'w': tensor([1., 1.])}, 'steps': 3, 'shape': (1, 2)}
        >>> split_state({"net": {"act": torch.nn.Tanh()}})
        Traceback (most recent call last):
        ...
        TypeError: state: expected tensors, arrays and plain values, found Tanh at 'net.act'
    """
    tensors: dict[str, Tensor] = {}
    return _split(state, "", tensors), tensors


def _split(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if type(value) in PLAIN:
        return value
    if isinstance(value, (Tensor, np.ndarray, np.generic)):
        name = path if path not in tensors else f"{path}#{len(tensors)}"
        if isinstance(value, Tensor):
            tensors[name] = value.detach()
            return {TENSOR: name}
        tensors[name] = torch.as_tensor(np.asarray(value))
        return {ARRAY: name}
    if isinstance(value, dict):
        items = [(key, _split(item, _inner(path, key), tensors)) for key, item in value.items()]
        if all(type(key) is str for key, _ in items) and not MARKS & value.keys():
            return dict(items)
        return {PAIRS: [[_split(key, path, tensors), item] for key, item in items]}
    if type(value) in (list, tuple):
        items = [_split(item, _inner(path, index), tensors) for index, item in enumerate(value)]
        return items if type(value) is list else {TUPLE: items}
    raise TypeError(f"state: expected tensors, arrays and plain values, found {type(value).__name__} at {path!r}")


def _inner(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def join_state(plain: Any, tensors: dict[str, Tensor]) -> Any:
    """Puts together what :func:`split_state` took apart.

    Raises:
        KeyError: a tensor is missing.
    """
    if isinstance(plain, list):
        return [join_state(item, tensors) for item in plain]
    if not isinstance(plain, dict):
        return plain
    if TENSOR in plain:
        return tensors[plain[TENSOR]]
    if ARRAY in plain:
        return tensors[plain[ARRAY]].numpy()
    if TUPLE in plain:
        return tuple(join_state(item, tensors) for item in plain[TUPLE])
    if PAIRS in plain:
        return {join_state(key, tensors): join_state(item, tensors) for key, item in plain[PAIRS]}
    return {key: join_state(item, tensors) for key, item in plain.items()}
