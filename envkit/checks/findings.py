"""What is wrong with an env, one line each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tensordict import NestedKey

from envkit.core.plan import path_of

__all__ = ["Finding", "Findings", "table"]

WIDEST = 60


class Finding(NamedTuple):
    """One thing that is wrong with an env: where, what was expected, what was found, and the likely fix."""

    where: str
    key: str
    expected: str
    found: str
    fix: str


class Findings:
    """Findings in the order in which they were made; the same thing at a later step is not repeated."""

    def __init__(self) -> None:
        self._by_kind: dict[tuple[str, str, str], Finding] = {}

    def add(self, where: str, key: NestedKey, expected: str, found: str, fix: str) -> None:
        """Notes a finding."""
        name = ".".join(map(str, path_of(key)))
        self._by_kind.setdefault((where, name, fix), Finding(where, name, expected, found, fix))

    @property
    def all(self) -> list[Finding]:
        """All findings."""
        return list(self._by_kind.values())


def table(name: str, findings: Sequence[Finding]) -> str:
    """The findings in columns, one line each."""
    rows = [[" ".join(str(cell).split()) for cell in row] for row in (Finding._fields, *findings)]
    widths = [min(WIDEST, max(len(row[i]) for row in rows)) for i in range(len(Finding._fields))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    rule = "  ".join("-" * width for width in widths)
    count = f"{len(findings)} finding{'s' if len(findings) > 1 else ''}"
    return "\n".join([f"{name}: {count}", "", lines[0], rule, *lines[1:]])
