from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envkit.collectors.trajectories import TrajectoryCounter

few = settings(deadline=None, max_examples=50, derandomize=True)


@st.composite
def ends(draw):
    """Done flags ``[envs, time]``."""
    envs, time = draw(st.integers(1, 4)), draw(st.integers(1, 12))
    flags = draw(st.lists(st.booleans(), min_size=envs * time, max_size=envs * time))
    return torch.tensor(flags).reshape(envs, time)


def count_by_hand(done):
    """One step after the other; within a step, env after env."""
    envs, time = done.shape
    current, issued = list(range(envs)), envs
    out = torch.zeros(envs, time, dtype=torch.int64)
    for t in range(time):
        for env in range(envs):
            out[env, t] = current[env]
        for env in range(envs):
            if done[env, t]:
                current[env], issued = issued, issued + 1
    return out


@few
@given(ends())
def test_numbers_follow_the_order_in_which_trajectories_begin(done):
    found = TrajectoryCounter(len(done))(done)
    assert found.dtype is torch.int64
    assert torch.equal(found, count_by_hand(done))


@few
@given(ends(), st.data())
def test_batches_continue_each_other(done, data):
    cut = data.draw(st.integers(0, done.shape[1]))
    counter = TrajectoryCounter(len(done))
    parts = [counter(part) for part in (done[:, :cut], done[:, cut:])]
    assert torch.equal(torch.cat(parts, 1), count_by_hand(done))


@few
@given(ends())
def test_a_number_belongs_to_one_stretch_of_one_env(done):
    found = TrajectoryCounter(len(done))(done)
    for env, (numbers, flags) in enumerate(zip(found, done, strict=True)):
        changes = numbers.diff() != 0
        assert torch.equal(changes, flags[:-1])
        others = found[[i for i in range(len(done)) if i != env]]
        assert not torch.isin(numbers, others).any()


def test_restart():
    counter = TrajectoryCounter(2)
    before = counter(torch.tensor([[False, True], [False, False]]))
    counter.restart()
    after = counter(torch.tensor([[False], [False]]))
    assert not set(before.flatten().tolist()) & set(after.flatten().tolist())
    assert after[0] < after[1]
