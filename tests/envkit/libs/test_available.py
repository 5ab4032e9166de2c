import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import envkit
from envkit import get_available_libraries
from envkit.cli import main
from envkit.libs.available import LIBRARIES

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
def test_every_row_names_what_there_is(library):
    for name in library.envs:
        assert callable(getattr(envkit, name))
    extra = re.fullmatch(r"pip install 'envkit\[(.+)\]'", library.install)
    if extra:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        assert extra[1] in project["optional-dependencies"]


def test_installed_ones_are_told_with_their_version():
    assert "gymnasium" in get_available_libraries()
    gymnasium = next(library for library in LIBRARIES if library.name == "gymnasium")
    assert gymnasium.version


def test_missing_ones_are_not(monkeypatch):
    monkeypatch.setattr("envkit.libs.available.find_spec", lambda name: None)
    assert get_available_libraries() == []
    assert LIBRARIES[0].version is None


def test_list_prints_a_line_each(capsys):
    assert main(["list"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["library", "state", "envs", "tested", "against"]
    assert [line.split()[0] for line in lines] == [library.name for library in LIBRARIES]
    assert re.search(r"^gymnasium +installed [\d.]+ +GymEnv, GymWrapper, GymVectorWrapper +library$", lines[0])


def test_list_as_data(capsys):
    assert main(["list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["library"] == "gymnasium"
    assert {row["tested against"] for row in rows} == {"library", "fake"}


def test_no_simulator_is_imported():
    code = (
        "import sys, envkit; from envkit.cli import main; from envkit.libs.available import LIBRARIES\n"
        "main(['list']); print([one.name for one in LIBRARIES if one.module in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "['gymnasium']"
