import os
import signal
import subprocess
import sys

import pytest
import torch
from tensordict import TensorDict

from agents.replay import (
    LazyMemmapStorage,
    LazyTensorStorage,
    PrioritizedReplayBuffer,
    ReplayBuffer,
    lazy_memmap_storage,
    memmap_file,
)
from envkit.errors import CheckpointError


def rows(start, stop):
    number = torch.arange(start, stop)
    return TensorDict({"a": number, "next": {"done": (number % 3 == 0).unsqueeze(-1)}}, [stop - start])


def test_as_in_memory(tmp_path):
    storage, other = LazyMemmapStorage(5, tmp_path), LazyTensorStorage(5)
    for start, stop in ((0, 3), (3, 9), (9, 10)):
        assert torch.equal(storage.extend(rows(start, stop)), other.extend(rows(start, stop)))
    index = torch.arange(5)
    assert torch.equal(storage.get(index)["a"], other.get(index)["a"])
    assert torch.equal(storage.get(index)["next", "done"], other.get(index)["next", "done"])


@pytest.mark.parametrize("ndim", [1, 2])
def test_reopened_it_goes_on(tmp_path, ndim):
    def data(start, stop):
        return rows(start, stop) if ndim == 1 else torch.stack([rows(start, stop), rows(start + 100, stop + 100)])

    storage = LazyMemmapStorage(9, tmp_path, ndim)
    storage.extend(data(0, 11))
    again = LazyMemmapStorage(9, tmp_path, ndim, reopen=True)
    assert again.generation == storage.generation
    assert (again.count, len(again), again.streams) == (storage.count, len(storage), ndim)
    every = torch.arange(len(storage))
    assert torch.equal(again.get(every)["a"], storage.get(every)["a"])
    assert torch.equal(again.extend(data(11, 13)), storage.extend(data(11, 13)))


def test_a_new_prioritized_buffer_on_old_items(tmp_path):
    LazyMemmapStorage(50, tmp_path).extend(rows(0, 30))
    buffer = PrioritizedReplayBuffer(LazyMemmapStorage(50, tmp_path, reopen=True), alpha=1.0, beta=1.0)
    buffer.update_priority(torch.arange(30), torch.eye(30)[7] * 1e12)
    assert set(buffer.sample(20)["a"].tolist()) == {7}
    buffer.extend(rows(30, 60))
    assert len(buffer) == 50


def test_states_move_between_disk_and_memory(tmp_path):
    buffer, other = ReplayBuffer(LazyMemmapStorage(50, tmp_path / "rows")), ReplayBuffer(LazyTensorStorage(50))
    buffer.extend(rows(0, 70))
    buffer.dumps(tmp_path / "dump")
    other.loads(tmp_path / "dump")
    every = torch.arange(50)
    assert torch.equal(other.storage.get(every)["a"], buffer.storage.get(every)["a"])


def test_a_folder_of_other_items(tmp_path):
    LazyMemmapStorage(5, tmp_path).extend(rows(0, 3))
    with pytest.raises(FileExistsError, match=r"expected a scratch_dir without items, found .*reopen=True goes on"):
        LazyMemmapStorage(5, tmp_path)
    with pytest.raises(FileNotFoundError, match="found no such file"):
        LazyMemmapStorage(5, tmp_path / "other", reopen=True)
    with pytest.raises(ValueError, match="max_size=6 and ndim=1, found one of 5 items of 1 sequences"):
        LazyMemmapStorage(6, tmp_path, reopen=True)
    again = LazyMemmapStorage(5, tmp_path, reopen=True)
    with pytest.raises(ValueError, match=r"expected the keys \['a', 'next'\], as first written; found \['b'\]"):
        again.extend(TensorDict({"b": torch.zeros(2)}, [2]))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: os.truncate(file, 4_100), "damaged: expected .* bytes, found 4100"),
        (lambda file: os.truncate(file, 10), "expected a file that begins with"),
        (lambda file: file.write_bytes(b"\x80\x04" + file.read_bytes()[2:]), "expected a file that begins with"),
        (lambda file: file.write_bytes(file.read_bytes().replace(b"int64", b"int65")), "damaged header"),
        (
            lambda file: file.write_bytes(file.read_bytes()[:72] + b"\x09" + file.read_bytes()[73:]),
            "found 9 of 3 written",
        ),
    ],
)
def test_damage_is_found(tmp_path, damage, message):
    LazyMemmapStorage(5, tmp_path).extend(rows(0, 3))
    damage(tmp_path / lazy_memmap_storage.NAME)
    with pytest.raises(CheckpointError, match=message):
        LazyMemmapStorage(5, tmp_path, reopen=True)


def test_too_little_space(tmp_path, monkeypatch):
    usage = memmap_file.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(memmap_file.shutil, "disk_usage", lambda path: usage._replace(free=1_000))
    with pytest.raises(OSError, match=r"GiB for 100 items of 16 bytes, found 0.0 GiB free"):
        LazyMemmapStorage(100, tmp_path).extend(rows(0, 3))
    assert not list(tmp_path.iterdir())


def test_a_folder_of_its_own_goes_with_it():
    storage = LazyMemmapStorage(5)
    storage.extend(rows(0, 3))
    folder = storage.scratch_dir
    assert folder.is_dir()
    del storage
    assert not folder.exists()


CHILD = """
import os, signal, sys, torch
from tensordict import TensorDict
from agents.replay import LazyMemmapStorage
storage = LazyMemmapStorage(100, sys.argv[1])
for i in range(70):
    storage.add(TensorDict({"a": torch.tensor(i)}))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_what_it_wrote(tmp_path):
    done = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    storage = LazyMemmapStorage(100, tmp_path, reopen=True)
    assert storage.get(torch.arange(len(storage)))["a"].tolist() == list(range(70))
