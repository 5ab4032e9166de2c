import pytest
import torch
from tensordict import TensorDict

from agents.replay import (
    LazyTensorStorage,
    ListStorage,
    PrioritizedReplayBuffer,
    TensorDictPrioritizedReplayBuffer,
    TensorDictReplayBuffer,
)


def test_samples_say_where_they_come_from():
    for storage in (LazyTensorStorage(10), ListStorage(10)):
        buffer = TensorDictReplayBuffer(storage, batch_size=20)
        buffer.extend(TensorDict({"a": torch.arange(5)}, [5]))
        batch = buffer.sample()
        assert torch.equal(batch["a"], batch["index"])
    buffer = TensorDictReplayBuffer()
    buffer.add(1)
    with pytest.raises(TypeError, match="TensorDictReplayBuffer: expected TensorDicts, found list"):
        buffer.sample(2)


@pytest.mark.parametrize("size", [100, LazyTensorStorage(100)])
def test_priorities_come_back_in_the_sample(size):
    torch.manual_seed(0)
    buffer = TensorDictPrioritizedReplayBuffer(size, alpha=1.0, beta=1.0, eps=0.0, priority_key="error")
    buffer.extend(TensorDict({"a": torch.arange(3)}, [3]))
    batch = buffer.sample(2).contiguous()
    assert set(batch.keys()) == {"a", "index", "_weight"}
    batch["error"] = torch.tensor([[3.0], [5.0]])
    buffer.update_tensordict_priority(batch)
    expected = [1.0, 1.0, 1.0]
    for place, error in zip(batch["index"].tolist(), (3.0, 5.0), strict=True):
        expected[place] = error
    assert buffer.sampler.weights.tolist() == expected


def test_priorities_that_come_with_the_data():
    buffer = TensorDictPrioritizedReplayBuffer(LazyTensorStorage(10), alpha=1.0, beta=1.0, eps=0.0)
    buffer.extend(TensorDict({"a": torch.arange(3), "td_error": torch.tensor([1.0, 2.0, 3.0])}, [3]))
    buffer.add(TensorDict({"a": torch.tensor(0), "td_error": torch.tensor(4.0)}))
    assert buffer.sampler.weights.tolist() == [1, 2, 3, 4]


def test_what_the_older_page_does():
    buffer = PrioritizedReplayBuffer(100, alpha=0.7, beta=1.1, collate_fn=lambda x: x)
    buffer.add(1)
    buffer.add(2)
    assert buffer.sample(1)[0] in (1, 2)
    buffer.update_priority(1, 0.5)
    buffer = TensorDictPrioritizedReplayBuffer(100, alpha=0.7, beta=1.1, priority_key="td_error")
    buffer.extend(TensorDict({"a": torch.randn(2, 3)}, [2]))
    sample = buffer.sample(2).contiguous()
    sample["td_error"] = torch.rand(2)
    buffer.update_tensordict_priority(sample)
