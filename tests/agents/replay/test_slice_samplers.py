import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from agents.replay import (
    LazyTensorStorage,
    ListStorage,
    PrioritizedSliceSampler,
    ReplayBuffer,
    RoundRobinWriter,
    SliceSampler,
    SliceSamplerWithoutReplacement,
    TensorDictMaxValueWriter,
    TensorDictReplayBuffer,
)

SAMPLERS = {
    "uniform": SliceSampler,
    "once": SliceSamplerWithoutReplacement,
    "prioritized": lambda **options: PrioritizedSliceSampler(10_000, 1.0, 1.0, **options),
}


class Source:
    """Steps of some sequences with trajectories of random lengths; each step knows its trajectory and place."""

    def __init__(self, streams, seed, longest=6):
        self.rng = np.random.default_rng(seed)
        self.longest = longest
        self.issued = 0
        self.left = [0] * streams
        self.trajectory = [0] * streams
        self.place = [0] * streams

    def steps(self, count):
        streams = len(self.left)
        out = {name: np.zeros((streams, count), int) for name in ("trajectory", "place", "done")}
        for t in range(count):
            for b in range(streams):
                if not self.left[b]:
                    self.issued += 1
                    self.trajectory[b], self.place[b] = self.issued, 0
                    self.left[b] = int(self.rng.integers(1, self.longest + 1))
                self.left[b] -= 1
                out["trajectory"][b, t], out["place"][b, t] = self.trajectory[b], self.place[b]
                out["done"][b, t] = not self.left[b]
                self.place[b] += 1
        done = torch.from_numpy(out["done"]).bool().unsqueeze(-1)
        following = {"done": done, "truncated": torch.zeros_like(done)}
        data = {"trajectory": torch.from_numpy(out["trajectory"]), "place": torch.from_numpy(out["place"])}
        data = TensorDict({**data, "next": following}, [streams, count])
        return data if streams > 1 else data[0]


def held(storage):
    """Which trajectories are held, and the places of their steps."""
    rows = storage.get(torch.arange(len(storage)))
    out = {}
    for trajectory, place in zip(rows["trajectory"].tolist(), rows["place"].tolist(), strict=True):
        out.setdefault(trajectory, []).append(place)
    return {trajectory: sorted(places) for trajectory, places in out.items()}


def cut(batch):
    """The slices of a batch, by the flags: (trajectory, places) each."""
    slices, current = [], []
    done = batch["next", "done"].flatten().tolist()
    for i in range(len(batch)):
        current.append((batch["trajectory"][i].item(), batch["place"][i].item()))
        if done[i]:
            slices.append(current)
            current = []
    assert not current
    return slices


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(sorted(SAMPLERS)),
    st.integers(1, 3),
    st.lists(st.integers(1, 12), min_size=1, max_size=6),
    st.integers(1, 4),
    st.booleans(),
    st.booleans(),
    st.integers(0, 9_999),
)
def test_slices_are_neighbouring_steps_of_one_trajectory(kind, streams, parts, length, strict, by_number, seed):
    keys = {"traj_key": "trajectory"} if by_number else {}
    sampler = SAMPLERS[kind](slice_len=length, strict_length=strict, **keys)
    generator = torch.Generator().manual_seed(seed)
    storage = LazyTensorStorage(20, ndim=2 if streams > 1 else 1)
    buffer = TensorDictReplayBuffer(storage, sampler, generator=generator)
    source = Source(streams, seed)
    for part in parts:
        buffer.extend(source.steps(part))
        there = held(storage)
        eligible = {t: places for t, places in there.items() if len(places) >= (length if strict else 1)}
        if not eligible:
            with pytest.raises(ValueError, match=f"expected a trajectory of at least {length} steps, found none"):
                buffer.sample(3 * length)
            continue
        for part_of_batch in cut(buffer.sample(3 * length)):
            (trajectory,) = {t for t, _ in part_of_batch}
            places = [place for _, place in part_of_batch]
            assert trajectory in eligible
            assert places == list(range(places[0], places[0] + len(places)))
            assert set(places) <= set(eligible[trajectory])
            assert len(places) == min(length, len(eligible[trajectory]))


def of_lengths(*lengths):
    """One sequence of whole trajectories."""
    trajectory = torch.cat([torch.full((length,), number) for number, length in enumerate(lengths)])
    place = torch.cat([torch.arange(length) for length in lengths])
    done = torch.cat([torch.arange(length) == length - 1 for length in lengths]).unsqueeze(-1)
    following = {"done": done, "truncated": torch.zeros_like(done)}
    return TensorDict({"trajectory": trajectory, "place": place, "next": following}, [len(place)])


def test_trajectories_and_starts_are_uniform():
    torch.manual_seed(0)
    buffer = TensorDictReplayBuffer(LazyTensorStorage(100), SliceSampler(slice_len=2))
    buffer.extend(of_lengths(2, 3, 1, 5))
    batch = buffer.sample(24_000)[::2]
    found = {}
    for trajectory, place in zip(batch["trajectory"].tolist(), batch["place"].tolist(), strict=True):
        found[trajectory, place] = found.get((trajectory, place), 0) + 1 / 12_000
    expected = {(0, 0): 1 / 3, (1, 0): 1 / 6, (1, 1): 1 / 6, **{(3, place): 1 / 12 for place in range(4)}}
    assert found.keys() == expected.keys()
    assert all(abs(found[key] - expected[key]) < 0.02 for key in expected)


def test_few_long_trajectories_among_many_short_ones():
    torch.manual_seed(0)
    for name in ("uniform", "prioritized"):
        buffer = TensorDictReplayBuffer(LazyTensorStorage(10_000), SAMPLERS[name](slice_len=3))
        buffer.extend(of_lengths(*[1] * 8_000, 4, *[1] * 1_900))
        assert buffer.sample(9)["trajectory"].unique().tolist() == [8_000]


def test_flags_at_the_ends_of_slices():
    buffer = TensorDictReplayBuffer(LazyTensorStorage(100), SliceSamplerWithoutReplacement(slice_len=2, shuffle=False))
    buffer.extend(of_lengths(2, 2))
    buffer.extend(of_lengths(3)[:2])
    batch = buffer.sample(6)
    assert batch["next", "done"].flatten().tolist() == [False, True] * 3
    assert batch["next", "truncated"].flatten().tolist() == [False] * 5 + [True]
    stored = buffer.storage.get(torch.arange(6))
    assert not stored["next", "truncated"].any()
    bare = TensorDictReplayBuffer(buffer.storage, SliceSampler(slice_len=2, truncated_key=None))
    assert not bare.sample(20)["next", "truncated"].any()


def test_each_trajectory_once():
    sampler = SliceSamplerWithoutReplacement(num_slices=2)
    buffer = TensorDictReplayBuffer(LazyTensorStorage(100), sampler, batch_size=4)
    buffer.extend(of_lengths(2, 3, 1, 5, 2, 2))
    for _ in range(3):
        batches = list(buffer)
        assert [len(batch) for batch in batches] == [4, 4, 2]
        seen = [t for batch in batches for t in batch["trajectory"][::2].tolist()]
        assert sorted(seen) == [0, 1, 3, 4, 5]


def test_priorities_choose_the_step():
    sampler = PrioritizedSliceSampler(100, 1.0, 1.0, eps=0.0, slice_len=3)
    buffer = TensorDictReplayBuffer(LazyTensorStorage(100), sampler)
    buffer.extend(of_lengths(5, 5, 2))
    priority = torch.zeros(12)
    priority[[1, 9, 10]] = torch.tensor([1.0, 3.0, 100.0])  # the last one is in a trajectory that is too short
    buffer.update_priority(torch.arange(12), priority)
    torch.manual_seed(0)
    batch = buffer.sample(12_000)
    slices = batch["place"].view(-1, 3)
    first = batch["trajectory"].view(-1, 3)[:, 0] == 0
    assert (slices[first] == torch.tensor([1, 2, 3])).all()
    assert (slices[~first] == torch.tensor([2, 3, 4])).all()
    assert abs(first.float().mean() - 0.25) < 0.02
    assert torch.equal(batch["_weight"].view(-1, 3), torch.where(first, 1.0, 1 / 3).unsqueeze(-1).expand(-1, 3))


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("keys", [{}, {"traj_key": "trajectory"}])
def test_state_goes_on_where_it_stopped(kind, keys):
    def make(seed):
        storage = LazyTensorStorage(24, ndim=2)
        generator = torch.Generator().manual_seed(seed)
        sampler = SAMPLERS[kind](slice_len=2, **keys)
        return TensorDictReplayBuffer(storage, sampler, batch_size=8, generator=generator)

    buffer, other, source = make(0), make(1), Source(2, 0)
    for count in (5, 9, 1, 7):
        buffer.extend(source.steps(count))
    buffer.sample()
    other.load_state_dict(buffer.state_dict())
    for _ in range(4):
        assert torch.equal(buffer.sample()["index"], other.sample()["index"])
        steps = source.steps(3)
        assert torch.equal(buffer.extend(steps), other.extend(steps))


def test_a_trajectory_longer_than_the_storage():
    buffer = TensorDictReplayBuffer(LazyTensorStorage(16), SliceSampler(slice_len=4))
    for start in range(0, 6_000, 3):
        place = torch.arange(start, start + 3)
        flags = torch.zeros(3, 1, dtype=torch.bool)
        following = {"done": flags, "truncated": flags}
        buffer.extend(TensorDict({"place": place, "next": following}, [3]))
    slices = buffer.sample(400)["place"].view(-1, 4)
    assert (slices.diff() == 1).all()
    assert slices.min() >= 6_000 - 16


def test_lists_of_tensordicts():
    buffer = ReplayBuffer(ListStorage(100), SliceSampler(slice_len=2))
    buffer.extend(of_lengths(4, 2))
    batch = buffer.sample(8)
    assert (batch["place"].view(-1, 2).diff() == 1).all()


def test_refused():
    with pytest.raises(ValueError, match="either num_slices or slice_len, found None and None"):
        SliceSampler()
    with pytest.raises(ValueError, match="either num_slices or slice_len, found 1 and 2"):
        SliceSampler(num_slices=1, slice_len=2)
    with pytest.raises(ValueError, match="at least 1, found num_slices=-1"):
        SliceSampler(num_slices=-1)
    buffer = ReplayBuffer(LazyTensorStorage(10), SliceSampler(slice_len=2))
    buffer.extend(of_lengths(4))
    with pytest.raises(ValueError, match="batch_size that is a multiple of slice_len=2, found 5"):
        buffer.sample(5)
    with pytest.raises(
        ValueError, match="SliceSampler expects a writer that keeps sequences together, found TensorDictM"
    ):
        ReplayBuffer(LazyTensorStorage(10), SliceSampler(slice_len=2), TensorDictMaxValueWriter("place"))
    assert ReplayBuffer(LazyTensorStorage(10), SliceSampler(slice_len=2), RoundRobinWriter()).writer.in_turn
    wide = ReplayBuffer(LazyTensorStorage(10), SliceSampler(slice_len=2))
    with pytest.raises(ValueError, match=r"'done'\): expected one value for each step, found shape \[2\]"):
        wide.extend(TensorDict({"next": {"done": torch.zeros(3, 2, dtype=torch.bool)}}, [3]))
