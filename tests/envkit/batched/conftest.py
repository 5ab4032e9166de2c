"""Envs that go wrong when they are told to, and a look at what is left behind."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import torch
from tensordict import TensorDict, TensorDictBase

from envkit import Bounded, EnvBase, Unbounded

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file

MOMENTS = ("build", "reset", "step", "close", "asked")


class Troubled(EnvBase):
    """Counts its steps; the observation is that count and the number of the episode. Something happens in between.

    Args:
        moment: when: in ``"build"``, ``"reset"``, ``"step"``, ``"close"``, or when :meth:`ask` is called.
        what: what happens; it is given the env.
        at: at which step of an episode.
        once: a file, if it happens only as long as that is not there; it is there from then on.
        length: of episodes.
    """

    def __init__(
        self,
        moment: str | None = None,
        what: Callable[[EnvBase], Any] | None = None,
        at: int = 0,
        once: str | None = None,
        length: int = 1000,
    ) -> None:
        super().__init__()
        assert moment is None or moment in MOMENTS
        self.moment, self.what, self.at, self.once, self.length = moment, what, at, once, length
        self.observation_spec = Unbounded((2,))
        self.action_spec = Bounded(-1.0, 1.0, shape=(1,))
        self.count = self.episode = 0
        self.seed_given: int | None = None
        self._reach("build")

    def _reach(self, moment: str) -> Any:
        if moment != self.moment or (moment == "step" and self.count != self.at):
            return None
        if self.once is not None:
            try:
                os.close(os.open(self.once, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return None
        return self.what(self)

    def _set_seed(self, seed: int | None) -> None:
        self.seed_given = seed

    def _observation(self) -> torch.Tensor:
        return torch.tensor([float(self.count), float(self.episode)])

    def _reset(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        self._reach("reset")
        self.count, self.episode = 0, self.episode + 1
        return TensorDict({"observation": self._observation()})

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        said = self._reach("step")
        if said is not None:
            return said
        self.count += 1
        return TensorDict(
            {"observation": self._observation(), "reward": tensordict["action"], "done": self.count >= self.length}
        )

    def ask(self) -> int:
        """The process of the env."""
        self._reach("asked")
        return os.getpid()

    def close(self) -> None:
        if not self.is_closed:
            super().close()
            self._reach("close")


def processes() -> dict[int, tuple[int, int, str]]:
    """Parent, session and state of all processes there are."""
    found = {}
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            state, parent, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            found[int(folder.name)] = int(parent), int(session), state
    return found


def offspring() -> set[int]:
    """The processes that this one has started, and those that they have; without those that have ended."""
    known = processes()
    found, last = set(), {os.getpid()}
    while last:
        last = {pid for pid, (parent, _, state) in known.items() if parent in last and state not in "ZX"}
        found |= last
    return found


def alive(pid: int) -> bool:
    """Whether any thread of a process runs: the first one may have ended before the others."""
    states = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            states.append((task / "stat").read_text().rpartition(")")[2].split()[0])
    return any(state not in "ZX" for state in states)


def members(session: int) -> set[int]:
    """The processes of a session, orphans included."""
    return {pid for pid, (_, own, state) in processes().items() if own == session and state not in "ZX"}


def descriptors() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.add(f"{name} -> {os.readlink(f'/proc/self/fd/{name}')}")
    return found


def soon(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether ``condition`` comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fails if what is done takes longer."""
    begun = time.monotonic()
    yield
    took = time.monotonic() - begun
    assert took < seconds, f"took {took:.1f} s, expected less than {seconds} s"


class _Faults:
    """What tests of faults share."""

    Troubled = Troubled
    offspring = staticmethod(offspring)
    alive = staticmethod(alive)
    members = staticmethod(members)
    descriptors = staticmethod(descriptors)
    soon = staticmethod(soon)
    within = staticmethod(within)


@pytest.fixture(scope="session")
def faults() -> type[_Faults]:
    return _Faults


@pytest.fixture(scope="module")
def only_what_is_new() -> Iterator[None]:
    """Has garbage be looked for among new objects alone, which is quick."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def nothing_left(only_what_is_new: None) -> Iterator[None]:
    """Fails if a test leaves processes or open files behind."""
    gc.collect()
    processes_before, files_before = offspring(), descriptors()
    yield
    gc.collect()
    assert soon(lambda: offspring() <= processes_before), f"left: {offspring() - processes_before}"
    assert not (left := descriptors() - files_before), f"left open: {left}"
