"""R31: nothing piles up, however long it runs. `tox -e soak` runs it for half an hour, or ENVKIT_SOAK_MINUTES."""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
import uuid
from pathlib import Path

import cloudpickle
import pytest
import torch

from agents import LazyTensorStorage, ReplayBuffer
from envkit import Collector, GymEnv, MultiAsyncCollector, ParallelEnv

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc"),
    pytest.mark.xdist_group("soak"),  # one at a time: they look at /dev/shm
]
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file

RATE = 20e6 / 7200  # steps a second: 20 M in two hours
MIB_AN_HOUR = 5.0


def cartpole():
    return GymEnv("CartPole-v1")


class Scores(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scores = torch.nn.Linear(4, 2)

    def forward(self, observation):
        return self.scores(observation).argmax(-1)


class Leaky(GymEnv):
    """Holds on to something at each reset or step.

    Args:
        what: ``"memory"``, ``"descriptor"``, ``"segment"`` or ``"process"``; None for nothing.
    """

    def __init__(self, what=None):
        super().__init__("CartPole-v1")
        self.what, self.kept, self.episodes = what, [], 0

    def _reset(self, tensordict=None, **kwargs):
        self.episodes += 1
        if self.what == "descriptor":
            self.kept.append(os.open("/dev/null", os.O_RDONLY))
        elif self.what == "segment":
            Path(f"/dev/shm/envkit-soak-{uuid.uuid4().hex}").touch()
        elif self.what == "process" and self.episodes % 5 == 0:
            self.kept.append(os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "60"))
        return super()._reset(tensordict, **kwargs)

    def _step(self, tensordict):
        if self.what == "memory":
            # Of the system's, at once: what Python asks for may be there, free, in a process that is forked.
            self.kept.append(mmap.mmap(-1, 1 << 15, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
            self.kept[-1].write(bytes(range(256)) * (1 << 7))
        return super()._step(tensordict)


@contextlib.contextmanager
def at_work(make, workers, frames, **options):
    """A function that collects in both ways of several processes, keeps what it gets, learns and publishes.

    Batches of ParallelEnv are stepped from here, those of MultiAsyncCollector come ready from the workers.
    """
    policy, buffer = Scores(), ReplayBuffer(LazyTensorStorage(10_000), batch_size=64)
    batch = ParallelEnv(workers, make, **options)
    together = Collector(batch, policy, frames_per_batch=frames)
    apart = MultiAsyncCollector(make, policy, num_workers=workers, frames_per_batch=frames, **options)

    def work():
        for collector in (together, apart):
            buffer.extend(collector.next().reshape(-1).select("observation", "action", "next"))
            with torch.no_grad():
                policy.scores.weight += 0.01 * buffer.sample()["observation"].mean(0)
            collector.update_policy_weights_()
        return 2 * frames

    with together, apart:
        yield work


@pytest.mark.soak
def test_nothing_piles_up(soaking, capsys):
    minutes = float(os.environ.get("ENVKIT_SOAK_MINUTES", "30"))
    with at_work(cartpole, 4, 400) as work:
        samples, steps = soaking.soak(work, 60 * minutes, RATE)
    found = soaking.verdict(samples, MIB_AN_HOUR)
    with capsys.disabled():
        print(f"\n{steps:,} steps in {samples[-1].seconds / 60:.1f} minutes\n{found.table}")
    assert not found.problems


@pytest.fixture
def no_segments():
    """Removes what an env leaves in /dev/shm."""
    yield
    for name in Path("/dev/shm").glob("envkit-soak-*"):
        name.unlink(missing_ok=True)


class TestMeasuring:
    """That the soak test would find what it looks for."""

    @pytest.mark.parametrize(
        ("what", "text"),
        [
            ("memory", "memory of process"),
            ("descriptor", "descriptors of process"),
            ("segment", "/dev/shm"),
            ("process", "processes"),
        ],
    )
    def test_finds_what_leaks(self, what, text, soaking, no_segments):
        with at_work(lambda: Leaky(what), 1, 20, mp_start_method="fork") as work:
            samples, _ = soaking.soak(work, 1.0)
        problems = soaking.verdict(samples, MIB_AN_HOUR).problems
        assert any(problem.startswith(text) for problem in problems), problems

    def test_finds_nothing_where_nothing_leaks(self, soaking):
        with at_work(Leaky, 1, 20, mp_start_method="fork") as work:
            for _ in range(50):
                work()
            samples, steps = soaking.soak(work, 1.0)
        assert steps > 0
        assert not soaking.verdict(samples, float("inf")).problems

    @pytest.mark.parametrize(("growth", "fine"), [(0.0, True), (4.0, True), (6.0, False)])
    def test_tells_growth_from_noise(self, growth, fine, soaking):
        noise = torch.rand(200, generator=torch.Generator().manual_seed(0))
        samples = []
        for i in range(200):
            seconds = 9.0 * i
            resident = int((200 + growth * seconds / 3600 + float(noise[i])) * 2**20)
            samples.append(soaking.Sample(seconds, {1: soaking.Held(resident, 5, 2)}, frozenset()))
        found = soaking.verdict(samples, MIB_AN_HOUR)
        assert found.slopes[1] == pytest.approx(growth, abs=0.8)
        assert (not found.problems) is fine
