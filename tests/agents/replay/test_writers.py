import pytest
import torch
from tensordict import TensorDict

from agents.replay import (
    LazyTensorStorage,
    ListStorage,
    ReplayBuffer,
    TensorDictMaxValueWriter,
    TensorDictRoundRobinWriter,
)


def scored(*scores):
    return TensorDict({"score": torch.tensor(scores)}, [len(scores)])


@pytest.mark.parametrize("kind", [LazyTensorStorage, ListStorage])
@pytest.mark.parametrize("sizes", [(9,), (2, 3, 4), (1,) * 9])
def test_the_best_are_kept(kind, sizes):
    scores = torch.tensor([3.0, 1.0, 4.0, 1.5, 5.0, 9.0, 2.0, 6.0, 5.5])
    buffer = ReplayBuffer(kind(4), writer=TensorDictMaxValueWriter("score"))
    for part in scores.split(list(sizes)):
        buffer.extend(scored(*part.tolist()))
    kept = {round(score, 3) for score in buffer.sample(200)["score"].tolist()}
    assert kept == {5.0, 9.0, 6.0, 5.5}


def test_what_is_not_kept_has_no_index():
    buffer = ReplayBuffer(LazyTensorStorage(2), writer=TensorDictMaxValueWriter("score"))
    assert buffer.extend(scored(1.0, 2.0, 3.0)).tolist() == [0, 1]
    assert buffer.add(scored(1.5)[0]) is None
    assert buffer.add(scored(2.5)[0]) == 1
    assert buffer.extend(scored(0.0)).tolist() == []


@pytest.mark.parametrize(("reduction", "best"), [("sum", 0), ("max", 1), ("min", 2), ("mean", 0)])
def test_rank_of_several_numbers(reduction, best):
    buffer = ReplayBuffer(LazyTensorStorage(1), writer=TensorDictMaxValueWriter("score", reduction))
    scores = torch.tensor([[5.0, 5.0, 0.0], [9.0, 0.0, 0.0], [3.0, 3.0, 3.0]])
    buffer.extend(TensorDict({"score": scores, "number": torch.arange(3)}, [3]))
    assert buffer.sample(1)["number"].item() == best


def test_state_goes_on_where_it_stopped():
    buffer, other = (ReplayBuffer(LazyTensorStorage(3), writer=TensorDictMaxValueWriter("score")) for _ in range(2))
    buffer.extend(scored(3.0, 1.0, 2.0, 5.0))
    other.load_state_dict(buffer.state_dict())
    assert buffer.extend(scored(4.0, 0.0)).tolist() == other.extend(scored(4.0, 0.0)).tolist()
    buffer.empty()
    assert buffer.extend(scored(0.0)).tolist() == [0]


def test_items_that_nobody_ranked():
    storage = LazyTensorStorage(3)
    storage.extend(scored(1.0, 2.0))
    with pytest.raises(ValueError, match="TensorDictMaxValueWriter expects an empty storage, found 2 items"):
        ReplayBuffer(storage, writer=TensorDictMaxValueWriter("score"))
    buffer = ReplayBuffer(LazyTensorStorage(2), writer=TensorDictMaxValueWriter("score"))
    buffer.extend(scored(3.0, 4.0))
    with pytest.raises(ValueError, match="expects an empty storage"):
        buffer.set_storage(storage)
    buffer.set_storage(LazyTensorStorage(2))
    assert buffer.extend(scored(0.0)).tolist() == [0]


def test_refused():
    with pytest.raises(ValueError, match=r"reduction: expected .* found 'median'"):
        TensorDictMaxValueWriter("score", "median")
    buffer = ReplayBuffer(LazyTensorStorage(3), writer=TensorDictMaxValueWriter("score"))
    with pytest.raises(ValueError, match="'score': expected numbers, found NaN"):
        buffer.extend(scored(float("nan")))
    with pytest.raises(TypeError, match="expected a TensorDict, found int"):
        buffer.add(1)
    buffer.extend(scored(1.0))
    with pytest.raises(ValueError, match="set_writer: expected an empty buffer, found 1 items"):
        buffer.set_writer(TensorDictRoundRobinWriter())
    with pytest.raises(TypeError, match="TensorDictRoundRobinWriter: expected a TensorDict, found str"):
        ReplayBuffer(writer=TensorDictRoundRobinWriter()).add("a")
