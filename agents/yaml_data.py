"""YAML as plain data: the safe subset of the language, with the line on which each entry stands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from agents.plain_files import MAX_BYTES

__all__ = ["Document", "dump_yaml", "parse_yaml"]


class _PlainLoader(yaml.SafeLoader):
    """A safe loader that also refuses aliases and reads scalars as YAML 1.2 does.

    PyYAML's own scalars are those of YAML 1.1: ``1e-3`` is a string, ``no`` is false and ``1:30`` is 90.
    """

    yaml_implicit_resolvers: dict = {}  # noqa: RUF012 - declared without ClassVar by PyYAML's stubs

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            # A few nested aliases of a small file can expand to more data than fits in memory.
            raise yaml.composer.ComposerError(
                None, None, "aliases (*name) are not allowed, write the value out", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_float(self, node: Any) -> float:
        return float(node.value.replace(".inf", "inf").replace(".nan", "nan").lower())

    def construct_int(self, node: Any) -> int:
        return int(node.value)


class _PlainDumper(yaml.SafeDumper):
    """A safe dumper that quotes strings which either version of YAML would read as something else."""


_SCALARS = {
    "tag:yaml.org,2002:bool": (r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    "tag:yaml.org,2002:null": (r"~|null|Null|NULL|", [*"~nN", ""]),
    "tag:yaml.org,2002:int": (r"[-+]?[0-9]+", [*"-+0123456789"]),
    "tag:yaml.org,2002:float": (
        r"[-+]?(\.[0-9]+|[0-9]+\.?[0-9]*)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan",
        [*"-+.0123456789"],
    ),
}
_TAGS = {*_SCALARS, *(f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str"))}

for _tag, (_pattern, _first) in _SCALARS.items():
    for _class in (_PlainLoader, _PlainDumper):
        _class.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), _first)
_PlainLoader.add_constructor("tag:yaml.org,2002:int", _PlainLoader.construct_int)
_PlainLoader.add_constructor("tag:yaml.org,2002:float", _PlainLoader.construct_float)


class _PlacedError(ValueError):
    """What is wrong, and where."""


@dataclass(frozen=True)
class Document:
    """What a YAML text says, and where.

    Attributes:
        data: Nested dictionaries (with string keys), lists and scalars.
        lines: Line number, from 1, of every entry: ``{("agent", "lr"): 7}``. List items have integer parts.
    """

    data: Any
    lines: dict[tuple[str | int, ...], int]


def parse_yaml(text: str, source: str = "YAML") -> Document:
    """Parse one YAML document made of plain data.

    Args:
        text: The document, at most a million characters. Aliases, repeated keys and tags other than those of
            plain data are refused.
        source: Where the text came from, for error messages.

    Raises:
        ValueError: The text is no YAML, or not plain data.

    Example:
        >>> parse_yaml("lr: 1e-3\\nsizes: [64, 64]").data
        {'lr': 0.001, 'sizes': [64, 64]}
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"{source}: {len(text):,} characters, expected at most {MAX_BYTES:,}")
    lines: dict[tuple[str | int, ...], int] = {}
    loader = None
    try:
        loader = _PlainLoader(text)
        node = loader.get_single_node()
        if node is None:
            return Document(None, lines)
        _index(node, (), lines, source)
        return Document(loader.construct_document(node), lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}" if mark else source
        raise ValueError(f"{where}: {error.problem}") from error
    except _PlacedError as error:
        raise ValueError(str(error)) from None
    except (yaml.YAMLError, KeyError, ValueError) as error:
        raise ValueError(f"{source}: {error}") from error
    except RecursionError:
        raise ValueError(f"{source}: nested too deeply") from None
    finally:
        if loader is not None:
            loader.dispose()


def _index(node: Any, path: tuple[str | int, ...], lines: dict, source: str) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if node.tag not in _TAGS:
        raise _PlacedError(f"{source}:{node.start_mark.line + 1}: plain data has no tag {node.tag!r}")
    if isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            _index(item, (*path, position), lines, source)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.tag != "tag:yaml.org,2002:str":
                found = repr(key.value) if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                raise _PlacedError(f"{source}:{line}: expected a word as key, found {found}; quote it if it is one")
            entry = (*path, key.value)
            if entry in lines:
                raise _PlacedError(f"{source}:{line}: {key.value!r} is given twice, first on line {lines[entry]}")
            lines[entry] = line
            _index(value, entry, lines, source)


def dump_yaml(data: Any) -> str:
    """Write plain data as YAML that :func:`parse_yaml` reads back unchanged, in the order given.

    Example:
        >>> print(dump_yaml({"name": "ppo/CartPole-v1", "seed": 0}), end="")
        name: ppo/CartPole-v1
        seed: 0
    """
    return yaml.dump(data, Dumper=_PlainDumper, sort_keys=False, width=110)
