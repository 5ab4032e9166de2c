from __future__ import annotations

import copy

import pytest

from envkit.errors import LockedSpecError
from envkit.specs import Binary, Categorical, Composite


def tree():
    return Composite({"obs": Binary(shape=(4, 3)), "agent": {"mode": Categorical(5, (4,))}}, shape=(4,))


def test_locking_names_the_key():
    spec = tree().lock_()
    with pytest.raises(LockedSpecError, match=r"cannot modify a locked Composite: key \('agent', 'new'\)"):
        spec["agent", "new"] = None
    with pytest.raises(LockedSpecError, match="unlock the root"):
        spec["agent"].unlock_()
    spec["agent"].lock_()
    spec.unlock_()
    assert spec["agent"].is_locked
    assert spec["agent", "mode"].is_locked
    spec["agent"].unlock_()
    assert not spec["agent", "mode"].is_locked


def test_shared_children_stay_locked_while_one_parent_is():
    leaf = Categorical(3)
    first, second = Composite(a=leaf).lock_(), Composite(n={"a": leaf}).lock_()
    first.unlock_()
    assert leaf.is_locked
    second.unlock_()
    assert not leaf.is_locked


def test_lock_without_recursion():
    spec = tree().lock_(recurse=False)
    spec["agent"]["new"] = None
    assert ("agent", "new") in spec
    with pytest.raises(LockedSpecError):
        spec["new"] = None
    spec.lock_()
    assert spec["agent", "mode"].is_locked
    spec.unlock_()
    assert not spec["agent", "mode"].is_locked


def test_copies_of_held_children_are_free():
    spec = tree().lock_()
    held = copy.deepcopy(spec["agent"])
    assert not held.is_locked
    assert not held["mode"].is_locked
    whole = copy.deepcopy(spec)
    assert whole["agent", "mode"].is_locked
    with pytest.raises(LockedSpecError):
        whole["agent"].unlock_()
    assert not whole.unlock_()["agent", "mode"].is_locked
