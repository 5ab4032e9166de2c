"""Metrics of a run as TensorBoard events."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter

__all__ = ["EventsFolder"]

_NOT_CURVES = {"steps", "time", "cpu_time", "eval_time"}


class EventsFolder:
    """Writes TensorBoard events below a folder, every metric as a curve over environment steps.

    Args:
        path: The folder, created if need be.
        after: Steps from which a run goes on: what is beyond them is not shown any more.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> with EventsFolder(Path(folder.name)) as events:
        ...     events.write({"steps": 256, "return_mean": 21.5})
        >>> any(Path(folder.name).iterdir())
        True
        >>> folder.cleanup()
    """

    def __init__(self, path: Path, *, after: int | None = None) -> None:
        self._writer = SummaryWriter(str(path), flush_secs=10, purge_step=None if after is None else after + 1)

    def write(self, record: Mapping[str, float]) -> None:
        """Add one point to every curve; ``record["steps"]`` is where on the axis."""
        for key, value in record.items():
            if key not in _NOT_CURVES and math.isfinite(value):
                tag = key.replace("eval_", "eval/", 1) if key.startswith("eval_") else f"train/{key}"
                self._writer.add_scalar(tag, value, int(record["steps"]))

    def close(self) -> None:
        """Flush and close the events file."""
        self._writer.close()

    def __enter__(self) -> EventsFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
