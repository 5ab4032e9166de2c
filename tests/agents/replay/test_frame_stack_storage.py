import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from agents.replay import (
    FrameStackStorage,
    LazyTensorStorage,
    MultiStep,
    ReplayBuffer,
    TensorDictMaxValueWriter,
)
from envkit import Categorical, CatFrames, Composite, EnvBase, SerialEnv, TransformedEnv, Unbounded

FRAME = (1, 2, 3)


def film(lengths, stack, seed, padding="same"):
    """Steps of whole episodes, each frame a random image, stacked as an env with CatFrames does."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for length in lengths:
        frames = torch.randint(0, 256, (length + 1, *FRAME), generator=generator, dtype=torch.uint8)
        before = frames[:1] if padding == "same" else torch.zeros_like(frames[:1])
        padded = torch.cat([*[before] * (stack - 1), frames])
        stacks = torch.stack([padded[t : t + stack].flatten(0, 1) for t in range(length + 1)])
        done = (torch.arange(length) == length - 1).unsqueeze(-1)
        following = {"pixels": stacks[1:], "done": done, "reward": torch.arange(length).float().unsqueeze(-1)}
        parts.append(TensorDict({"pixels": stacks[:-1], "next": following}, [length]))
    return torch.cat(parts)


def same(found, expected):
    for key in expected.keys(True, True):
        assert torch.equal(found[key], expected[key]), key


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=8),
    st.integers(2, 4),
    st.integers(1, 20),
    st.integers(1, 11),
    st.sampled_from(["same", "constant"]),
    st.integers(0, 99),
)
def test_what_is_read_is_what_was_written(lengths, stack, max_size, part, padding, seed):
    data = film(lengths, stack, seed, padding)
    storage, plain = FrameStackStorage(max_size, stack), LazyTensorStorage(max_size)
    for rows in data.split(part):
        assert torch.equal(storage.extend(rows), plain.extend(rows)[-max_size:])
        every = torch.arange(len(plain))
        same(storage.get(every), plain.get(every))
    assert torch.equal(storage.column(("next", "pixels"), every), plain.column(("next", "pixels"), every))
    assert torch.equal(storage.column(("next", "done"), every), plain.column(("next", "done"), every))


def test_each_frame_is_stored_once():
    lengths = [50, 30, 80]
    storage = FrameStackStorage(1_000)
    storage.extend(film(lengths, 4, 0))
    assert storage.frames == sum(length + 1 for length in lengths)
    storage.empty()
    assert storage.frames == len(storage) == 0


def test_frames_of_overwritten_items_make_room():
    storage = FrameStackStorage(64)
    for seed in range(20):
        storage.extend(film([40, 7], 4, seed))
        assert storage.frames <= 64 + 4 * 4
    # Where no two stacks have a frame in common there are more frames, and nothing is lost.
    torch.manual_seed(0)
    noise = torch.randint(0, 256, (100, 2, 4, 2, 3), dtype=torch.uint8)
    data = TensorDict({"pixels": noise[:, 0], "next": {"pixels": noise[:, 1]}}, [100])
    storage = FrameStackStorage(64)
    index = storage.extend(data)
    same(storage.get(index), data[-64:])
    assert storage.frames == 64 * 8


class Film(EnvBase):
    """A different image at each step."""

    def __init__(self, seed):
        super().__init__()
        self.observation_spec = Composite(pixels=Unbounded(FRAME, dtype=torch.uint8))
        self.action_spec = Categorical(2)
        self.rng, self.left = np.random.default_rng(seed), 0

    def _set_seed(self, seed):
        self.rng = np.random.default_rng(seed)

    def _frame(self):
        return torch.from_numpy(self.rng.integers(0, 256, FRAME, dtype=np.uint8))

    def _reset(self, tensordict=None):
        self.left = int(self.rng.integers(2, 9))
        return TensorDict({"pixels": self._frame()})

    def _step(self, tensordict):
        self.left -= 1
        ends = torch.tensor([self.left == 0])
        return TensorDict(
            {"pixels": self._frame(), "reward": torch.ones(1), "terminated": ends, "truncated": ~ends & ends}
        )


def test_a_batch_of_envs():
    env = SerialEnv(2, [lambda: Film(0), lambda: Film(1)])
    env = TransformedEnv(env, CatFrames(4, -3))
    data = env.rollout(60, break_when_any_done=False)
    data.names = None
    storage, plain = FrameStackStorage(80, ndim=2), LazyTensorStorage(80, ndim=2)
    for rows in (data[:, :7], data[:, 7:8], data[:, 8:]):
        storage.extend(rows)
        plain.extend(rows)
    every = torch.arange(80)
    same(storage.get(every), plain.get(every))
    ends = int(plain.get(every)["next", "done"].sum())
    assert storage.frames <= 80 + ends + 2 * 4


def test_steps_together():
    data = film([9, 5, 7], 4, 1)
    multi_step = MultiStep(0.9, 3)
    buffer = ReplayBuffer(FrameStackStorage(100), multi_step=multi_step)
    buffer.extend(data)
    torch.manual_seed(0)
    batch = buffer.sample(50)
    torch.manual_seed(0)
    index = torch.randint(21, (50,))
    same(batch, multi_step(data)[index])


def test_one_by_one_and_the_best():
    data = film([6, 6], 4, 2)
    one, whole = FrameStackStorage(10), FrameStackStorage(10)
    for row in data.unbind(0):
        one.add(row)
    whole.extend(data)
    same(one.get(torch.arange(10)), whole.get(torch.arange(10)))
    best = ReplayBuffer(FrameStackStorage(3), writer=TensorDictMaxValueWriter(("next", "reward")))
    best.extend(data)
    assert sorted(best.storage.get(torch.arange(3))["next", "reward"].flatten().tolist()) == [4, 5, 5]
    kept = best.storage.get(torch.arange(3))
    for i in range(3):
        assert any(torch.equal(kept["next", "pixels"][i], row) for row in data["next", "pixels"])


def test_refused():
    with pytest.raises(ValueError, match="stack: expected at least 2, found 1"):
        FrameStackStorage(3, stack=1)
    storage = FrameStackStorage(3)
    with pytest.raises(
        ValueError, match=r"'pixels' to have a multiple of 4 \(stack\) as its first size, found shape \[3, 2\]"
    ):
        storage.extend(TensorDict({"pixels": torch.zeros(1, 3, 2)}, [1]))
    with pytest.raises(KeyError, match="expected an entry 'pixels'"):
        storage.extend(TensorDict({"other": torch.zeros(1, 4, 2)}, [1]))
    with pytest.raises(TypeError, match="expected a TensorDict, found int"):
        storage.add(3)
    data = film([3], 4, 0)
    storage.extend(data)
    with pytest.raises(
        ValueError, match=r"'pixels' of shape \[4, 2, 3\] and dtype torch.uint8, as first written; found \[4, 2, 3\]"
    ):
        storage.extend(TensorDict({"pixels": data["pixels"].float(), "next": data["next"]}, [3]))
    frames = storage.frames
    wrong = data.clone()
    wrong["next", "reward"] = torch.zeros(3, 2)
    with pytest.raises(ValueError, match=r"\('next', 'reward'\) of shape \[1\]"):
        storage.extend(wrong)
    assert storage.frames == frames
    same(storage.get(torch.arange(3)), data)
    with pytest.raises(ValueError, match="entries of stacks of 3, found 1 of 4"):
        FrameStackStorage(3, stack=3).load_state_dict(storage.state_dict())
