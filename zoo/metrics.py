"""Metrics of a run as JSON lines: one record a line, on disk as soon as it is written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from zoo.files import write_text

__all__ = ["MetricsFile", "read_metrics"]


class MetricsFile:
    """Appends records to a file that did not exist before, or to that of a run that goes on.

    Args:
        path: The file to create.
        after: Steps from which the run of the file goes on: records beyond them are dropped, as they will come again.

    Raises:
        FileExistsError: There is a file already, and no run goes on; metrics of two runs are never mixed.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = Path(folder.name) / "metrics.jsonl"
        >>> with MetricsFile(path) as file:
        ...     file.write({"steps": 256, "return_mean": float("nan")})
        >>> read_metrics(path)
        [{'steps': 256, 'return_mean': None}]
        >>> folder.cleanup()
    """

    def __init__(self, path: Path, *, after: int | None = None) -> None:
        if after is None:
            self._file = path.open("x", encoding="utf-8")
            return
        kept = [record for record in read_metrics(path) if record["steps"] <= after] if path.exists() else []
        write_text(path, "".join(json.dumps(record) + "\n" for record in kept))
        self._file = path.open("a", encoding="utf-8")

    def write(self, record: Mapping[str, float]) -> None:
        """Append one record and flush it; values that JSON cannot hold (nan, infinities) become null."""
        finite = {key: value if math.isfinite(value) else None for key, value in record.items()}
        self._file.write(json.dumps(finite, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> MetricsFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the records of a metrics file; a last line cut short by a crash is left out.

    Raises:
        ValueError: A line before the last is no JSON object.
    """
    lines = path.read_text(encoding="utf-8").split("\n")
    records = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}:{number}: not JSON ({error})") from error
        if not isinstance(record, dict):
            raise ValueError(f"{path}:{number}: expected a JSON object, found {line[:60]!r}")
        records.append(record)
    return records
