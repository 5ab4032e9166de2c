"""Check plain data against a tree of dataclasses, and say which entry is wrong and where it came from."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, TypeVar, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from envkit.spelling import closest
from zoo.errors import ConfigError

__all__ = ["field_paths", "validate"]

T = TypeVar("T")
Path = tuple[str | int, ...]

_STRICT: ConfigDict = {"extra": "forbid", "strict": True, "allow_inf_nan": False}


def field_paths(kind: type, prefix: str = "") -> list[str]:
    """List the dotted names of all fields of a dataclass and of the dataclasses inside it.

    Example:
        >>> from zoo.config import EvalConfig
        >>> field_paths(EvalConfig)
        ['episodes', 'first_seed', 'points', 'curve_episodes', 'kwargs']
    """
    hints = get_type_hints(kind)
    paths = []
    for field in dataclasses.fields(kind):
        paths.append(prefix + field.name)
        if dataclasses.is_dataclass(hints[field.name]):
            paths += field_paths(hints[field.name], f"{prefix}{field.name}.")
    return paths


def validate(kind: type[T], data: Any, origins: Mapping[Path, str], source: str) -> T:
    """Build ``kind`` from plain data, refusing unknown keys and every conversion that is not exact.

    Args:
        kind: A dataclass; its fields may be dataclasses.
        data: Nested dictionaries, lists and scalars. An integer is accepted for a float, a list for a tuple.
        origins: Where entries came from (a file and line, an option), by path; the nearest outer entry stands
            in for an inner one.
        source: Where the data came from as a whole.

    Raises:
        ConfigError: One line for each wrong entry, with its origin, what was expected and what was found.

    Example:
        >>> from zoo.config import EvalConfig
        >>> validate(EvalConfig, {"episodes": 5}, {}, "my.yaml")
        EvalConfig(episodes=5, first_seed=10000, points=50, curve_episodes=20, kwargs={})
        >>> validate(EvalConfig, {"epsiodes": 5}, {("epsiodes",): "my.yaml:1"}, "my.yaml")
        Traceback (most recent call last):
        ...
        zoo.errors.ConfigError: my.yaml:1: unknown key 'epsiodes'; did you mean 'episodes' ...
    """
    if not isinstance(data, dict):
        raise ConfigError(f"{source}: expected a mapping of keys to values, found {_shown(data)}")
    try:
        # In a tuple, because plain dataclasses take the settings of what surrounds them. As JSON, because
        # strict checks of Python values would want inner tuples and dataclasses ready-made.
        return TypeAdapter(tuple[kind], config=_STRICT).validate_json(json.dumps([data]))[0]  # type: ignore[valid-type]
    except ValidationError as error:
        problems = [_describe(kind, problem, data, origins, source) for problem in error.errors()]
        raise ConfigError("\n".join(dict.fromkeys(problems))) from None


def _describe(kind: type, problem: Any, data: Any, origins: Mapping[Path, str], source: str) -> str:
    location = problem["loc"][1:]
    path, inside = _known_part(location, data)
    where = next((origins[path[:n]] for n in range(len(path), 0, -1) if path[:n] in origins), source)
    key = ".".join(map(str, path))
    if problem["type"] == "unexpected_keyword_argument":
        return f"{where}: unknown key {key!r}{_suggestion(kind, path)}"
    if problem["type"] == "missing":
        return f"{where}: {'.'.join(map(str, location))!r} is required"
    if problem["type"] == "value_error":
        label = f"{key}: " if key else ""
        return f"{where}: {label}{problem['ctx']['error']}"
    if problem["type"] == "dataclass_type":
        return f"{where}: {key!r} should be a mapping of keys to values, found {_shown(inside)}"
    expected = problem["msg"].removeprefix("Input should be ")
    return f"{where}: {key!r} should be {expected}, found {_shown(inside)}"


def _known_part(location: Path, data: Any) -> tuple[Path, Any]:
    """Return the longest part of a location that leads into the data, without the names of union members."""
    for n, part in enumerate(location):
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return location[:n], data
    return location, data


def _suggestion(kind: type, path: Path) -> str:
    paths = field_paths(kind)
    outer, name = ".".join(map(str, path[:-1])), str(path[-1])
    siblings = [known.rpartition(".")[2] for known in paths if known.rpartition(".")[0] == outer]
    likely = [known for known in paths if known.rpartition(".")[2] == name]
    likely = likely or [f"{outer}.{near}" if outer else near for near in closest(name, siblings)]
    return f"; did you mean {' or '.join(map(repr, likely))}?" if likely else f"; known here: {', '.join(siblings)}"


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
