import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from agents.replay import LazyMemmapStorage, LazyTensorStorage
from agents.replay.packed_rows import DeviceRows

DTYPES = [
    torch.float32,
    torch.float64,
    torch.bfloat16,
    torch.uint8,
    torch.bool,
    torch.int64,
    torch.int16,
    torch.complex64,
]
leaves = st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 3), max_size=2))
trees = st.recursive(
    leaves,
    lambda inner: st.dictionaries(st.sampled_from(["a", "b", "next", "c"]), inner, min_size=1, max_size=3),
    max_leaves=8,
)
layouts = st.dictionaries(st.sampled_from(["x", "y", "next"]), trees, min_size=1, max_size=3)


def made_of(layout, count, generator):
    """Random bytes in the form of a layout."""
    out = {}
    for name, form in layout.items():
        if isinstance(form, dict):
            out[name] = made_of(form, count, generator)
            continue
        dtype, shape = form
        numbers = torch.randint(0, 100, (count, *shape), generator=generator)
        out[name] = numbers > 50 if dtype is torch.bool else numbers.to(dtype)
    return TensorDict(out, [count])


def same(found, expected):
    assert set(found.keys(True, True)) == set(expected.keys(True, True))
    for key in expected.keys(True, True):
        assert found[key].dtype is expected[key].dtype
        assert found[key].shape == expected[key].shape
        assert torch.equal(found[key], expected[key])


@settings(deadline=None, max_examples=60)
@given(layouts, st.lists(st.integers(0, 9), min_size=1, max_size=4), st.integers(0, 99))
def test_any_layout_comes_back_as_it_was(layout, sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    storage, kept = LazyTensorStorage(5), []
    for size in sizes:
        rows = made_of(layout, size, generator)
        index = storage.extend(rows)
        kept = (kept + list(rows.unbind(0)))[-5:]
        same(storage.get(index), rows[max(0, size - 5) :])
    assert len(storage) == len(kept)
    turn = (storage.count - len(kept) + torch.arange(len(kept))) % 5
    if kept:
        same(storage.get(turn), torch.stack(kept))
        key = next(iter(kept[0].keys(True, True)))
        assert torch.equal(storage.column(key, turn), torch.stack(kept)[key])


def two_envs(start, steps):
    """Steps of two envs, [sequences, time]: 0, 1, 2... and 100, 101, 102..."""
    number = torch.arange(start, start + steps) + torch.tensor([[0], [100]])
    return TensorDict({"number": number, "next": {"done": (number % 3 == 2).unsqueeze(-1)}}, [2, steps])


@pytest.mark.parametrize("parts", [(3, 4), (1, 1, 1, 4), (7,), (2, 9), (5, 5)])
def test_sequences_side_by_side(parts):
    storage, start = LazyTensorStorage(9, ndim=2), 0
    for steps in parts:
        index = storage.extend(two_envs(start, steps))
        start += steps
        kept = min(steps, 4)
        expected = [number + env for number in range(start - kept, start) for env in (0, 100)]
        assert storage.get(index)["number"].tolist() == expected
    assert (storage.max_size, storage.streams, len(storage)) == (8, 2, 2 * min(start, 4))
    newest = torch.arange(len(storage))
    held = storage.get(newest)["number"]
    assert torch.equal(storage.newer(newest), start - 1 - held % 100)


def test_sequences_that_do_not_fit():
    storage = LazyTensorStorage(9, ndim=2)
    storage.extend(two_envs(0, 1))
    with pytest.raises(ValueError, match="expected 2 sequences, as first written; found 1"):
        storage.extend(two_envs(0, 1)[:1])
    with pytest.raises(ValueError, match=r"expected 2 dimensions of items, found batch_size \[2\]"):
        storage.extend(two_envs(0, 1)[:, 0])
    with pytest.raises(ValueError, match=r"add: expected ndim=1, found 2"):
        storage.add(two_envs(0, 1)[0, 0])
    with pytest.raises(ValueError, match="max_size of at least one step of 2 sequences, found 1"):
        LazyTensorStorage(1, ndim=2).extend(two_envs(0, 1))
    with pytest.raises(ValueError, match="ndim of 1 or 2, found 3"):
        LazyTensorStorage(1, ndim=3)


def test_mappings_of_arrays_are_tensordicts():
    one, other = LazyTensorStorage(10), LazyTensorStorage(10)
    arrays = {"a": np.arange(6.0).reshape(3, 2), "next": {"done": np.array([True, False, True])}}
    rows = TensorDict(
        {"a": torch.arange(6.0).double().view(3, 2), "next": {"done": torch.tensor([True, False, True])}}, [3]
    )
    for _ in range(2):
        assert torch.equal(one.extend(arrays), other.extend(rows))
    same(one.get(torch.arange(6)), other.get(torch.arange(6)))
    assert one.add({"a": np.zeros(2), "next": {"done": np.array(True)}}) == 6
    with pytest.raises(ValueError, match=r"'a' of shape \[2\] and dtype torch.float64, as first written; found \[1\]"):
        one.extend({"a": np.zeros((3, 1)), "next": {"done": np.zeros(3, bool)}})
    with pytest.raises(ValueError, match=r"'a' of shape \[2\] and .*found \[2\] and float32"):
        one.extend({"a": np.zeros((3, 2), np.float32), "next": {"done": np.zeros(3, bool)}})


@pytest.mark.parametrize("kind", [LazyTensorStorage, LazyMemmapStorage])
def test_sparse_writes(kind):
    storage = kind(3)
    for index, value in ((0, 1), (1, 2), (0, 3)):
        storage.set(index, TensorDict({"a": torch.tensor(value)}))
    assert storage.get(torch.arange(len(storage)))["a"].tolist() == [3, 2]


def test_arrays_of_integers_are_no_bfloat16():
    storage = LazyTensorStorage(3)
    storage.extend(TensorDict({"a": torch.zeros(2, dtype=torch.bfloat16)}, [2]))
    with pytest.raises(ValueError, match=r"'a' of shape \[\] and dtype torch.bfloat16, .*found \[\] and int16"):
        storage.extend({"a": np.ones(2, np.int16)})


def test_more_than_the_machine_has():
    with pytest.raises(
        MemoryError, match=r"expected .* GiB for 1,000,000,000,000 items of 400 bytes, found a machine of"
    ):
        LazyTensorStorage(10**12).extend(TensorDict({"a": torch.zeros(1, 100)}, [1]))


def test_nothing_to_store():
    with pytest.raises(ValueError, match="at least one entry, found none"):
        LazyTensorStorage(3).extend(TensorDict({}, [2]))


def test_an_entry_that_is_not_there():
    storage = LazyTensorStorage(3)
    storage.extend(TensorDict({"a": torch.zeros(2)}, [2]))
    with pytest.raises(KeyError, match=r"expected an entry .*b.*, found .*a"):
        storage.column("b", torch.tensor([0]))


def test_states_of_other_layouts():
    one, other = LazyTensorStorage(4), LazyTensorStorage(4)
    one.extend(TensorDict({"a": torch.zeros(2)}, [2]))
    other.extend(TensorDict({"a": torch.zeros(2, 1)}, [2]))
    with pytest.raises(ValueError, match=r"expected a state of 1 sequences of .*found 1 of"):
        other.load_state_dict(one.state_dict())
    wide = LazyTensorStorage(4, ndim=2)
    wide.extend(two_envs(0, 1))
    with pytest.raises(ValueError, match="expected a state of ndim=1, found one of 2 sequences"):
        LazyTensorStorage(4).load_state_dict(wide.state_dict())


class Elsewhere(LazyTensorStorage):
    """Rows moved by torch, as on an accelerator, in the memory of the CPU."""

    def _allocate(self, layout):
        return DeviceRows(layout, torch.zeros(self.max_size, layout.size, dtype=torch.uint8))


@settings(deadline=None, max_examples=30)
@given(layouts, st.lists(st.integers(0, 9), min_size=1, max_size=4), st.integers(0, 99))
def test_rows_of_an_accelerator_are_those_of_the_cpu(layout, sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    one, other = Elsewhere(5), LazyTensorStorage(5)
    for size in sizes:
        rows = made_of(layout, size, generator)
        assert torch.equal(one.extend(rows), other.extend(rows))
    every = torch.arange(len(other))
    same(one.get(every), other.get(every))
    for key in other.get(every).keys(True, True):
        assert torch.equal(one.column(key, every), other.column(key, every))
    again = Elsewhere(5)
    again.load_state_dict(other.state_dict())
    same(again.get(every), other.get(every))
    if len(other):
        one.set(0, rows[0] if len(rows) else other.get(every)[0])
