import pytest
import torch
from tensordict import TensorDict

from agents.replay import LazyTensorStorage, PrioritizedReplayBuffer, PrioritizedSampler, ReplayBuffer


def make(count=4, size=10, **options):
    options = {"alpha": 1.0, "beta": 1.0, "eps": 0.0, **options}
    generator = torch.Generator().manual_seed(0)
    buffer = ReplayBuffer(LazyTensorStorage(size), PrioritizedSampler(size, **options), generator=generator)
    buffer.extend(TensorDict({"a": torch.arange(count)}, [count]))
    return buffer


def test_items_come_in_proportion_to_priorities():
    buffer = make()
    buffer.update_priority(torch.arange(4), torch.tensor([1.0, 0.0, 2.0, 5.0]))
    counts = torch.bincount(buffer.sample(8_000)["a"], minlength=4) / 8_000
    torch.testing.assert_close(counts, torch.tensor([1.0, 0.0, 2.0, 5.0]) / 8, atol=0.02, rtol=0)


def test_alpha_is_a_power():
    buffer = make(alpha=0.5)
    buffer.update_priority([0, 1, 2, 3], torch.tensor([1.0, 4.0, 9.0, 16.0]))
    assert buffer.sampler.weights.tolist() == [1, 2, 3, 4]


def test_weights_take_the_bias_back():
    buffer = make(beta=0.5)
    buffer.update_priority([0, 1, 2, 3], torch.tensor([1.0, 4.0, 4.0, 16.0]))
    batch, info = buffer.sample(1_000, return_info=True)
    # (N P)^-0.5 over that of the least likely, worked by hand: 1, 1/2, 1/2, 1/4.
    assert torch.equal(info["_weight"], torch.tensor([1.0, 0.5, 0.5, 0.25])[batch["a"]])
    assert info["_weight"].dtype is torch.float32
    buffer.sampler.beta = 0.0
    assert (buffer.sample(10, return_info=True)[1]["_weight"] == 1).all()


def test_new_items_have_the_greatest_priority():
    buffer = make()
    buffer.update_priority(0, 7.0)
    buffer.update_priority(0, 2.0)
    buffer.extend(TensorDict({"a": torch.arange(2)}, [2]))
    buffer.add(TensorDict({"a": torch.tensor(0)}))
    assert buffer.sampler.weights.tolist() == [2, 1, 1, 1, 7, 7, 7]


def test_overwritten_items_are_new():
    buffer = make(count=3, size=3)
    buffer.update_priority([0, 1, 2], torch.tensor([0.1, 0.2, 0.3]))
    buffer.extend(TensorDict({"a": torch.arange(2)}, [2]))
    assert buffer.sampler.weights.tolist() == pytest.approx([1, 1, 0.3])


@pytest.mark.parametrize(("reduction", "expected"), [("max", 4.0), ("min", 1.0), ("mean", 2.0), ("median", 1.0)])
def test_several_priorities_of_an_item(reduction, expected):
    buffer = make(reduction=reduction)
    buffer.update_priority([1, 3], torch.tensor([[1.0, 4.0, 1.0], [1.0, 1.0, 1.0]]))
    assert buffer.sampler.weights.tolist() == [1, expected, 1, 1]


def test_the_last_priority_of_an_item_counts():
    buffer = make()
    buffer.update_priority([2, 1, 2], torch.tensor([[3.0], [4.0], [5.0]]))
    assert buffer.sampler.weights.tolist() == [1, 4, 5, 1]


def test_refused():
    buffer = make()
    with pytest.raises(IndexError, match="indices below 4, found 0 to 4"):
        buffer.update_priority([0, 4], 1.0)
    with pytest.raises(IndexError, match="found -1 to 0"):
        buffer.update_priority([0, -1], 1.0)
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"finite numbers of at least 0, found {wrong}"):
            buffer.update_priority([0, 1], torch.tensor([1.0, wrong]))
    with pytest.raises(ValueError, match=r"one priority for each of 2 items, found shape \[3\]"):
        buffer.update_priority([0, 1], torch.ones(3))
    assert buffer.sampler.weights.tolist() == [1, 1, 1, 1]
    with pytest.raises(ValueError, match="at most max_capacity=5 items, found max_size=6"):
        ReplayBuffer(LazyTensorStorage(6), PrioritizedSampler(5, 1.0, 1.0))
    with pytest.raises(ValueError, match="alpha: expected at least 0, found -1"):
        PrioritizedSampler(5, -1, 1.0)
    with pytest.raises(ValueError, match=r"reduction: expected .* found 'sum'"):
        PrioritizedSampler(5, 1.0, 1.0, reduction="sum")
    with pytest.raises(TypeError, match=r"sampler of priorities, .*found RandomSampler"):
        ReplayBuffer().update_priority(0, 1.0)


def test_items_that_are_there_already():
    storage = make().storage
    buffer = PrioritizedReplayBuffer(storage, alpha=1.0, beta=1.0, eps=0.0)
    assert buffer.sampler.weights.tolist() == [1, 1, 1, 1]
    buffer.empty()
    assert buffer.sampler.weights.tolist() == []


def test_state_goes_on_where_it_stopped():
    buffer, other = make(count=7, size=5_000, alpha=0.6), make(count=1, size=5_000, alpha=0.6)
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        buffer.extend(TensorDict({"a": torch.arange(900)}, [900]))
        index = torch.randint(len(buffer), (64,), generator=generator)
        buffer.update_priority(index, torch.rand(64, generator=generator))
    other.load_state_dict(buffer.state_dict())
    for _ in range(3):
        (_, found), (_, expected) = other.sample(50, return_info=True), buffer.sample(50, return_info=True)
        assert torch.equal(found["index"], expected["index"])
        assert torch.equal(found["_weight"], expected["_weight"])
        for each in (buffer, other):
            each.update_priority(expected["index"], expected["_weight"])
    assert torch.equal(buffer.sampler.weights, other.sampler.weights)
