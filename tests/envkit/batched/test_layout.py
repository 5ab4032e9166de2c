from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from envkit import SerialEnv
from envkit.batched.layout import layout_of

ROWS = 5


@pytest.fixture
def layout(two_agents):
    return layout_of(SerialEnv(3, lambda: two_agents(shared_done=True)).plan)


def filled(layout):
    """The slabs in fresh memory, in which every element has a number of its own."""
    memory = np.zeros(layout.size(ROWS), np.uint8)
    slabs = layout.slabs(memory, ROWS)
    for slab in slabs:
        for number, column in enumerate(slab.columns.values()):
            column.copy_((torch.arange(column.numel()) + number).reshape(column.shape) % 2)
    return memory, slabs


def test_holds_what_an_env_says(layout):
    _, (root, following, masks) = filled(layout)
    assert set(root.columns) == set(layout.root.keys(True, True))
    assert set(following.columns) == set(layout.following.keys(True, True))
    assert root.columns["agent0", "val"].shape == (ROWS + 1, 3, 2)
    assert following.columns["agent0", "val"].shape == (ROWS, 3, 2)
    assert {column.shape for column in masks.columns.values()} == {(1, 3, 1)}


def test_columns_do_not_meet(layout):
    memory, slabs = filled(layout)
    kept = [column.clone() for slab in slabs for column in slab.columns.values()]
    for found, expected in zip(
        (column for slab in layout.slabs(memory, ROWS) for column in slab.columns.values()), kept, strict=True
    ):
        assert torch.equal(found, expected)
    every = [column for slab in slabs for column in slab.columns.values()]
    for i, column in enumerate(every):
        before = [other.clone() for other in every]
        column.logical_not_() if column.dtype is torch.bool else column.add_(1)
        assert [torch.equal(*pair) for pair in zip(every, before, strict=True)] == [i != j for j in range(len(every))]


def test_masks_are_numbered_alike_everywhere(layout):
    """A command names masks by bits: both sides must count them in one order, for whichever part of the batch."""
    _, (_, _, masks) = filled(layout)
    resets, steps = layout.applied(masks)
    assert [key for key, _ in resets] == ["_reset", ("agent0", "_reset"), ("agent1", "_reset")]
    assert [key for key, _ in steps] == ["_step", ("agent0", "_step"), ("agent1", "_step")]
    sent = pickle.loads(pickle.dumps(layout))
    some = sent.applied(masks, slice(1, 3))
    for ours, theirs in ((resets, some[0]), (steps, some[1])):
        for (key, mask), (name, part) in zip(ours, theirs, strict=True):
            assert key == name
            assert torch.equal(mask[1:3], part)
            part.fill_(True)
            assert mask[1:3].all()  # the same memory


def test_of_one_group(scripted):
    layout = layout_of(SerialEnv(2, scripted).plan)
    assert layout.reset_keys == ["_reset"]
    assert layout.step_keys == ["_step"]


def test_two_of_a_kind_are_equal(scripted, walk):
    def of(env, count=2):
        return layout_of(SerialEnv(count, env).plan)

    assert of(scripted) == of(scripted)
    assert of(scripted) != of(scripted, 3)
    assert of(scripted) != of(walk)


def test_is_in_memory_of_the_processor(scripted):
    plan = SerialEnv(2, scripted, device="cpu").plan
    assert layout_of(plan).root.device == torch.device("cpu")
    assert layout_of(SerialEnv(2, scripted).plan).root.device is None
