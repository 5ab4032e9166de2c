"""How long training takes, evaluations left out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

__all__ = ["TrainingClock"]


class TrainingClock:
    """Counts wall and CPU seconds of training, and apart from them the wall seconds of evaluations.

    Args:
        record: The last metrics of a run that goes on, whose times are counted on from.

    Attributes:
        wall: Wall seconds of training, at the last :meth:`read`.
        cpu: CPU seconds of this process in training, at the last :meth:`read`.
        evaluations: Wall seconds of evaluations.

    Example:
        >>> clock = TrainingClock({"time": 60.0, "cpu_time": 50.0, "eval_time": 5.0})
        >>> with clock.evaluating():
        ...     pass
        >>> sorted(clock.read()), clock.wall >= 60.0
        (['cpu_time', 'eval_time', 'time'], True)
    """

    def __init__(self, record: Mapping[str, Any] | None = None) -> None:
        record = record or {}
        self.wall: float = record.get("time", 0.0)
        self.cpu: float = record.get("cpu_time", 0.0)
        self.evaluations: float = record.get("eval_time", 0.0)
        self._marks = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """Return all three as metrics, after taking in the time since the clock was made or last read."""
        marks = time.perf_counter(), time.process_time()
        self.wall += marks[0] - self._marks[0]
        self.cpu += marks[1] - self._marks[1]
        self._marks = marks
        return {
            "time": round(self.wall, 3),
            "cpu_time": round(self.cpu, 3),
            "eval_time": round(self.evaluations, 3),
        }

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Count the time in this context as that of an evaluation."""
        self.read()
        began = time.perf_counter()
        try:
            yield
        finally:
            self._marks = time.perf_counter(), time.process_time()
            self.evaluations += self._marks[0] - began
