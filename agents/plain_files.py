"""Plain data in files: JSON, and YAML where PyYAML is installed."""

from __future__ import annotations

import importlib
import json
import math
import os
from pathlib import Path
from typing import Any

from envkit.errors import MissingDependencyError

__all__ = ["MAX_BYTES", "read_plain", "read_text", "write_plain"]

MAX_BYTES = 1_000_000
YAML = (".yaml", ".yml")
SUFFIXES = (".json", *YAML)


def read_plain(path: str | os.PathLike) -> dict[str, Any]:
    """Reads a mapping from a JSON or YAML file of at most a megabyte. Runs nothing that it finds there.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: its name ends otherwise, it is too large, or it holds something else than a mapping of plain data.
        MissingDependencyError: it is YAML, and PyYAML is not installed.
    """
    path = Path(path)
    kind = _kind(path)
    text = read_text(path)
    try:
        data = _yaml().parse_yaml(text, str(path)).data if kind == "yaml" else _of_json(text, path)
    except RecursionError:
        raise ValueError(f"{path}: nested too deeply") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path}: expected a mapping of names to values, found {type(data).__name__}")
    try:
        check_plain(data)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    return data


def read_text(path: str | os.PathLike) -> str:
    """Reads UTF-8 text of at most a megabyte.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is larger, or no such text.
    """
    with Path(path).open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"{path}: expected at most {MAX_BYTES:,} bytes, found more")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text, found {error.reason} at byte {error.start}") from error


def write_plain(path: str | os.PathLike, data: dict[str, Any]) -> Path:
    """Writes what :func:`read_plain` returns the same. The file appears under its name once it is whole.

    Raises:
        TypeError: something in it is no plain data; says where.
        ValueError: the name ends neither with .json nor with .yaml, a number is not finite, or there is too much.
        MissingDependencyError: it is YAML, and PyYAML is not installed.

    Examples:
        >>> import tempfile
        >>> file = write_plain(Path(tempfile.mkdtemp()) / "a.json", {"lr": 1e-3, "sizes": [64, 64]})
        >>> read_plain(file)
        {'lr': 0.001, 'sizes': [64, 64]}
    """
    path = Path(path)
    kind = _kind(path)
    check_plain(data)
    text = _yaml().dump_yaml(data) if kind == "yaml" else json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    content = text.encode("utf-8")
    if len(content) > MAX_BYTES:
        raise ValueError(f"{path}: expected at most {MAX_BYTES:,} bytes, found {len(content):,}")
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    os.replace(partial, path)
    return path


def check_plain(value: Any, place: str = "") -> None:
    """Checks that there are only dicts with string keys, lists, strings, finite numbers, bools and None.

    Raises:
        TypeError, ValueError: there is something else; says where.
    """
    where = place or "the data"
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{where}: expected a word as key, found {key!r}")
            check_plain(item, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check_plain(item, f"{place}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where}: expected a finite number, found {value}")
    elif type(value) not in (str, int, float, bool, type(None)):
        raise TypeError(f"{where}: expected plain data, found {value!r} ({type(value).__name__})")


def _kind(path: Path) -> str:
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: expected a name that ends with one of {list(SUFFIXES)}, found {path.suffix!r}")
    return "yaml" if path.suffix in YAML else "json"


def _of_json(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _yaml() -> Any:
    try:
        return importlib.import_module("agents.yaml_data")
    except ImportError as error:
        raise MissingDependencyError("YAML needs PyYAML: pip install 'envkit[zoo]', or use JSON") from error
