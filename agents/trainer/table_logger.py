"""A table of averages for the console, on top of any logger."""

from __future__ import annotations

import math
import sys
import time
from datetime import timedelta
from typing import Any, TextIO

from envkit import Logger

__all__ = ["TableLogger"]

Rows = list[tuple[str, str]]


class TableLogger:
    """Averages the values given under each name, and prints them as a table; what it prints, a logger keeps.

    The table is one of ``rich`` where that is installed, and plain text otherwise.

    Args:
        logger: where averages and histograms are kept as well, one of :func:`~envkit.get_logger`; None for nowhere.
        prefix: put before each name there.
        file: where the table is printed, standard output by default.

    Examples:
        >>> import io
        >>> table = TableLogger(file=io.StringIO())
        >>> table.add_log("loss", 0.5)
        >>> table.add_log("loss", 1.0)
        >>> table.log(header="iteration 2")
        >>> "0.75" in table.file.getvalue()
        True
    """

    def __init__(self, logger: Logger | None = None, *, prefix: str = "", file: TextIO | None = None) -> None:
        self.logger, self.prefix, self.file = logger, prefix, file
        self._times: dict[str, str] = {}
        self._first: tuple[float, int] | None = None
        self._last: tuple[float, int] | None = None
        self._clear()

    def add_log(self, name: str, value: Any, precision: int | None = 2, *, shown: bool = True) -> None:
        """Adds a value to those that are averaged under a name until the next :meth:`log`.

        Args:
            name: what it is.
            value: a number, or a tensor with one element. NaN does not count.
            precision: decimals in the table; None for as many as four digits take.
            shown: whether it is in the table; the logger keeps it anyway.
        """
        self._values.setdefault(name, [])
        if not math.isnan(number := float(value)):
            self._values[name].append(number)
        self._precisions[name], self._shown[name] = precision, shown

    def add_tf_only_log(self, name: str, value: Any, precision: int | None = 2) -> None:
        """Adds a value that is not shown in the table; see :meth:`add_log`."""
        self.add_log(name, value, precision, shown=False)

    def add_histogram(self, name: str, values: Any) -> None:
        """Has the logger keep the distribution of ``values``, a tensor or array, at the next :meth:`log`."""
        self._histograms[name] = values

    def timeit(self, i_step: int, max_steps: int = -1) -> None:
        """Tells where the training is; the time and the steps since the last call make the steps per second.

        Args:
            i_step: env steps so far.
            max_steps: env steps in all, -1 if nobody knows; with it the table says how much time is left.
        """
        now = time.monotonic()
        first, last = self._first or (now, i_step), self._last
        self._first, self._last = first, (now, i_step)
        if last is not None:
            self.add_log("steps_per_second", (i_step - last[1]) / max(now - last[0], 1e-9), precision=0)
        self._times = {"steps": f"{i_step:,}", "elapsed": str(timedelta(seconds=round(now - first[0])))}
        if max_steps >= 0:
            self._times["steps"] += f"/{max_steps:,}"
            if i_step > first[1]:
                left = max(0, max_steps - i_step) * (now - first[0]) / (i_step - first[1])
                self._times["left"] = str(timedelta(seconds=round(left)))

    def log(self, header: str | None = None) -> None:
        """Prints the table, hands the averages to the logger, and begins new ones.

        Args:
            header: the line above the table.
        """
        means = {name: math.fsum(values) / len(values) for name, values in self._values.items() if values}
        texts = {name: _text(means.get(name), self._precisions[name]) for name, shown in self._shown.items() if shown}
        _show([*self._times.items(), *texts.items()], header, self.file)
        if self.logger is not None:
            step = None if self._last is None else self._last[1]
            for name, mean in means.items():
                if math.isfinite(mean):
                    self.logger.log_scalar(f"{self.prefix}{name}", mean, step)
            for name, data in self._histograms.items():
                self.logger.log_histogram(f"{self.prefix}{name}", data, step)
        self._clear()

    def _clear(self) -> None:
        self._values: dict[str, list[float]] = {}
        self._precisions: dict[str, int | None] = {}
        self._shown: dict[str, bool] = {}
        self._histograms: dict[str, Any] = {}


def _text(value: float | None, precision: int | None) -> str:
    if value is None:
        return "-"
    if precision is None:
        return f"{value:,.0f}" if 1_000 <= abs(value) < math.inf else f"{value:.4g}"
    return f"{value:,.{precision}f}"


def _show(rows: Rows, header: str | None, file: TextIO | None) -> None:
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        (file or sys.stdout).write(_plain(rows, header))
        return
    # A name in brackets is no markup.
    table = Table(title=None if header is None else Text(header), show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, text in rows:
        table.add_row(Text(name), Text(text))
    Console(file=file).print(table)


def _plain(rows: Rows, header: str | None) -> str:
    names, texts = (max((len(row[column]) for row in rows), default=0) for column in (0, 1))
    rule = "-" * (names + 2 + texts)
    lines = [rule, *(f"{name:<{names}}  {text:>{texts}}" for name, text in rows), rule]
    return "\n".join(lines if header is None else [header, *lines]) + "\n"
