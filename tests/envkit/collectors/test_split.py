from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import LazyStackedTensorDict, NonTensorData, NonTensorStack, TensorDict

from envkit import Collector, GymEnv, SerialEnv, split_trajectories

few = settings(deadline=None, max_examples=60, derandomize=True)


@st.composite
def batches(draw):
    """Steps of batch size ``[*envs, time]``, with the ends of trajectories."""
    size = (*draw(st.lists(st.integers(1, 3), max_size=2)), draw(st.integers(1, 9)))
    count = torch.Size(size).numel()
    done = torch.tensor(draw(st.lists(st.booleans(), min_size=count, max_size=count))).reshape(size)
    td = TensorDict(
        {
            "observation": torch.arange(1.0, 2 * count + 1).reshape(*size, 2),
            "action": torch.arange(1, count + 1).reshape(size),
            "next": {"done": done.unsqueeze(-1), "reward": torch.rand(*size, 1) + 1},
        },
        size,
    )
    numbers, number = torch.zeros(size, dtype=torch.int64), 0
    for env, ends in zip(numbers.reshape(-1, size[-1]), done.reshape(-1, size[-1]), strict=True):
        for t, end in enumerate(ends):
            env[t] = number
            number += bool(end)
        number += 1
    return td, numbers


def by_hand(td, numbers):
    """The trajectories, one step after the other."""
    rows = []
    for env, of_env in zip(td.reshape(-1, td.shape[-1]), numbers.reshape(-1, td.shape[-1]), strict=True):
        for t, number in enumerate(of_env.tolist()):
            if t == 0 or number != of_env[t - 1]:
                rows.append([])
            rows[-1].append(env[t])
    return rows


def check(found, mask, expected):
    longest = max(map(len, expected))
    assert found.batch_size == mask.shape == (len(expected), longest)
    assert mask.dtype is torch.bool
    for row, inside, steps in zip(found, mask, expected, strict=True):
        assert inside.tolist() == [t < len(steps) for t in range(longest)]
        for t in range(longest):
            for key, value in row[t].items(True, True):
                there = steps[t][key] if t < len(steps) else torch.zeros_like(value)
                assert value.dtype == there.dtype
                assert torch.equal(value, there), key


@few
@given(batches())
def test_by_flags(batch):
    td, numbers = batch
    before = td.clone()
    found = split_trajectories(td)
    check(found.exclude("mask"), found["mask"], by_hand(td, numbers))
    assert found.names == [None, "time"]
    assert (td == before).all()
    assert set(td.keys(True, True)) == set(before.keys(True, True))


@few
@given(batches(), st.integers(0, 9))
def test_by_numbers(batch, offset):
    td, numbers = batch
    td["collector"] = TensorDict({"traj_ids": numbers + offset}, td.batch_size)
    # The numbers have the last word: flags that would say something else are not looked at.
    td["next", "done"] = ~td["next", "done"]
    found = split_trajectories(td)
    check(found.exclude(("collector", "mask")), found["collector", "mask"], by_hand(td, numbers))


@few
@given(batches(), st.booleans())
def test_nested(batch, by_numbers):
    td, numbers = batch
    if by_numbers:
        td["collector"] = TensorDict({"traj_ids": numbers}, td.batch_size)
    expected = by_hand(td, numbers)
    found = split_trajectories(td, as_nested=True)
    assert found.batch_size == (len(expected),)
    assert set(found.keys(True, True)) == set(td.keys(True, True))
    for key, value in found.items(True, True):
        assert value.is_nested
        for row, steps in zip(value.unbind(), expected, strict=True):
            assert torch.equal(row, torch.stack([step[key] for step in steps]))


def test_the_same_number_in_two_envs_stands_for_two_trajectories():
    numbers = torch.tensor([[3, 3, 5], [3, 3, 3]])
    td = TensorDict({"x": torch.arange(1, 7).reshape(2, 3), "traj_ids": numbers}, [2, 3])
    found = split_trajectories(td)
    assert found["x"].tolist() == [[1, 2, 0], [3, 0, 0], [4, 5, 6]]
    assert found["traj_ids"].tolist() == [[3, 3, 0], [5, 0, 0], [3, 3, 3]]


def test_numbers_that_come_back_later_begin_a_row():
    td = TensorDict({"x": torch.tensor([1, 2, 3]), "traj_ids": torch.tensor([7, 8, 7])}, [3])
    assert split_trajectories(td)["x"].tolist() == [[1], [2], [3]]


class TestKeys:
    done = torch.tensor([False, True, False, False])
    other = torch.tensor([True, False, False, False])

    def data(self, **entries):
        return TensorDict({"x": torch.arange(1, 5), **entries}, [4])

    def lengths(self, found, mask="mask"):
        return found[mask].sum(-1).tolist()

    def test_all_flags_below_next_count(self):
        following = {"done": self.done, "agents": TensorDict({"truncated": self.other}, [4])}
        assert self.lengths(split_trajectories(self.data(next=following))) == [1, 1, 2]

    def test_flags_of_several_agents(self):
        flags = torch.stack([self.done, self.other], -1).unsqueeze(-1)
        assert self.lengths(split_trajectories(self.data(next={"agents": {"done": flags}}))) == [1, 1, 2]

    def test_done_key(self):
        td = self.data(next={"done": self.done, "other": self.other}, traj_ids=torch.zeros(4))
        assert self.lengths(split_trajectories(td, done_key=("next", "other"))) == [1, 3]
        assert self.lengths(split_trajectories(td, done_key=("next", "done"))) == [2, 2]
        assert self.lengths(split_trajectories(td)) == [4]

    def test_trajectory_key(self):
        td = self.data(collector={"traj_ids": torch.zeros(4)}, number=torch.tensor([[1.0], [1.0], [1.0], [2.0]]))
        found = split_trajectories(td, trajectory_key="number")
        assert self.lengths(found, ("collector", "mask")) == [3, 1]

    def test_prefix(self):
        td = self.data(_data={"traj_ids": self.done.cumsum(0)}, next={"done": self.other})
        assert self.lengths(split_trajectories(td, prefix="_data"), ("_data", "mask")) == [1, 3]
        assert self.lengths(split_trajectories(td, prefix=("a", "b")), ("a", "b", "mask")) == [1, 3]
        assert self.lengths(split_trajectories(td)) == [1, 3]

    @pytest.mark.parametrize(
        ("options", "key"),
        [
            ({}, "'next', 'done'"),
            ({"done_key": "done"}, "'done'"),
            ({"trajectory_key": "number"}, "'number'"),
            ({"prefix": "collector"}, "'next', 'done'"),
        ],
    )
    def test_missing(self, options, key):
        with pytest.raises(KeyError, match=rf"{key}\)? is missing; found \['x'\]"):
            split_trajectories(self.data(), **options)

    def test_both(self):
        with pytest.raises(TypeError, match="trajectory_key and done_key: expected at most one of them"):
            split_trajectories(self.data(), trajectory_key="x", done_key="x")


class TestData:
    def test_without_time(self):
        with pytest.raises(ValueError, match=r"expected a last batch dimension of time, found batch size \[\]"):
            split_trajectories(TensorDict({"x": torch.zeros(3)}))

    @pytest.mark.parametrize("size", [(2, 0), (0, 2)])
    def test_of_nothing(self, size):
        td = TensorDict({"x": torch.zeros(*size, 3), "next": {"done": torch.zeros(*size, 1).bool()}}, size)
        found = split_trajectories(td)
        assert found.batch_size == found["mask"].shape == (0, 0)

    def test_other_data(self):
        names = NonTensorStack(*(NonTensorData(name) for name in "abc"))
        td = TensorDict({"name": names, "unit": NonTensorData("m", [3]), "traj_ids": torch.tensor([0, 0, 1])}, [3])
        found = split_trajectories(td)
        assert found["name"][0] == ["a", "b"]
        assert found["name"][1][0] == "c"
        assert found["unit"] == "m"
        with pytest.raises(TypeError, match=r"as_nested: expected tensors, found .* at 'name'"):
            split_trajectories(td, as_nested=True)

    def test_lazy_stacks(self):
        steps = [TensorDict({"x": torch.tensor([float(t)]), "traj_ids": torch.tensor(t // 2)}) for t in range(3)]
        found = split_trajectories(LazyStackedTensorDict.lazy_stack(steps))
        assert found["x"].squeeze(-1).tolist() == [[0, 1], [2, 0]]

    def test_steps_that_differ(self):
        steps = [TensorDict({"x": torch.zeros(t + 1), "next": {"done": torch.tensor([False])}}) for t in range(3)]
        with pytest.raises(ValueError, match="expected steps of one layout, found entries that differ"):
            split_trajectories(LazyStackedTensorDict.lazy_stack(steps))


@pytest.mark.parametrize("count", [1, 3])
def test_of_a_collector(count):
    env = SerialEnv(count, lambda: GymEnv("CartPole-v1")) if count > 1 else GymEnv("CartPole-v1")
    collector = Collector(env, frames_per_batch=90 * count)
    collector.set_seed(0)
    batch = collector.next()
    rows = split_trajectories(batch)
    mask = rows["collector", "mask"]
    assert rows["collector", "traj_ids"].shape == mask.shape
    assert torch.equal(rows["observation"][mask], batch["observation"].reshape(-1, 4))
    assert len(rows) == len(batch["collector", "traj_ids"].unique())
    last = mask.sum(-1) - 1
    ended = rows["next", "done"][torch.arange(len(rows)), last].squeeze(-1)
    assert int((~ended).sum()) <= count
