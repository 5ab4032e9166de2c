import importlib
import subprocess
import sys

import pytest

import agents
from agents import (
    algorithms,
    checkpoint,
    config,
    descent,
    evaluation,
    exploration,
    legacy,
    nn,
    objectives,
    replay,
    returns,
    trainer,
)

PARTS = [
    algorithms,
    checkpoint,
    config,
    descent,
    evaluation,
    exploration,
    legacy,
    nn,
    objectives,
    replay,
    returns,
    trainer,
]
FOREIGN = ["zoo", "matplotlib", "tensorboard", "rich", "typer", "yaml"]


def order(name):
    """Constants, then classes, then functions, each by the alphabet."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


@pytest.mark.parametrize("module", [agents, *PARTS], ids=lambda module: module.__name__)
def test_public_names_are_sorted_and_there(module):
    assert module.__all__ == sorted(set(module.__all__), key=order)
    assert not [name for name in module.__all__ if not hasattr(module, name)]


def test_every_public_name_of_a_part_is_exported_flat():
    assert set(agents.__all__) == {name for part in PARTS for name in part.__all__}
    for part in PARTS:
        for name in part.__all__:
            assert getattr(agents, name) is getattr(part, name), name


@pytest.mark.parametrize("name", agents.__all__)
def test_every_public_name_is_documented(name):
    thing = getattr(agents, name)
    assert thing.__doc__, name
    if isinstance(thing, type) and thing.__module__.startswith("agents"):
        own = [member for key, member in vars(thing).items() if not key.startswith("_") and callable(member)]
        assert all(member.__doc__ for member in own), own


def test_names_say_where_they_live():
    for name in agents.__all__:
        home = getattr(agents, name).__module__
        if home.startswith("agents"):
            assert name in importlib.import_module(home).__all__


def test_import_needs_neither_the_zoo_nor_its_dependencies():
    code = f"import sys, agents; print([name for name in {FOREIGN} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""
