from __future__ import annotations

import gc
import os
import sys

import numpy as np
import pytest
import torch

from envkit import SharedMemoryError
from envkit.storage import shared
from envkit.storage.shared import SharedBlock, anonymous_file, lease


def descriptors():
    return len(os.listdir("/proc/self/fd"))


linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")


class TestSharedBlock:
    def test_is_seen_by_another_process(self):
        block = SharedBlock(100)
        pid = os.fork()
        if pid == 0:
            block.bytes[3] = 5
            os._exit(0)
        os.waitpid(pid, 0)
        assert block.bytes[:5].tolist() == [0, 0, 0, 5, 0]
        assert block.bytes.dtype == np.uint8
        assert len(block.bytes) == block.size == 100

    def test_is_seen_by_descriptor(self):
        block = SharedBlock(5000)
        other = SharedBlock(5000, os.dup(block.fd))
        block.bytes[4999] = 9
        assert other.bytes[4999] == 9
        other.bytes[0] = 1
        assert block.bytes[0] == 1

    @linux
    def test_is_reserved_at_once(self):
        block = SharedBlock(10 * 2**20)
        assert os.fstat(block.fd).st_blocks * 512 >= 10 * 2**20

    @linux
    def test_has_no_name(self):
        block = SharedBlock(100)
        assert "(deleted)" in os.readlink(f"/proc/self/fd/{block.fd}")
        assert "memfd" in os.readlink(f"/proc/self/fd/{block.fd}")

    @linux
    def test_holds_one_descriptor_until_it_is_forgotten(self):
        before = descriptors()
        block = SharedBlock(100)
        assert descriptors() == before + 1
        block.forget_descriptor()
        block.forget_descriptor()
        assert descriptors() == before
        block.bytes[0] = 3
        assert block.bytes[0] == 3

    @linux
    def test_lets_go_of_everything(self):
        def mapped():
            with open("/proc/self/maps") as file:
                return file.read().count("memfd:envkit")

        before = descriptors(), mapped()
        block = SharedBlock(2**20)
        kept = torch.from_numpy(block.bytes)[5:10]
        del block
        assert (descriptors(), mapped()) == (before[0], before[1] + 1)
        assert kept.tolist() == [0] * 5
        del kept
        gc.collect()
        assert (descriptors(), mapped()) == before

    def test_of_more_than_there_is(self, monkeypatch):
        monkeypatch.setattr(shared, "_available", lambda: 5 * 2**20)
        SharedBlock(4 * 2**20)
        with pytest.raises(SharedMemoryError, match=r"expected 6\.0 MiB, found 5 MiB available; fewer rows"):
            SharedBlock(6 * 2**20)

    @pytest.mark.parametrize("size", [2**50, 2**62, 2**80])
    def test_of_an_absurd_size(self, size):
        before = descriptors()
        with pytest.raises(SharedMemoryError, match="expected"):
            SharedBlock(size)
        assert descriptors() == before

    def test_whose_file_is_none(self):
        read, write = os.pipe()
        os.close(write)
        with pytest.raises(SharedMemoryError):
            SharedBlock(100, read)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(read)


class TestAvailable:
    """What a control group leaves, of both kinds, in the group itself and above it."""

    @pytest.fixture
    def group(self, tmp_path, monkeypatch):
        def make(kind, path, **groups):
            limit, use, cache = shared.GROUPS[kind][1:]
            for name, (most, used, cached) in groups.items():
                folder = tmp_path / "root" / path.split(name)[0] / name if name != "root" else tmp_path / "root"
                folder.mkdir(parents=True, exist_ok=True)
                (folder / limit).write_text(f"{most}\n")
                (folder / use).write_text(f"{used}\n")
                (folder / "memory.stat").write_text(f"other 3\n{cache} {cached}\n")
            (tmp_path / "membership").write_text(f"1:{kind}:/{path}\n" if kind else f"0::/{path}\n")
            monkeypatch.setattr(shared, "GROUPS", {kind: (str(tmp_path / "root"), limit, use, cache)})
            monkeypatch.setattr(shared, "MEMBERSHIP", str(tmp_path / "membership"))

        return make

    @pytest.mark.parametrize("kind", ["", "memory"])
    def test_is_what_the_group_leaves(self, kind, group):
        group(kind, "job", job=(10_000_000, 7_000_000, 1_000_000), root=("max", 0, 0))
        SharedBlock(4_000_000)
        with pytest.raises(SharedMemoryError, match="found 4 MiB available"):
            SharedBlock(4_000_001)

    @pytest.mark.parametrize("kind", ["", "memory"])
    def test_is_what_a_group_above_leaves(self, kind, group):
        group(kind, "job/step", step=("max", 0, 0), job=(3_000_000, 1_000_000, 0))
        with pytest.raises(SharedMemoryError):
            SharedBlock(2_000_001)

    def test_in_a_container(self, group):
        """The path is that of the host; the root is the container's."""
        group("memory", "docker/0123456789", root=(3_000_000, 1_000_000, 0))
        with pytest.raises(SharedMemoryError):
            SharedBlock(2_000_001)

    def test_is_unknown_without_a_word_from_the_system(self, monkeypatch):
        monkeypatch.setattr(shared, "MEMBERSHIP", "/nowhere")
        SharedBlock(100)


class TestLease:
    def test_is_returned_with_the_last_reference(self):
        block, returned = SharedBlock(100), []
        array = lease(block, lambda: returned.append(1))
        tensor = torch.from_numpy(array[10:20]).view(torch.int16)
        view = tensor[2:3]
        tensor[2] = 258
        del array, tensor
        gc.collect()
        assert returned == []
        assert view.tolist() == [258]
        del view
        gc.collect()
        assert returned == [1]
        assert block.bytes[14:16].tolist() == [2, 1]

    def test_again_and_again(self):
        block, returned = SharedBlock(100), []
        for number in range(3):
            array = lease(block, lambda number=number: returned.append(number))
            array[0] += 1
            del array
        gc.collect()
        assert returned == [0, 1, 2]
        assert block.bytes[0] == 3

    def test_keeps_the_memory(self):
        array = lease(SharedBlock(100), lambda: None)
        gc.collect()
        array[:] = 7
        assert array.sum() == 700


def test_anonymous_files_are_empty_and_apart():
    first, second = anonymous_file(), anonymous_file()
    os.write(first, b"text")
    assert os.fstat(first).st_size == 4
    assert os.fstat(second).st_size == 0
    os.close(first)
    os.close(second)
