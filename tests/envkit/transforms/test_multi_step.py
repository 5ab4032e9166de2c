from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents import LazyTensorStorage, ReplayBuffer
from envkit import GymEnv, MultiStepTransform, SerialEnv, SpecError, TransformedEnv

few = settings(deadline=None, max_examples=30, derandomize=True)


def recorded(steps=12, length=5):
    env = GymEnv("Pendulum-v1", max_episode_steps=length)
    env.set_seed(0)
    return env.rollout(steps, break_when_any_done=False)


def by_hand(data, n, gamma):
    rows = []
    for t in range(len(data)):
        reward, k = torch.zeros(1), 0
        while True:
            reward, k = reward + gamma**k * data[t + k]["next", "reward"], k + 1
            if data[t + k - 1]["next", "done"] or k == n or t + k == len(data):
                break
        row = data[t].clone()
        row["next"] = data[t + k - 1]["next"].clone().set("reward", reward)
        rows.append(row.set("steps_to_next_obs", torch.tensor([k])))
    return torch.stack(rows)


@few
@given(n=st.integers(1, 5), cuts=st.lists(st.integers(0, 12), max_size=3))
def test_whatever_the_pieces(tools, n, cuts):
    """Data written in pieces gives the transitions of the whole."""
    data = recorded()
    data.names = None
    transform = MultiStepTransform(n, 0.9)
    places = [0, *sorted(cuts), 12]
    parts = [transform.inv(data[a:b]) for a, b in itertools.pairwise(places) if b > a]
    parts += [rest] if (rest := transform.flush()) is not None else []
    tools.assert_same(torch.cat(parts), by_hand(data, n, 0.9))
    assert transform.flush() is None


def test_a_batch_comes_flattened(tools):
    env = SerialEnv(2, lambda: GymEnv("Pendulum-v1", max_episode_steps=5))
    env.set_seed(0)
    data = env.rollout(9, break_when_any_done=False)
    data.names = None
    transform = MultiStepTransform(3, 0.5)
    found = transform.inv(data)
    assert found.batch_size == (14,)
    tools.assert_same(found, torch.cat([by_hand(row, 3, 0.5)[:7] for row in data]))


def test_in_a_buffer():
    buffer = ReplayBuffer(LazyTensorStorage(100), transform=MultiStepTransform(3, 0.9))
    data = recorded(12).exclude("done", "truncated", "terminated")
    data.names = None
    for part in data.split(4):
        buffer.extend(part)
    assert len(buffer) == 10
    batch = buffer.sample(32)
    assert batch["steps_to_next_obs"].unique().tolist() == [1, 2, 3]
    assert (batch["next", "done"] | (batch["steps_to_next_obs"] == 3)).all()


def test_too_little_to_write_yet():
    transform = MultiStepTransform(4, 0.9)
    assert len(transform.inv(recorded(2))) == 0
    assert len(transform.flush()) == 2


def test_refused():
    with pytest.raises(SpecError, match="MultiStepTransform looks ahead"):
        TransformedEnv(GymEnv("Pendulum-v1"), MultiStepTransform(3, 0.9))
    with pytest.raises(ValueError, match="n_steps: expected at least 1, found 0"):
        MultiStepTransform(0, 0.9)
    with pytest.raises(ValueError, match=r"expected steps in the last batch dimension, found batch size \[\]"):
        MultiStepTransform(2, 0.9).inv(recorded(1)[0])
    with pytest.raises(KeyError, match=r"gain.* is missing"):
        MultiStepTransform(2, 0.9, reward_keys="gain").inv(recorded(3))
    transform = MultiStepTransform(2, 0.9)
    transform.inv(recorded(3))
    with pytest.raises(ValueError, match=r"expected data that goes on from batch size \[1\], found \[2, 3\]"):
        transform.inv(torch.stack([recorded(3), recorded(3)]))
