from __future__ import annotations

import pytest
import torch
from tensordict import LazyStackedTensorDict, TensorDict

from envkit import Bounded, EnvDataError, PolicyError, StackedComposite, Unbounded
from envkit.libs.grouped_agents import GroupedAgents, flat

NAMES = ["a", "b", "c"]
SIZE = torch.Size([2])


def column(value):
    return torch.full((2, 1), float(value))


def teams(*sizes):
    """Agents a and c in one group, b in another, with observations of some sizes."""
    made = GroupedAgents(NAMES, {"red": ["c", "a"], "blue": ["b"]})
    return made, made.specs([{("observation",): Unbounded((size,))} for size in sizes])


def test_groups_have_their_own_order_of_agents():
    made, spec = teams(1, 1, 1)
    data = made.packed([{("x", "y"): column(i)} for i in range(3)], {"done": column(0)}, SIZE, None)
    assert spec["red", "observation"].shape == (2, 1)
    assert data["red", "x", "y"][0, :, 0].tolist() == [2, 0]
    assert data["blue", "x"].batch_size == (2, 1)
    assert data["done"].shape == (2, 1)


def test_actions_go_back_to_the_simulators_order():
    made, _ = teams(1, 1, 1)
    red, blue = torch.tensor([[2, 0], [2, 0]]), torch.tensor([[1], [1]])
    data = TensorDict({"red": {"action": red}, "blue": {"action": blue}}, SIZE)
    assert [action.tolist() for action in made.actions(data)] == [[0, 0], [1, 1], [2, 2]]
    with pytest.raises(PolicyError, match=r"\('blue', 'action'\) is missing .* found \[\"\('red', 'action'\)\"\]"):
        made.actions(data.exclude("blue"))
    with pytest.raises(PolicyError, match=r"\('red', 'action'\) is missing"):
        made.actions(data.exclude(("red", "action")))


def test_agents_that_differ_make_a_lazy_stack():
    made, spec = teams(1, 2, 3)
    assert made.differ == {"red": True, "blue": False}
    assert isinstance(spec["red"], StackedComposite)
    made.specs([{("action",): Bounded(-1, 1, (2,))}] * 3)
    assert made.differ == {"red": True, "blue": False}
    data = made.packed([{("observation",): torch.ones(2, i + 1)} for i in range(3)], {}, SIZE, None)
    assert isinstance(data["red"], LazyStackedTensorDict)
    assert [data["red"][:, i]["observation"].shape[1] for i in range(2)] == [3, 1]
    for i in range(2):
        data["red"][:, i]["action"] = column(i)
    data["blue"]["action"] = torch.zeros(2, 1, 1)
    assert [action[0, 0].item() for action in made.actions(data)] == [1, 0, 0]


def test_agents_alike_have_the_same_entries():
    made, _ = teams(1, 1, 1)
    with pytest.raises(EnvDataError, match=r"'a' in 'red': expected the entries \[\('x',\)\], found \[\('y',\)\]"):
        made.packed([{("y",): column(0)}, {("x",): column(1)}, {("x",): column(2)}], {}, SIZE, None)


def test_flat():
    value = {"near": column(1), "far": {"left": column(2)}}
    assert list(flat(value, ("info",))) == [("info", "near"), ("info", "far", "left")]
    assert list(flat(column(1), ("info",))) == [("info",)]
