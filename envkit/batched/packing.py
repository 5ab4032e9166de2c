"""Objects as bytes, for other processes.

Functions and classes of the main script travel by value (cloudpickle), lambdas included: a worker need not run that
script again, and so needs no ``if __name__ == "__main__"`` in it.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import pickle
import types
from typing import Any

import cloudpickle

from envkit.errors import SpecError

__all__ = ["packed", "packed_answer"]

DEEPEST = 12  # levels into which the search for what cannot be sent goes


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
        return cloudpickle.dumps(value)
    except Exception as error:
        raise SpecError(
            f"{name}: expected something that can be sent to another process, found {_culprit(value, '')}: {error}; "
            f"make it inside of the function that makes the env instead"
        ) from error


def packed_answer(value: Any) -> bytes:
    """``value``, for the process that began this one; by reference wherever that is enough, which is quicker."""
    try:
        return pickle.dumps(value)
    except Exception:
        return cloudpickle.dumps(value)


def _culprit(value: Any, path: str, depth: int = 0) -> str:
    """Where in ``value`` that is which cannot be pickled."""
    for name, part in _parts(value, path).items() if depth < DEEPEST else ():
        try:
            cloudpickle.dumps(part)
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
