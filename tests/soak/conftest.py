"""What this process and its workers hold on to, looked at again and again while something runs."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

MIB, HOUR = 2**20, 3600.0
MOST, FEWEST = 200, 20  # samples of a run


class Held(NamedTuple):
    """What one process holds."""

    resident: int
    """Bytes of memory."""
    descriptors: int
    mappings: int
    """Of memory that processes share: files in /dev/shm, and memory without a name."""


class Sample(NamedTuple):
    """What all of them hold, at a time in seconds; and the names there are in /dev/shm."""

    seconds: float
    held: dict[int, Held]
    segments: frozenset[str]


class Verdict(NamedTuple):
    """What was found, and what is wrong with it."""

    slopes: dict[int, float]
    """MiB an hour by which each process has grown."""
    problems: list[str]
    table: str


def family() -> list[int]:
    """This process and all that it has started, and they have."""
    parents = {}
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if state not in "ZX":
                parents[int(folder.name)] = int(parent)
    found, last = [], [os.getpid()]
    while last:
        found += last
        last = [pid for pid, parent in parents.items() if parent in last]
    return sorted(found)


def held(pid: int) -> Held:
    folder = Path(f"/proc/{pid}")
    # `statm` is quicker, and wrong by as many pages as each processor has not reported yet.
    resident = next(line for line in (folder / "smaps_rollup").read_text().splitlines() if line.startswith("Rss:"))
    shared = sum("/dev/shm/" in line or "/memfd:" in line for line in (folder / "maps").read_text().splitlines())
    return Held(int(resident.split()[1]) * 1024, len(os.listdir(folder / "fd")), shared)


def sample(begun: float) -> Sample:
    return Sample(time.monotonic() - begun, {pid: held(pid) for pid in family()}, frozenset(os.listdir("/dev/shm")))


def slope(seconds: list[float], resident: list[int]) -> float:
    """MiB an hour, by the line of least squares."""
    return float(np.polyfit(seconds, resident, 1)[0]) * HOUR / MIB


def verdict(samples: list[Sample], limit: float) -> Verdict:
    """Judges the last four fifths of a run; the first is for warming up.

    Args:
        samples: what was seen.
        limit: MiB an hour by which no process may grow.
    """
    kept = samples[len(samples) // 5 :]
    first, early, late = kept[0], kept[: len(kept) // 2], kept[len(kept) // 2 :]
    seconds = [one.seconds for one in kept]
    slopes, problems, rows = {}, [], []
    for one in kept:
        if one.held.keys() != first.held.keys():
            problems.append(
                f"processes: expected {sorted(first.held)}, found {sorted(one.held)} at {one.seconds:.0f} s"
            )
            return Verdict({}, problems, "")
    for pid in first.held:
        resident = [one.held[pid].resident for one in kept]
        slopes[pid] = slope(seconds, resident)
        if slopes[pid] > limit:
            problems.append(f"memory of process {pid}: expected {limit} MiB an hour at most, found {slopes[pid]:.1f}")
        row = f"{pid:>8}{resident[0] / MIB:>10.1f}{resident[-1] / MIB:>10.1f}{slopes[pid]:>10.2f}"
        for name in ("descriptors", "mappings"):
            before, after = (max(getattr(one.held[pid], name) for one in half) for half in (early, late))
            if after > before:
                problems.append(f"{name} of process {pid}: expected {before} at most, as before, found {after}")
            row += f"{before:>12}{after:>6}"
        rows.append(row)
    lasting = frozenset.intersection(*(one.segments for one in kept[-len(kept) // 10 :]))  # others come and go
    if new := lasting - first.segments:
        problems.append(f"/dev/shm: expected nothing new, found {sorted(new)}")
    head = (
        f"{'process':>8}{'MiB':>10}{'at end':>10}{'MiB/h':>10}{'descriptors':>12}{'late':>6}{'mappings':>12}{'late':>6}"
    )
    return Verdict(slopes, problems, "\n".join([head, *rows]))


def soak(work: Callable[[], int], seconds: float, rate: float | None = None) -> tuple[list[Sample], int]:
    """Does ``work`` again and again, and looks at what is held 200 times (20 at least, where there is little time).

    Args:
        work: does something, returns how many steps it has made.
        seconds: for how long.
        rate: steps a second, if it is not to be as many as possible.

    Returns:
        The samples, and the number of steps.
    """
    begun, steps, samples = time.monotonic(), 0, []
    while (now := time.monotonic() - begun) < seconds or len(samples) < FEWEST:
        if now >= len(samples) * seconds / MOST:
            samples.append(sample(begun))
        steps += work()
        if rate is not None:
            time.sleep(max(0.0, steps / rate - (time.monotonic() - begun)))
    return samples, steps


class _Soaking:
    """What the tests share."""

    soak = staticmethod(soak)
    verdict = staticmethod(verdict)
    slope = staticmethod(slope)
    Sample, Held = Sample, Held


@pytest.fixture(scope="session")
def soaking() -> type[_Soaking]:
    return _Soaking
