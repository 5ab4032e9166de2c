"""Turning Ctrl-C and SIGTERM into an orderly end."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interrupted", "StopSignals"]


class Interrupted(KeyboardInterrupt):
    """Work was stopped by a signal, at a point where its state is whole.

    Args:
        signum: The signal.

    Example:
        >>> Interrupted(signal.SIGTERM).exit_code
        143
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum

    @property
    def exit_code(self) -> int:
        """Exit code of a process that this signal ended, as shells report it."""
        return 128 + self.signum


class StopSignals:
    """Holds back SIGINT and SIGTERM until :meth:`check` is called; the same one again interrupts at once.

    Used as a context manager in the main thread; in other threads, which receive no signals, it does nothing.

    Example:
        >>> with StopSignals() as stop:
        ...     stop.check()
        ...     signal.raise_signal(signal.SIGINT)
        ...     try:
        ...         stop.check()
        ...     except Interrupted as interruption:
        ...         print(interruption)
        stopped by SIGINT
    """

    def __init__(self) -> None:
        self._received: list[int] = []
        self._previous: dict[int, Any] = {}

    def check(self) -> None:
        """Raise if a signal has arrived.

        Raises:
            Interrupted: SIGINT or SIGTERM was received since the context was entered.
        """
        if self._received:
            raise Interrupted(self._received[0])

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        # Only a repeated one is impatience: a supervisor may send SIGTERM right after the terminal's SIGINT.
        if signum in self._received:
            raise Interrupted(signum)
        self._received.append(signum)

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
                # A signal that is ignored (by nohup, by a shell's background job) stays ignored.
                if signal.getsignal(signum) is not signal.SIG_IGN:
                    self._previous[signum] = signal.signal(signum, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
