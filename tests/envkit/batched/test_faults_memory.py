"""R13, R15 and R19: much data, little memory, and nothing that piles up."""

from __future__ import annotations

import gc
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from envkit import GymWrapper, ParallelEnv, SerialEnv, SharedMemoryError, Unbounded
from envkit.storage import shared

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc"),
    pytest.mark.usefixtures("nothing_left"),
]


@pytest.fixture
def wide(faults):
    """An env with a large observation."""

    class Wide(faults.Troubled):
        def __init__(self, size):
            super().__init__()
            self.size = size
            self.observation_spec = Unbounded((size,))

        def _observation(self):
            return torch.full((self.size,), float(self.count))

    return Wide


class TestAwkwardEnvs:
    """R13."""

    def test_that_use_one_buffer_again_and_again(self, line, tools):
        batches = [
            SerialEnv(2, lambda: GymWrapper(line())),
            ParallelEnv(2, lambda: GymWrapper(line()), mp_start_method="fork"),
        ]
        found = []
        for env in batches:
            actions = tools.draw_actions(env, 12)
            found.append(env.rollout(12, tools.FixedPolicy(actions), break_when_any_done=False))
            env.close()
        tools.assert_same(found[1], found[0])
        assert found[1]["next", "observation"][0, :, 0].tolist() == [*range(1, 11), 1, 2]

    def test_that_talk(self, faults, capfd):
        def talk(env):
            print("x" * 100_000)
            os.write(2, b"y" * 100_000)

        env = ParallelEnv(
            2, faults.Troubled, create_env_kwargs={"moment": "reset", "what": talk}, mp_start_method="fork"
        )
        for _ in range(10):
            env.reset()
        env.close()

    def test_that_are_slow_do_not_hold_up_others(self, faults):
        def doze(env):
            time.sleep(2.0)

        env = ParallelEnv(
            2,
            faults.Troubled,
            create_env_kwargs=[{}, {"moment": "reset", "what": doze}],
            mp_start_method="fork",
        )
        env.start()
        quick = env[0]
        quick.rollout(2)
        begun = time.monotonic()
        quick.rollout(50)
        assert time.monotonic() - begun < 2.0
        env.close()

    def test_that_are_large(self, wide):
        """A reset and a step of 100 MB, and arguments of as much."""
        ballast = np.ones(25_000_000, np.float32)

        class Loaded(wide):
            def __init__(self, ballast):
                super().__init__(25_000_000)
                assert ballast.sum() == 25_000_000

        env = ParallelEnv(1, Loaded, create_env_kwargs={"ballast": ballast}, mp_start_method="fork")
        td = env.reset()
        td = env.step(td.set("action", torch.zeros(1, 1)))
        assert td["next", "observation"].sum() == 25_000_000
        env.close()

    def test_whose_infos_cannot_be_sent(self, line):
        """R12: infos stay where they are, but for what an info reader makes numbers of."""
        env = ParallelEnv(1, lambda: GymWrapper(line(info={"lock": _lock()})), mp_start_method="fork")
        assert env.rollout(3).batch_size == (1, 3)
        env.close()


def _lock():
    import threading

    return threading.Lock()


class TestTooLittleMemory:
    """R15."""

    def test_is_said_at_once(self, wide, monkeypatch):
        env = ParallelEnv(2, wide, create_env_kwargs={"size": 1_000_000}, mp_start_method="fork")
        env.start()
        monkeypatch.setattr(shared, "_available", lambda: 50 * 2**20)
        with pytest.raises(SharedMemoryError, match=r"expected 1[\d,.]+ MiB, found 50 MiB available; fewer rows"):
            env.rollout(10, break_when_any_done=False)
        monkeypatch.undo()
        assert env.rollout(2).batch_size == (2, 2)  # nothing is broken
        env.close()

    def test_for_an_absurd_number_of_rows(self, wide):
        env = ParallelEnv(1, wide, create_env_kwargs={"size": 1_000_000}, mp_start_method="fork")
        env.start()
        with pytest.raises(SharedMemoryError, match="MiB available"):
            env._crew.slabs(env.plan, (0,), 10**9)
        env.close()

    def test_nothing_lies_in_a_small_file_system(self, faults):
        env = ParallelEnv(2, faults.Troubled, mp_start_method="fork")
        env.rollout(3)
        for pid in [os.getpid(), *env.ask()]:
            assert "/dev/shm" not in Path(f"/proc/{pid}/maps").read_text()
        env.close()


class TestNothingPilesUp:
    """R19."""

    def test_in_data_that_is_kept(self, faults):
        """One descriptor for each rollout would be the end of it after a thousand."""
        env = ParallelEnv(2, faults.Troubled, mp_start_method="fork")
        kept = [env.rollout(2) for _ in range(3)]
        before = len(faults.descriptors())
        workers = [len(os.listdir(f"/proc/{pid}/fd")) for pid in env.ask()]
        kept += [env.rollout(2) for _ in range(50)]
        assert len(faults.descriptors()) == before
        assert [len(os.listdir(f"/proc/{pid}/fd")) for pid in env.ask()] == workers
        assert all(torch.equal(data["observation"], kept[0]["observation"] + _episode(data, kept)) for data in kept)
        env.close()

    def test_where_descriptors_are_few(self, faults):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        env = ParallelEnv(2, faults.Troubled, mp_start_method="fork")
        env.rollout(2)
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(faults.descriptors()) + 20, hard))
        try:
            kept = [env.rollout(2) for _ in range(60)]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert len({data["observation"].data_ptr() for data in kept}) == 60
        env.close()

    def test_where_there_are_too_few_descriptors_to_start(self, faults):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        env = ParallelEnv(8, faults.Troubled, mp_start_method="fork")
        before = faults.descriptors()
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(before) + 30, hard))
        try:
            with pytest.raises((OSError, RuntimeError), match="Too many open files"):
                env.start()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert env.rollout(2).batch_size == (8, 2)
        env.close()

    @pytest.mark.parametrize("failing", [False, True])
    def test_in_opening_and_closing(self, failing, faults):
        rounds = 5
        _open_and_close(faults, failing, 2)
        gc.collect()
        before = faults.descriptors()
        _open_and_close(faults, failing, rounds)
        gc.collect()
        assert faults.descriptors() == before

    @pytest.mark.slow
    def test_in_opening_and_closing_many_times(self, faults):
        _open_and_close(faults, False, 10)
        gc.collect()
        before, memory = faults.descriptors(), _resident()
        _open_and_close(faults, False, 50)
        gc.collect()
        assert faults.descriptors() == before
        assert _resident() - memory < 5 * 2**20


def _episode(data, kept):
    return torch.tensor([0.0, 1.0]) * (data["observation"][0, 0, 1] - kept[0]["observation"][0, 0, 1])


def _resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _open_and_close(faults, failing, rounds):
    def fail(env):
        raise ValueError

    kwargs = {"moment": "step", "what": fail} if failing else {}
    for _ in range(rounds):
        env = ParallelEnv(2, faults.Troubled, create_env_kwargs=kwargs, mp_start_method="fork")
        if failing:
            with pytest.raises(RuntimeError):
                env.rollout(5)
        else:
            env.rollout(5)
        env.close()
