"""What a benchmark case is, and how one run of it is timed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

CHUNKS = 10


@dataclass(frozen=True)
class Sample:
    """One measured value, the same by CPU time (None where that means nothing), and a remark.

    `limit` is the wanted value, where it depends on something that was measured in the same run; see `Case.limit`.
    """

    value: float
    cpu_value: float | None = None
    note: str = ""
    limit: float | None = None


Implementation = Callable[[int], Sample]


@dataclass(frozen=True)
class Case:
    """A figure we promise: our implementations and the peers' on the same work.

    The first of `ours` is the one the ratios are about; any further ones are variants shown for information.

    Args:
        unit: what the value counts.
        size: amount of work handed to each implementation (`--quick` divides it by ten). Slow peers may do
            a fraction of it, since a value is always per step, per second or per import.
        ours: implementations of this project by name.
        peers: implementations with other libraries by name.
        targets: wanted ratio ours / peer by peer name: at least that, or at most that where lower is better.
        limit: wanted value of ours itself, on the same understanding.
        lower_is_better: the value is a cost (seconds), not a rate.
    """

    unit: str
    size: int
    ours: dict[str, Implementation]
    peers: dict[str, Implementation]
    targets: dict[str, float] = field(default_factory=dict)
    limit: float | None = None
    lower_is_better: bool = False

    @property
    def implementations(self) -> dict[str, Implementation]:
        """All implementations, ours first."""
        return {**self.ours, **self.peers}

    def meets(self, value: float, target: float) -> bool:
        """Whether a ratio or value is on the wanted side of its target."""
        return value <= target if self.lower_is_better else value >= target


def clock(work: Callable[[], object], cpu: Callable[[], float] = time.process_time) -> tuple[float, float]:
    """Wall seconds and CPU seconds of one call; `cpu` reads the latter's clock."""
    used, start = cpu(), time.perf_counter()
    work()
    wall = time.perf_counter() - start
    return wall, cpu() - used


def rate(
    work: Callable[[], object], count: int, note: str = "", cpu: Callable[[], float] = time.process_time
) -> Sample:
    """Clock `work`, which does `count` units, as units per second."""
    wall, used = clock(work, cpu)
    return Sample(count / wall, count / used, note)


def family_time() -> float:
    """CPU seconds of this process and of all that descend from it and run; to a hundredth."""
    parents, used = {}, {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            values = file.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        pid = int(file.parent.name)
        parents[pid], used[pid] = int(values[1]), int(values[11]) + int(values[12])
    family = {os.getpid()}
    while added := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= added
    return sum(used.get(pid, 0) for pid in family) / os.sysconf("SC_CLK_TCK")


def added(through: Callable[[], object], own: Callable[[], object], count: int) -> Sample:
    """Microseconds per step that `through` takes beyond `own`, each of which does `count` steps.

    The median over chunks, in which the two are clocked in turn.
    """
    through(), own()  # libraries check the first steps of an env
    chunks = [(clock(through), clock(own)) for _ in range(CHUNKS)]
    wall, cpu = (median((a[i] - b[i]) / count * 1e6 for a, b in chunks) for i in range(2))
    return Sample(wall, cpu)
