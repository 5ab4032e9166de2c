"""Showing how far training is: a live bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

__all__ = ["LiveBar", "PlainLines", "Quiet", "describe"]


def describe(metrics: Mapping[str, float], total_steps: int) -> str:
    """Say how far training is, how fast, how well, and how long it will take.

    Example:
        >>> describe({"steps": 2048, "steps_per_second": 1024.0, "return_mean": 21.5}, 4096)
        '2,048/4,096 steps | 1,024 steps/s | return 21.5 | 0:00:02 left'
    """
    steps, speed, value = metrics["steps"], metrics.get("steps_per_second", 0.0), metrics.get("return_mean")
    parts = [f"{int(steps):,}/{total_steps:,} steps", f"{speed:,.0f} steps/s"]
    parts.append("return -" if value is None or value != value else f"return {value:.1f}")
    if speed > 0:
        parts.append(f"{timedelta(seconds=round(max(0, total_steps - steps) / speed))} left")
    return " | ".join(parts)


class Quiet:
    """Shows nothing."""

    def __call__(self, metrics: Mapping[str, float]) -> None:
        """Take the metrics of an iteration."""

    def __enter__(self) -> Quiet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Show nothing."""


class PlainLines(Quiet):
    """Writes a line every few seconds, without control codes.

    Args:
        total_steps: Steps of the whole training.
        write: Writes one line.
        seconds: Time between lines.

    Example:
        >>> lines = PlainLines(4096, print)
        >>> lines({"steps": 2048, "steps_per_second": 1024.0, "return_mean": 21.5})
        2,048/4,096 steps | 1,024 steps/s | return 21.5 | 0:00:02 left
    """

    def __init__(self, total_steps: int, write: Callable[[str], None], seconds: float = 5.0) -> None:
        self._total_steps = total_steps
        self._write = write
        self._seconds = seconds
        self._written_at = -seconds

    def __call__(self, metrics: Mapping[str, float]) -> None:
        """Write a line, unless the last one is recent."""
        now = time.monotonic()
        if now - self._written_at >= self._seconds or metrics["steps"] >= self._total_steps:
            self._written_at = now
            self._write(describe(metrics, self._total_steps))


class LiveBar(Quiet):
    """Keeps a progress bar at the bottom of the terminal up to date.

    Args:
        total_steps: Steps of the whole training.
        console: The terminal.
    """

    def __init__(self, total_steps: int, console: Console) -> None:
        self._total_steps = total_steps
        self._progress = Progress(
            BarColumn(bar_width=30), TextColumn("{task.description}"), console=console, refresh_per_second=5
        )
        self._task = self._progress.add_task("building the environment", total=total_steps)

    def __call__(self, metrics: Mapping[str, float]) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=metrics["steps"], description=describe(metrics, self._total_steps))

    def __enter__(self) -> LiveBar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
