import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from tensordict import TensorDict

from agents.replay import (
    FrameStackStorage,
    LazyTensorStorage,
    ListStorage,
    ReplayBuffer,
    SliceSampler,
    TensorDictPrioritizedReplayBuffer,
    TensorDictReplayBuffer,
)
from envkit import ObservationNorm
from envkit.errors import CheckpointError


def rows(count, start=0):
    number = torch.arange(start, start + count)
    done = (number % 5 == 4).unsqueeze(-1)
    return TensorDict(
        {"a": number, "half": number.bfloat16(), "next": {"done": done, "truncated": ~done & done}}, [count]
    )


MAKERS = {
    "packed": lambda g: ReplayBuffer(LazyTensorStorage(50), generator=g),
    "list": lambda g: ReplayBuffer(ListStorage(50), generator=g),
    "transform": lambda g: ReplayBuffer(
        LazyTensorStorage(50), transform=ObservationNorm(1.0, 2.0, in_keys=["half"]), generator=g
    ),
    "priorities": lambda g: TensorDictPrioritizedReplayBuffer(LazyTensorStorage(50), alpha=0.7, beta=0.5, generator=g),
    "slices": lambda g: TensorDictReplayBuffer(LazyTensorStorage(50), SliceSampler(slice_len=2), generator=g),
    "prefetch": lambda g: TensorDictPrioritizedReplayBuffer(
        LazyTensorStorage(50), alpha=0.7, beta=0.5, prefetch=3, generator=g
    ),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_the_same_samples_follow(kind, tmp_path):
    buffer, other = (MAKERS[kind](torch.Generator().manual_seed(seed)) for seed in (0, 1))
    buffer.extend(rows(70))
    buffer.sample(8)
    if kind in ("priorities", "prefetch"):
        buffer.update_priority(torch.arange(50), torch.rand(50))
    buffer.dumps(tmp_path / "replay")
    other.loads(tmp_path / "replay")
    for start in (100, 200):
        for _ in range(3):
            found, expected = other.sample(8), buffer.sample(8)
            for key in expected.keys(True, True):
                assert torch.equal(found[key], expected[key]), key
        buffer.extend(rows(7, start))
        other.extend(rows(7, start))


def test_what_is_loaded_is_not_the_file(tmp_path):
    buffer, other = (MAKERS["packed"](torch.Generator()) for _ in range(2))
    buffer.extend(rows(70))
    buffer.dumps(tmp_path)
    other.loads(tmp_path)
    other.extend(rows(50, 500))
    again = MAKERS["packed"](torch.Generator())
    again.loads(tmp_path)
    assert again.sample(100)["a"].max() < 70


def test_plain_items_and_others(tmp_path):
    buffer = ReplayBuffer(ListStorage(9))
    buffer.extend([1, 2.5, "text", None, [1, {"a": torch.ones(2)}], TensorDict({"x": torch.ones(2, 3)}, [2])])
    buffer.dumps(tmp_path)
    other = ReplayBuffer(ListStorage(9), collate_fn=lambda items: items)
    other.loads(tmp_path)
    found = other.storage.get(torch.arange(6))
    assert found[:4] == [1, 2.5, "text", None]
    assert torch.equal(found[4][1]["a"], torch.ones(2))
    assert found[5].batch_size == (2,)
    buffer.add({1, 2})
    with pytest.raises(TypeError, match=r"state.storage.items.6: expected tensors, .* found set"):
        buffer.dumps(tmp_path)
    other.loads(tmp_path)  # what was there before is still there
    assert len(other) == 6
    assert len(list(tmp_path.iterdir())) == 2


def damaged(folder, kind):
    current = json.loads((folder / "current.json").read_text())
    data = folder / current["generation"]
    if kind == "byte":
        content = bytearray((data / "tensors.bin").read_bytes())
        content[0] ^= 1
        (data / "tensors.bin").write_bytes(content)
    elif kind == "short":
        os.truncate(data / "tensors.bin", 100)
    elif kind == "tree":
        (data / "state.json").write_text('{"pickle": 1}')
    elif kind == "outside":
        (folder / "current.json").write_text(json.dumps({"format": 1, "generation": "../elsewhere"}))
    elif kind == "format":
        (folder / "current.json").write_text(json.dumps({"format": 2, "generation": current["generation"]}))
    elif kind == "dtype":
        text = (data / "state.json").read_text().replace('"int64"', '"load"')
        (data / "state.json").write_text(text)


@pytest.mark.parametrize("kind", ["byte", "short", "tree", "outside", "format", "dtype"])
def test_damage_is_found(kind, tmp_path):
    buffer = TensorDictPrioritizedReplayBuffer(ListStorage(50), alpha=0.7, beta=0.5)
    buffer.extend(rows(30))
    buffer.dumps(tmp_path)
    damaged(tmp_path, kind)
    with pytest.raises(CheckpointError, match="damaged, or no replay buffer"):
        buffer.loads(tmp_path)
    assert len(buffer) == 30


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no replay buffer at"):
        ReplayBuffer().loads(tmp_path)


CHILD = """
import sys, torch
from tensordict import TensorDict
from agents.replay import LazyTensorStorage, ReplayBuffer
buffer = ReplayBuffer(LazyTensorStorage(20_000))
version = 0
while True:
    version += 1
    buffer.extend(TensorDict({"version": torch.full((20_000, 20), version)}, [20_000]))
    buffer.dumps(sys.argv[1])
    print(version, flush=True)
"""


def test_killed_amid_dumps(tmp_path):
    folder = tmp_path / "replay"
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        whole = int(child.stdout.readline())
        # A dump of 3 MB takes some milliseconds, and nearly all the child does is dump.
        for attempt in range(3):
            time.sleep(0.013 * (attempt + 1))
            os.kill(child.pid, signal.SIGSTOP)
            buffer = ReplayBuffer(LazyTensorStorage(20_000))
            buffer.loads(folder)
            versions = buffer.storage.get(torch.arange(20_000))["version"]
            assert (versions == versions[0, 0]).all()
            assert versions[0, 0] >= whole
            os.kill(child.pid, signal.SIGCONT)
    finally:
        child.kill()
        child.communicate()
    buffer = ReplayBuffer(LazyTensorStorage(20_000))
    buffer.loads(folder)
    versions = buffer.storage.get(torch.arange(20_000))["version"]
    assert (versions == versions[0, 0]).all()
    # What the killed dump left goes with the next one.
    (folder / "0123456789abcdef").mkdir()
    buffer.dumps(folder)
    assert len(list(folder.iterdir())) == 2 + (folder / "current.json.partial").exists()


def test_frames(tmp_path):
    film = torch.randint(0, 255, (30, 2, 3), dtype=torch.uint8)
    stacks = torch.stack([film[t : t + 4] for t in range(25)])
    data = TensorDict({"pixels": stacks[:-1], "next": {"pixels": stacks[1:]}}, [24])
    buffer, other = ReplayBuffer(FrameStackStorage(20)), ReplayBuffer(FrameStackStorage(20))
    buffer.extend(data)
    buffer.dumps(tmp_path)
    other.loads(tmp_path)
    index = torch.arange(20)
    assert buffer.storage.frames == 24
    for _ in range(2):
        found, expected = other.storage.get(index), buffer.storage.get(index)
        assert torch.equal(found["pixels"], expected["pixels"])
        assert torch.equal(found["next", "pixels"], expected["next", "pixels"])
        assert other.storage.frames == buffer.storage.frames
        for each in (buffer, other):
            each.extend(data[:0])
            each.extend(data[20:])
