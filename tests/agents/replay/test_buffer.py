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
from envkit import GymEnv, ObservationNorm, RewardSum, StepCounter, Transform, TransformedEnv


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


class Halves(Transform):
    """Stored as it is used inside, half of what is shown."""

    def __init__(self):
        super().__init__(["a"], ["a"], ["a"], ["a"])

    def _apply_transform(self, value):
        return value * 2

    def _inv_apply_transform(self, value):
        return value // 2


class TestTransforms:
    def make(self, transform, **kwargs):
        return ReplayBuffer(
            LazyTensorStorage(10), SamplerWithoutReplacement(), batch_size=4, transform=transform, **kwargs
        )

    def test_forward_on_sample_inverse_on_extend(self):
        buffer, rows = self.make(Halves()), make_rows(4)
        buffer.extend(rows)
        assert buffer.storage.get(torch.arange(4))["a"].tolist() == [0, 0, 1, 1]
        assert sorted(buffer.sample()["a"].tolist()) == [0, 0, 2, 2]
        assert rows["a"].tolist() == [0, 1, 2, 3]

    def test_inverse_on_add_and_on_lists(self):
        buffer = ReplayBuffer(transform=Halves())
        buffer.add(TensorDict({"a": torch.tensor(6)}))
        buffer.extend([TensorDict({"a": torch.tensor(8)})] * 2)
        assert buffer.storage.get(torch.arange(3))[0]["a"] == 3
        assert set(buffer.sample(20)["a"].tolist()) == {6, 8}

    def test_inverses_want_tensordicts(self):
        buffer = ReplayBuffer(transform=Halves())
        with pytest.raises(TypeError, match="expected a TensorDict, to invert its transforms, found int"):
            buffer.add(3)
        with pytest.raises(TypeError, match="found int"):
            buffer.extend([3])

    def test_functions_and_lists(self):
        buffer = self.make([lambda td: td.set("b", td["a"] + 1), Halves()])
        buffer.append_transform(lambda td: td.set("c", td["a"] + td["b"])).extend(make_rows(4))
        sample = buffer.sample()
        assert torch.equal(sample["b"], sample["a"] // 2 + 1)
        assert torch.equal(sample["c"], sample["a"] + sample["b"])

    def test_of_envs_only(self):
        with pytest.raises(ValueError, match="ReplayBuffer: StepCounter counts the steps of an env"):
            self.make([Halves(), StepCounter()])
        with pytest.raises(ValueError, match="ReplayBuffer: RewardSum"):
            self.make(None).append_transform(RewardSum())

    def test_of_an_env_are_cloned(self):
        env = TransformedEnv(GymEnv("Pendulum-v1"), ObservationNorm(1.0, 2.0))
        with pytest.raises(RuntimeError, match=r"use its clone\(\)"):
            self.make(env.transform[0])
        buffer = self.make(env.transform.clone())
        plain = env.base_env.rollout(4)
        buffer.extend(plain)
        env.transform[0].loc.add_(1.0)
        sample, index = buffer.sample(return_info=True)
        expected = plain[index["index"]]
        assert torch.equal(sample["observation"], expected["observation"] * 2 + 2)
        assert torch.equal(sample["next", "observation"], expected["next", "observation"] * 2 + 2)

    def test_statistics_are_part_of_the_state(self):
        buffer, twin = self.make(ObservationNorm(1.0, 2.0)), self.make(ObservationNorm(0.0, 1.0))
        for each in (buffer, twin):
            each.extend(TensorDict({"observation": torch.arange(4.0)}, [4]))
        twin.load_state_dict(buffer.state_dict())
        assert twin.transform[0].loc == 1
        with pytest.raises(RuntimeError, match="Missing key"):
            twin.load_state_dict({name: part for name, part in buffer.state_dict().items() if name != "transform"})

    def test_states_without_transforms_stay_as_they_were(self):
        assert "transform" not in make_epochs().state_dict()


def test_parts_are_exchanged():
    buffer = ReplayBuffer(LazyTensorStorage(10), batch_size=4)
    buffer.extend(make_rows(8))
    buffer.set_sampler(SamplerWithoutReplacement(shuffle=False))
    assert [batch["a"].tolist() for batch in buffer] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    other = LazyTensorStorage(10)
    other.extend(make_rows(4, start=90))
    buffer.set_storage(other)
    assert buffer.sample()["a"].tolist() == [90, 91, 92, 93]
    assert len(buffer) == 4


def test_a_number_is_the_size_of_a_list():
    buffer = ReplayBuffer(3, collate_fn=list)
    buffer.extend("abcde")
    assert sorted(set(buffer.sample(50))) == ["c", "d", "e"]
