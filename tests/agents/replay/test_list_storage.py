import pytest
import torch
from tensordict import TensorDict

from agents.replay import ListStorage


def test_oldest_item_goes_first():
    storage = ListStorage(3)
    assert [storage.add(item) for item in "abcd"] == [0, 1, 2, 0]
    assert len(storage) == 3
    assert storage.get(torch.tensor([0, 1, 2, 0])) == ["d", "b", "c", "d"]


def test_extend_with_more_than_fits_keeps_the_last():
    storage = ListStorage(3)
    storage.add("x")
    assert storage.extend("abcdef").tolist() == [1, 2, 0]
    assert storage.get(torch.arange(3)) == ["f", "d", "e"]


def test_extend_with_a_tensordict_stores_its_rows():
    storage = ListStorage(10)
    storage.extend(TensorDict({"a": torch.arange(6).view(2, 3)}, [2]))
    (row,) = storage.get(torch.tensor([1]))
    assert row.batch_size == ()
    assert row["a"].tolist() == [3, 4, 5]


def test_empty():
    storage = ListStorage(3)
    storage.extend("ab")
    storage.empty()
    assert len(storage) == 0
    assert storage.add("c") == 0


def test_state_goes_on_where_it_stopped():
    storage, other = ListStorage(3), ListStorage(3)
    storage.extend("abcd")
    other.load_state_dict(storage.state_dict())
    assert other.add("e") == storage.add("e") == 1
    assert other.get(torch.arange(3)) == storage.get(torch.arange(3)) == ["d", "e", "c"]
    with pytest.raises(ValueError, match="at most max_size=2 items, found 3"):
        ListStorage(2).load_state_dict(storage.state_dict())


def test_size_must_be_positive():
    with pytest.raises(ValueError, match="found 0"):
        ListStorage(0)
