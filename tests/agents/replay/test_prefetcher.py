import pytest
import torch
from tensordict import TensorDict

from agents.replay import LazyTensorStorage, ReplayBuffer, SamplerWithoutReplacement, TensorDictReplayBuffer


def rows(count, start=0):
    return TensorDict({"a": torch.arange(start, start + count)}, [count])


def test_batches_are_those_without():
    ahead, plain = (
        TensorDictReplayBuffer(LazyTensorStorage(100), prefetch=depth, generator=torch.Generator().manual_seed(0))
        for depth in (3, 0)
    )
    for buffer in (ahead, plain):
        buffer.extend(rows(50))
    for _ in range(10):
        assert torch.equal(ahead.sample(4)["index"], plain.sample(4)["index"])


def test_another_size_is_chosen_anew():
    buffer = ReplayBuffer(LazyTensorStorage(100), prefetch=2)
    buffer.extend(rows(50))
    assert [len(buffer.sample(size)) for size in (4, 4, 7, 4)] == [4, 4, 7, 4]


def test_what_was_dropped_is_not_returned():
    buffer = ReplayBuffer(LazyTensorStorage(100), prefetch=2)
    buffer.extend(rows(50))
    buffer.sample(4)
    buffer.empty()
    with pytest.raises(IndexError, match="empty"):
        buffer.sample(4)
    buffer.extend(rows(5, 500))
    assert buffer.sample(50)["a"].min() >= 500


def test_epochs():
    buffer = ReplayBuffer(LazyTensorStorage(100), SamplerWithoutReplacement(), batch_size=4, prefetch=2)
    buffer.extend(rows(10))
    buffer.sample()
    assert sorted(torch.cat([batch["a"] for batch in buffer]).tolist()) == list(range(10))


def test_errors_come_with_the_batch():
    def refuse(batch):
        raise RuntimeError("no batch")

    buffer = ReplayBuffer(LazyTensorStorage(100), collate_fn=refuse, prefetch=1)
    buffer.extend(rows(10))
    with pytest.raises(RuntimeError, match="no batch"):
        buffer.sample(4)
    with pytest.raises(ValueError, match="prefetch: expected at least 0, found -1"):
        ReplayBuffer(prefetch=-1)
