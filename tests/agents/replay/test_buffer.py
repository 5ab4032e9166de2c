import pytest
import torch
from tensordict import TensorDict

from agents.replay import (
    LazyTensorStorage,
    ListStorage,
    RandomSampler,
    ReplayBuffer,
    SamplerWithoutReplacement,
)


def make_rows(count, start=0):
    return TensorDict({"a": torch.arange(start, start + count)}, [count])


def make_epochs(count=10, **kwargs):
    buffer = ReplayBuffer(LazyTensorStorage(100), SamplerWithoutReplacement(), **kwargs)
    buffer.extend(make_rows(count))
    return buffer


def test_plain_objects():
    torch.manual_seed(0)
    buffer = ReplayBuffer(collate_fn=lambda items: items)
    assert buffer.add(1) == 0
    assert buffer.sample(1) == [1]
    assert buffer.extend([2, 3]).tolist() == [1, 2]
    assert len(buffer) == 3
    assert set(buffer.sample(100)) == {1, 2, 3}


def test_defaults():
    buffer = ReplayBuffer()
    assert isinstance(buffer.storage, ListStorage)
    assert buffer.storage.max_size == 1_000
    assert isinstance(buffer.sampler, RandomSampler)
    buffer.extend("ab")
    assert set(buffer.sample(50)) == {"a", "b"}


@pytest.mark.parametrize("collate_fn", [None, torch.stack])
def test_tensordicts_in_a_list(collate_fn):
    buffer = ReplayBuffer(collate_fn=collate_fn)
    buffer.add(TensorDict({"a": torch.randn(3)}))
    buffer.extend(TensorDict({"a": torch.randn(2, 3)}, [2]))
    assert len(buffer) == 3
    sample = buffer.sample(10)
    assert sample.batch_size == (10,)
    assert sample["a"].shape == (10, 3)


def test_tensors_in_a_list_are_stacked():
    buffer = ReplayBuffer()
    buffer.extend(torch.arange(6).view(3, 2))
    assert buffer.sample(5).shape == (5, 2)


def test_an_empty_storage_is_kept():
    storage, sampler = LazyTensorStorage(5), SamplerWithoutReplacement()
    buffer = ReplayBuffer(storage, sampler)
    assert buffer.storage is storage
    assert buffer.sampler is sampler


def test_info_holds_the_indices():
    buffer = make_epochs()
    batch, info = buffer.sample(4, return_info=True)
    assert torch.equal(batch["a"], info["index"])


def test_collate_and_transform_are_applied_in_this_order():
    buffer = make_epochs(collate_fn=lambda batch: batch["a"], transform=lambda values: values + 100)
    assert buffer.sample(4).min() >= 100


@pytest.mark.parametrize(
    ("count", "drop_last", "sizes"), [(10, False, [4, 4, 2]), (10, True, [4, 4]), (8, False, [4, 4])]
)
def test_iteration_is_one_epoch(count, drop_last, sizes):
    buffer = ReplayBuffer(LazyTensorStorage(100), SamplerWithoutReplacement(drop_last), batch_size=4)
    buffer.extend(make_rows(count))
    for _ in range(2):
        batches = [batch["a"].tolist() for batch in buffer]
        assert [len(batch) for batch in batches] == sizes
        assert len({item for batch in batches for item in batch}) == sum(sizes)


def test_iteration_begins_an_epoch():
    buffer = make_epochs(batch_size=4)
    buffer.sample()
    assert sorted(torch.cat([batch["a"] for batch in buffer]).tolist()) == list(range(10))


def test_iteration_needs_a_batch_size_and_epochs():
    with pytest.raises(ValueError, match="batch_size"):
        iter(make_epochs())
    with pytest.raises(TypeError, match="found RandomSampler"):
        iter(ReplayBuffer(batch_size=4))


@pytest.mark.parametrize(
    "write", [lambda buffer: buffer.extend(make_rows(10)), lambda buffer: buffer.add(make_rows(1)[0])]
)
def test_a_write_begins_an_epoch(write):
    buffer = ReplayBuffer(LazyTensorStorage(10), SamplerWithoutReplacement(shuffle=False))
    buffer.extend(make_rows(10))
    _, info = buffer.sample(4, return_info=True)
    write(buffer)
    _, again = buffer.sample(4, return_info=True)
    assert torch.equal(info["index"], again["index"])


def test_empty():
    buffer = make_epochs()
    buffer.sample(4)
    buffer.empty()
    assert len(buffer) == 0
    with pytest.raises(IndexError, match="empty"):
        buffer.sample(4)


@pytest.mark.parametrize("batch_size", [None, 0])
def test_sample_needs_a_batch_size(batch_size):
    with pytest.raises(ValueError, match=f"found {batch_size}"):
        make_epochs().sample(batch_size)


@pytest.mark.parametrize("sampler", [RandomSampler, SamplerWithoutReplacement])
def test_state_goes_on_where_it_stopped(sampler):
    def make(seed):
        generator = torch.Generator().manual_seed(seed)
        return ReplayBuffer(LazyTensorStorage(8), sampler(), batch_size=3, generator=generator)

    buffer, other = make(0), make(1)
    buffer.extend(make_rows(10))
    buffer.sample()
    other.load_state_dict(buffer.state_dict())
    for _ in range(5):
        assert torch.equal(buffer.sample()["a"], other.sample()["a"])
