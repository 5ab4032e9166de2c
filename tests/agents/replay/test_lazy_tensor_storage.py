import pytest
import torch
from tensordict import TensorDict

from agents.replay import LazyTensorStorage


def make_rows(start, stop):
    """Rows that are told apart by their number."""
    number = torch.arange(start, stop)
    after = {"reward": number.float().unsqueeze(-1), "done": (number % 2 == 0).unsqueeze(-1)}
    pixels = number.to(torch.uint8).view(-1, 1, 1).expand(-1, 2, 2)
    return TensorDict({"number": number, "pixels": pixels, "next": after}, [stop - start])


def stored(storage):
    return storage.get(torch.arange(len(storage)))["number"].tolist()


def test_rows_come_back_as_they_were():
    storage, rows = LazyTensorStorage(10), make_rows(0, 6)
    assert storage.extend(rows).tolist() == [0, 1, 2, 3, 4, 5]
    index = torch.tensor([4, 0, 4])
    found = storage.get(index)
    assert found.batch_size == (3,)
    assert set(found.keys(True, True)) == set(rows.keys(True, True))
    for key in rows.keys(True, True):
        assert found[key].dtype is rows[key].dtype
        assert torch.equal(found[key], rows[key][index])


def test_get_copies():
    storage = LazyTensorStorage(10)
    storage.extend(make_rows(0, 6))
    storage.get(torch.arange(6))["number"].zero_()
    assert stored(storage) == [0, 1, 2, 3, 4, 5]


def test_oldest_row_goes_first():
    storage = LazyTensorStorage(4)
    assert [storage.add(make_rows(i, i + 1)[0]) for i in range(6)] == [0, 1, 2, 3, 0, 1]
    assert stored(storage) == [4, 5, 2, 3]


@pytest.mark.parametrize("sizes", [(3, 3), (4, 4), (2, 5), (9,), (1, 11), (3, 0, 4), (4, 8, 3)])
def test_extend_is_adding_one_by_one(sizes):
    whole, single = LazyTensorStorage(4), LazyTensorStorage(4)
    start = 0
    for size in sizes:
        rows = make_rows(start, start + size)
        index = whole.extend(rows)
        indices = [single.add(row) for row in rows.unbind(0)]
        assert index.tolist() == indices[-4:]
        start += size
    assert stored(whole) == stored(single)
    assert whole.add(make_rows(99, 100)[0]) == single.add(make_rows(99, 100)[0])


def test_only_the_first_batch_dimension_is_rows():
    storage = LazyTensorStorage(4)
    storage.extend(TensorDict({"a": torch.arange(6).view(2, 3, 1)}, [2, 3]))
    assert storage.get(torch.tensor([1]))["a"].shape == (1, 3, 1)


def test_scalars_and_gradients():
    storage = LazyTensorStorage(4)
    storage.extend(TensorDict({"a": torch.ones(2, requires_grad=True)}, [2]))
    assert not storage.get(torch.tensor([0]))["a"].requires_grad


def test_dtype_without_numpy():
    storage = LazyTensorStorage(4)
    storage.extend(TensorDict({"a": torch.arange(6).bfloat16()}, [6]))
    assert storage.get(torch.arange(4))["a"].tolist() == [4.0, 5.0, 2.0, 3.0]


@pytest.mark.parametrize("write", ["add", "extend"])
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("number", torch.zeros(2, 1, dtype=torch.int64), r"'number' of shape \[\] and .*found \[1\]"),
        ("number", torch.zeros(2), r"'number' .* dtype torch.int64, .*found \[\] and torch.float32"),
        (("next", "reward"), torch.zeros(2, 2), r"\('next', 'reward'\) of shape \[1\] .*found \[2\]"),
        (("next", "done"), None, r"keys \['done', 'reward'\] under 'next', .*found \['reward'\]"),
        ("number", None, r"keys \['next', 'number', 'pixels'\], .*found \['next', 'pixels'\]"),
        ("other", torch.zeros(2), r"keys .*found \['next', 'number', 'other', 'pixels'\]"),
        ("next", torch.zeros(2), r"keys \['done', 'reward'\] under 'next', .*found Tensor"),
    ],
)
def test_another_layout_is_refused_and_nothing_is_written(write, key, value, message):
    storage = LazyTensorStorage(4)
    storage.extend(make_rows(0, 3))
    rows = make_rows(7, 9)
    if value is None:
        del rows[key]
    else:
        rows[key] = value
    with pytest.raises(ValueError, match=message):
        storage.add(rows[0]) if write == "add" else storage.extend(rows)
    assert stored(storage) == [0, 1, 2]


def test_a_key_with_another_name():
    storage = LazyTensorStorage(4)
    storage.extend(TensorDict({"a": torch.zeros(1)}, [1]))
    with pytest.raises(ValueError, match=r"expected the keys \['a'\], as first written; found \['b'\]"):
        storage.extend(TensorDict({"b": torch.zeros(1)}, [1]))


def test_entries_that_are_no_tensors():
    data = TensorDict({"a": torch.zeros(2)}, [2])
    data.set_non_tensor("name", "text")
    with pytest.raises(ValueError, match="expected a tensor at 'name'"):
        LazyTensorStorage(4).extend(data)


def test_extend_needs_rows():
    with pytest.raises(ValueError, match="use add"):
        LazyTensorStorage(4).extend(make_rows(0, 1)[0])


def test_get_from_nothing():
    with pytest.raises(IndexError, match="empty"):
        LazyTensorStorage(4).get(torch.tensor([0]))


def test_empty_keeps_the_layout():
    storage = LazyTensorStorage(4)
    storage.extend(make_rows(0, 3))
    storage.empty()
    assert len(storage) == 0
    assert storage.add(make_rows(5, 6)[0]) == 0
    assert stored(storage) == [5]


@pytest.mark.parametrize("written", [0, 3, 4, 6])
def test_state_goes_on_where_it_stopped(written):
    storage, other = LazyTensorStorage(4), LazyTensorStorage(4)
    if written:
        storage.extend(make_rows(0, written))
    other.load_state_dict(storage.state_dict())
    assert other.extend(make_rows(90, 92)).tolist() == storage.extend(make_rows(90, 92)).tolist()
    assert stored(other) == stored(storage)


def test_state_of_another_size():
    with pytest.raises(ValueError, match="max_size=3, found 4"):
        LazyTensorStorage(3).load_state_dict(LazyTensorStorage(4).state_dict())
