"""The table of docs/envs-page.md names tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/envs-page.md"
NAMED = re.findall(r"`([\w/]+\.py)::([\w:]+)`", PAGE.read_text())


@cache
def named_in(path: Path) -> set[str]:
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            names |= {f"{node.name}::{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return {name for name in names if name.split("::")[-1].startswith("test_")}


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED)))
def test_named_tests_exist(path, name):
    file = ROOT / "tests/envkit" / path
    assert file.is_file()
    assert name in named_in(file)


def test_every_row_names_a_test():
    rows = [
        line for line in PAGE.read_text().splitlines() if line.startswith("| ") and "what the page says" not in line
    ]
    assert len(rows) == len(NAMED) > 80
    for row in rows:
        assert re.search(r"\| `[\w/]+\.py::[\w:]+` \|$", row), row
