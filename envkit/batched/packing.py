"""Objects as bytes, for other processes.

Functions and classes of the main script travel by value (cloudpickle), lambdas included: a worker need not run that
script again, and so needs no ``if __name__ == "__main__"`` in it. Plain tensors travel as arrays: torch's own way, a
file in its own format for each of them, takes ten times as long.
"""

from __future__ import annotations

import contextlib
import copyreg
import functools
import inspect
import io
import pickle
import types
from collections import ChainMap
from typing import Any

import cloudpickle
import numpy as np
import torch

from envkit.errors import SpecError

__all__ = ["dumps", "packed", "packed_answer"]

DEEPEST = 12  # levels into which the search for what cannot be sent goes


def _as_array(tensor: torch.Tensor) -> tuple:
    """How a tensor is pickled: as an array, if it is nothing but the numbers of one, perhaps repeated."""
    own = tensor.device.type == "cpu" and not tensor.requires_grad and tensor.dtype in ARRAYS and not tensor.__dict__
    if own and tensor.layout is torch.strided and not tensor.is_neg():
        once = tensor[tuple(slice(None) if step else slice(1) for step in tensor.stride())]
        if once.is_contiguous():
            return _from_array, (once.numpy(), tensor.shape)
    return tensor.__reduce_ex__(pickle.HIGHEST_PROTOCOL)


def _from_array(array: np.ndarray, shape: torch.Size) -> torch.Tensor:
    return torch.from_numpy(array).expand(shape)


ARRAYS = {torch.bool, torch.uint8, torch.int32, torch.int64, torch.float32, torch.float64}
# Of exactly this class: others know themselves how they are sent.
TENSORS: dict[type, Any] = {torch.Tensor: _as_array}
BY_REFERENCE, BY_VALUE = (
    ChainMap(TENSORS, rest) for rest in (copyreg.dispatch_table, cloudpickle.Pickler.dispatch_table)
)


class _ByReference(pickle.Pickler):
    dispatch_table = BY_REFERENCE


class _ByValue(cloudpickle.Pickler):
    dispatch_table = BY_VALUE


def _dumped(pickler: type[pickle.Pickler], value: Any) -> bytes:
    with io.BytesIO() as file:
        pickler(file, pickle.HIGHEST_PROTOCOL).dump(value)
        return file.getvalue()


def dumps(value: Any) -> bytes:
    """``value``, with what belongs to the main script by value.

    Examples:
        >>> pickle.loads(dumps({"x": torch.arange(3), "f": lambda x: x + 1}))["x"]
        tensor([0, 1, 2])
    """
    return _dumped(_ByValue, value)


def packed(name: str, value: Any) -> bytes:
    """``value``, ready for another process.

    Raises:
        SpecError: it, or something it refers to, cannot be pickled; the message says what.

    Examples:
        >>> import pickle
        >>> pickle.loads(packed("create_env_fn", lambda: 3))()
        3
    """
    try:
        return dumps(value)
    except Exception as error:
        raise SpecError(
            f"{name}: expected something that can be sent to another process, found {_culprit(value, '')}: {error}; "
            f"make it inside of the function that makes the env instead"
        ) from error


def packed_answer(value: Any) -> bytes:
    """``value``, for the process that began this one; by reference wherever that is enough, which is quicker."""
    try:
        return _dumped(_ByReference, value)
    except Exception:
        return dumps(value)


def _culprit(value: Any, path: str, depth: int = 0) -> str:
    """Where in ``value`` that is which cannot be pickled."""
    for name, part in _parts(value, path).items() if depth < DEEPEST else ():
        try:
            dumps(part)
        except Exception:
            return _culprit(part, name, depth + 1)
    return f"{path or 'it'} (a {type(value).__name__})"


def _parts(value: Any, path: str) -> dict[str, Any]:
    """What ``value`` refers to, by a name that a reader can follow."""
    if isinstance(value, functools.partial):
        bound = inspect.signature(value.func).bind_partial(*value.args, **value.keywords).arguments
        return {path or "it": value.func} | {f"{path}.{name}" if path else name: part for name, part in bound.items()}
    if isinstance(value, types.MethodType):
        return {path: value.__self__}
    if isinstance(value, dict):
        return {f"{path}[{key!r}]": part for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return {f"{path}[{i}]": part for i, part in enumerate(value)}
    if isinstance(value, types.FunctionType):
        seen: dict[str, Any] = {}
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=False):
            with contextlib.suppress(ValueError):  # an empty cell
                seen[name] = cell.cell_contents
        given = inspect.signature(value).parameters.values()
        seen |= {one.name: one.default for one in given if one.default is not one.empty}
        used = _names(value.__code__) & value.__globals__.keys()
        seen |= {name: value.__globals__[name] for name in sorted(used)}
        return {f"{path} -> {name}" if path else name: part for name, part in seen.items()}
    return {f"{path}.{name}": part for name, part in getattr(value, "__dict__", {}).items()}


def _names(code: types.CodeType) -> set[str]:
    """Names that a function, or one defined in it, looks up."""
    inner = (part for part in code.co_consts if isinstance(part, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))
