"""The tables of docs/old-agents-page.md name what there is."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

import agents
import envkit

PAGE = (Path(__file__).parents[2] / "docs/old-agents-page.md").read_text()
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| `")]
CONFIGS = [getattr(agents, name) for name in agents.__all__ if name.endswith("Config") and name != "Config"]
KNOWN = {
    *agents.__all__,
    *envkit.__all__,
    *(field.name for config in CONFIGS for field in dataclasses.fields(config)),
    *(name for kind in (agents.BaseAgent, agents.Config, agents.TableLogger, agents.PPO) for name in dir(kind)),
    # Arguments, and objects that are spoken of.
    *("callback", "hooks", "deterministic", "trainer", "agent", "env", "config", "loss", "output", "out_features"),
    *("distribution_class", "torch", "Linear", "TensorDict", "collections", "value", "log_prob"),
}


def names(cell: str) -> set[str]:
    """What backticks begin with, but for strings, ids and parentheses."""
    return set(re.findall(r"`([A-Za-z_]\w*)", re.sub(r"`[\w-]+-v\d`", "", cell)))


def test_the_page_has_its_rows():
    assert len(ROWS) > 50
    assert all(len(row) in (2, 3) for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_new_names_are_there(row):
    cell = row[0] if row[-1].startswith("the same") else row[-1]
    assert names(cell) <= KNOWN
