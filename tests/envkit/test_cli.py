"""The `envkit` command."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from envkit.cli import main

MODULE = """
from envkit import GymEnv

class Liar(GymEnv):
    def __init__(self):
        super().__init__("CartPole-v1")

    def _step(self, tensordict):
        return super()._step(tensordict).exclude("reward")
"""


@pytest.fixture
def liar(tmp_path, monkeypatch):
    (tmp_path / "liars.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "liars:Liar"


def test_a_healthy_env(capsys):
    assert main(["check", "CartPole-v1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("CartPole-v1: nothing wrong\ncost: ")


def test_a_sick_env(liar, capsys):
    assert main(["check", "CartPole-v1", liar]) == 1
    out = capsys.readouterr().out
    assert "liars:Liar: 1 finding" in out
    assert "reward" in out


def test_json(liar, capsys):
    assert main(["check", "--json", liar]) == 1
    (verdict,) = json.loads(capsys.readouterr().out)
    assert verdict["env"] == liar
    assert [finding["key"] for finding in verdict["findings"]] == ["reward"]


@pytest.mark.parametrize(
    ("target", "message"), [("nowhere:make", "no module 'nowhere'"), ("CartPoel-v1", "did you mean 'CartPole-v1'")]
)
def test_nothing_of_that_name(target, message, capsys):
    assert main(["check", target]) == 2
    assert message in capsys.readouterr().err


def test_as_a_command(liar, tmp_path):
    done = subprocess.run([sys.executable, "-m", "envkit.cli", "check", liar], capture_output=True, text=True)
    assert done.returncode == 1
    assert "liars:Liar: 1 finding" in done.stdout
