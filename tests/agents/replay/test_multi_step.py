import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from agents.replay import (
    LazyTensorStorage,
    ListStorage,
    MultiStep,
    ReplayBuffer,
    TensorDictMaxValueWriter,
    TensorDictReplayBuffer,
)
from envkit import MultiStepTransform, split_trajectories


def steps(streams, count, seed=0, start=0):
    """Steps [sequences, time] that are told apart by their observations."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.arange(start, start + count + 1) + 1_000 * torch.arange(streams).unsqueeze(-1)
    ends = torch.rand(streams, count, 1, generator=generator) < 0.25
    terminated = ends & (torch.rand(streams, count, 1, generator=generator) < 0.5)
    reward = torch.rand(streams, count, 1, generator=generator)
    following = {"x": x[:, 1:], "reward": reward, "done": ends, "terminated": terminated}
    return TensorDict({"x": x[:, :-1], "next": following}, [streams, count])


def test_by_hand():
    done = torch.tensor([False, False, False, True, False, False]).unsqueeze(-1)
    reward = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0]).unsqueeze(-1)
    following = {"x": torch.arange(1, 7), "reward": reward, "done": done}
    data = TensorDict({"x": torch.arange(6), "next": following}, [6])
    made = MultiStep(gamma=0.5, n_steps=3)(data)
    # 1 + 2/2 + 4/4; 2 + 4/2 + 8/4; 4 + 8/2; 8; 16 + 32/2; 32
    assert made["next", "reward"].flatten().tolist() == [3, 6, 8, 8, 32, 32]
    assert made["next", "x"].tolist() == [3, 4, 4, 4, 6, 6]
    assert made["next", "done"].flatten().tolist() == [False, True, True, True, False, False]
    assert made["steps_to_next_obs"].flatten().tolist() == [3, 3, 2, 1, 2, 1]
    assert made["x"].tolist() == list(range(6))
    assert data["next", "reward"].flatten().tolist() == reward.flatten().tolist()


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 3), st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 5), st.integers(0, 999))
def test_sampled_transitions_are_those_of_the_whole_batch(streams, parts, n_steps, seed):
    multi_step = MultiStep(0.9, n_steps)
    data = steps(streams, sum(parts), seed)
    storage = LazyTensorStorage(8 * streams, ndim=2)
    buffer = ReplayBuffer(storage, multi_step=multi_step)
    start = 0
    for part in parts:
        buffer.extend(data[:, start : start + part])
        start += part
    expected = multi_step(data)
    batch = buffer.sample(64)
    at = expected[batch["x"] // 1_000, batch["x"] % 1_000]
    for key in expected.keys(True, True):
        assert torch.equal(batch[key], at[key]), key


def test_lists_hold_steps_as_well():
    data, multi_step = steps(1, 9)[0], MultiStep(0.9, 3)
    buffer = TensorDictReplayBuffer(ListStorage(20), multi_step=multi_step)
    buffer.extend(data)
    batch = buffer.sample(30)
    expected = multi_step(data)[batch["x"]]
    assert torch.equal(batch["next", "reward"], expected["next", "reward"])
    assert torch.equal(batch["next", "x"], expected["next", "x"])


def test_it_agrees_with_the_transform():
    data = steps(1, 30, seed=3)
    transform = MultiStepTransform(4, 0.8)
    made = torch.cat([transform.inv(data), transform.flush()])
    expected = MultiStep(0.8, 4)(data)[0]
    for key in made.keys(True, True):
        assert torch.equal(made[key], expected[key]), key


def test_padding_is_no_step():
    data = steps(2, 12, seed=5)
    data["next", "truncated"] = torch.zeros_like(data["next", "done"])
    data["collector", "traj_ids"] = torch.zeros(2, 12, dtype=torch.int64)
    number = (data["next", "done"].squeeze(-1).roll(1, -1).int().cumsum(-1)) + torch.tensor([[0], [100]])
    data["collector", "traj_ids"] = number
    padded = split_trajectories(data, prefix="collector")
    multi_step = MultiStep(0.9, 3)
    mask = padded["collector", "mask"]
    found, expected = multi_step(padded)[mask], multi_step(data)
    assert torch.equal(found["x"], expected["x"].reshape(-1))
    assert torch.equal(found["next", "reward"], expected["next", "reward"].reshape(-1, 1))
    assert torch.equal(found["next", "x"], expected["next", "x"].reshape(-1))


def test_refused():
    with pytest.raises(ValueError, match="n_steps: expected at least 1, found 0"):
        MultiStep(0.9, 0)
    with pytest.raises(ValueError, match=r"gamma: expected a number in \[0, 1\], found 1.5"):
        MultiStep(1.5, 2)
    with pytest.raises(ValueError, match="MultiStep expects a writer that keeps sequences together"):
        ReplayBuffer(writer=TensorDictMaxValueWriter("x"), multi_step=MultiStep(0.9, 2))
    data = steps(1, 3)
    data["next", "done"] = torch.zeros(1, 3, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"one flag for each step of \[1, 3\], found shape \[1, 3, 2\]"):
        MultiStep(0.9, 2)(data)
