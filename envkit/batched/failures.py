"""What is known of a worker that fails: what it reports, how it died, where it hangs."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import time
import traceback
from collections.abc import Callable
from typing import Any

from envkit.batched.packing import packed_answer
from envkit.storage.shared import anonymous_file

__all__ = ["Stacks", "how_it_died", "report_of", "what_it_reports"]

ANSWERING = 0.5  # seconds in which a process writes down its stack, if it can at all
LONGEST = 1 << 16  # bytes of stacks


def report_of(phase: str, error: BaseException) -> dict[str, Any]:
    """An exception in words, and itself where it survives being sent; made in the worker."""
    try:
        sent = packed_answer(error)
        pickle.loads(sent)
    except BaseException:
        sent = b""
    try:
        text = str(error)
    except BaseException:
        text = "(its message cannot be read)"
    return {
        "phase": phase,
        "type": type(error).__qualname__,
        "text": text,
        "traceback": "".join(traceback.format_exception(error)),
        "exception": sent,
    }


def what_it_reports(report: dict[str, Any]) -> tuple[str, dict[str, Any], BaseException | None]:
    """A report in words, its fields of a :class:`~envkit.WorkerError`, and the exception, if it could be sent."""
    cause = None
    with contextlib.suppress(Exception):
        cause = pickle.loads(report["exception"])
    what = f"raised {report['type']}: {report['text']}\n\n{report['traceback']}"
    return what, {"remote_type": report["type"], "remote_traceback": report["traceback"]}, cause


def how_it_died(code: int | None, resident: int) -> tuple[str, dict[str, Any]]:
    """The end of a process in words, and its fields of a :class:`~envkit.WorkerError`.

    Args:
        code: its exit code, below 0 for a signal; None if it is not known.
        resident: bytes of memory that it last had; 0 if that is not known.
    """
    if code is None:
        return "ended in an unknown way", {}
    if code >= 0:
        return f"ended with exit code {code}", {"exit_code": code}
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = ""
    if -code == signal.SIGKILL:
        hint = f" (out of memory?{f'; it last had {resident / 2**20:,.0f} MiB' if resident else ''})"
    return f"was ended by {name}{hint}", {"signal": name}


class Stacks:
    """A file into which workers write their Python stacks: when they are asked, hanging or not, and when they crash."""

    def __init__(self) -> None:
        self.fd = anonymous_file()

    def ask(self, send_signal: Callable[[int], None]) -> str:
        """What runs in the worker to which ``send_signal`` sends, thread by thread; empty if it does not react."""
        self.read()
        send_signal(signal.SIGUSR1)
        deadline, size = time.monotonic() + ANSWERING, 0
        while time.monotonic() < deadline:
            time.sleep(0.02)
            before, size = size, os.fstat(self.fd).st_size
            if size and size == before:
                break
        return self.read()

    def read(self) -> str:
        """What has been written; the file is empty then."""
        text = os.pread(self.fd, LONGEST, 0).decode(errors="replace")
        os.truncate(self.fd, 0)
        os.lseek(self.fd, 0, os.SEEK_SET)
        return _tidied(text)

    def close(self) -> None:
        """Closes the file."""
        os.close(self.fd)


def _tidied(stacks: str) -> str:
    """What ``faulthandler`` writes, without what every worker has: where it comes from, and the thread that waits."""
    threads = [stack.splitlines() for stack in stacks.split("\n\n") if "hread 0x" in stack]
    threads = [lines for lines in threads if not any(line.endswith("in _leave_with_caller") for line in lines)]
    ours = (next((i for i, line in enumerate(lines) if line.endswith("in serve")), None) for lines in threads)
    return "\n\n".join("\n".join(lines[:end]) for lines, end in zip(threads, ours, strict=True))
