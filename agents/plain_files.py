"""Plain data in files: JSON, and YAML where PyYAML is installed."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any

from envkit.errors import MissingDependencyError

__all__ = ["MAX_BYTES", "read_plain", "write_plain"]

MAX_BYTES = 1_000_000
YAML = (".yaml", ".yml")
SUFFIXES = (".json", *YAML)
# PyYAML reads YAML 1.1, in which 1e-3 lacks a dot and is a string.
EXPONENT = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$")


def read_plain(path: str | os.PathLike) -> dict[str, Any]:
    """Reads a mapping from a JSON or YAML file of at most a megabyte. Runs nothing that it finds there.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: its name ends otherwise, it is too large, or it holds something else than a mapping of plain data.
        MissingDependencyError: it is YAML, and PyYAML is not installed.
    """
    path = Path(path)
    kind = _kind(path)
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"{path}: expected at most {MAX_BYTES:,} bytes, found more")
    try:
        text = content.decode("utf-8")
        data = _of_yaml(text) if kind == "yaml" else json.loads(text)
        if not isinstance(data, dict):
            raise ValueError(f"expected a mapping of names to values, found {type(data).__name__}")
        check_plain(data)
    except RecursionError:
        raise ValueError(f"{path}: expected plain data, found one too deep to read") from None
    except (TypeError, ValueError) as error:  # JSON and Unicode errors are of the latter kind
        raise ValueError(f"{path}: {error}") from error
    return data


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
    text = _to_yaml(data) if kind == "yaml" else json.dumps(data, indent=2, ensure_ascii=False) + "\n"
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


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise MissingDependencyError("YAML needs PyYAML: pip install 'envkit[zoo]', or use JSON") from error
    return yaml


def _with_exponents(base: type) -> Any:
    """A loader or dumper of YAML to which what looks like a number with an exponent is one."""
    derived: Any = type(base.__name__, (base,), {})
    derived.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, [*"-+.0123456789"])
    return derived


def _to_yaml(data: dict[str, Any]) -> str:
    yaml = _yaml()
    return yaml.dump(data, Dumper=_with_exponents(yaml.SafeDumper), sort_keys=False)


def _of_yaml(text: str) -> Any:
    yaml = _yaml()
    try:
        # A few nested aliases of a small file can stand for more data than fits in memory.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise ValueError("expected values written out, found an alias (*name)")
        return yaml.load(text, _with_exponents(yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ValueError(f"expected YAML of plain data: {error}") from error
