from __future__ import annotations

import pickle

import pytest

from envkit.errors import SpecError
from envkit.specs.keys import EntryError, below, named_call, split_key


def test_split_key():
    assert split_key(("a", ("b", "c"))) == ("a", "b", "c")
    for wrong in (3, (), ("a", 3), None):
        with pytest.raises(SpecError, match="expected a name or a tuple of names"):
            split_key(wrong)


def test_below():
    assert below("a", ()) == "a"
    assert below("a", "b") == below("a", ("b",)) == ("a", "b")
    assert below("a", ("b", "c")) == ("a", "b", "c")


def test_names_are_completed_level_by_level():
    def fail():
        raise SpecError("expected 1, found 2")

    with pytest.raises(SpecError, match=r"^\('a', 'b', 'c'\): expected 1, found 2$") as caught:
        named_call("a", named_call, "b", named_call, "c", fail)
    # Errors travel from worker processes to their parent.
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert isinstance(caught.value, EntryError)
