"""Starting worker processes, and holding on to them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import select
import signal
import socket
import struct
import sys
import threading
import types
from collections.abc import Iterator
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from envkit.batched.worker import serve

__all__ = ["START_METHODS", "Ends", "check_start_method", "launch", "send_descriptors"]

START_METHODS = ("forkserver", "spawn", "fork")
_ONE_AT_A_TIME = threading.Lock()


def check_start_method(method: str | None) -> str:
    """``method``, or the default: the fork server, where there is one, which imports once and forks quickly.

    Raises:
        ValueError: this platform has no such method.
    """
    known = multiprocessing.get_all_start_methods()
    if method is None:
        return next(name for name in START_METHODS if name in known)
    if method not in known:
        raise ValueError(f"mp_start_method: expected one of {known}, found {method!r}")
    return method


class Ends:
    """A worker's process, and the caller's ends of the connections to it.

    Args:
        process: the process, which leads a process group of its own.
        connection: to it.
        bell: the pipe that wakes it.
    """

    def __init__(self, process: BaseProcess, connection: Connection, bell: int) -> None:
        self.process, self.connection, self.bell = process, connection, bell
        self.pid: int = process.pid  # type: ignore[assignment]
        self.patience: float | None = None  # see :meth:`limit`
        self._handle: int | None = None
        with contextlib.suppress(AttributeError, OSError):
            self._handle = os.pidfd_open(self.pid)
        # Readable once the process has ended. That of multiprocessing is a pipe, which processes that the env forks
        # keep open.
        self.watch: int = int(process.sentinel) if self._handle is None else self._handle

    def limit(self, seconds: float | None) -> None:
        """Has messages that do not get on for so long fail, instead of waiting for a process that does not read."""
        self.patience = seconds
        if seconds is not None:
            with socket.socket(fileno=os.dup(self.connection.fileno())) as channel:
                interval = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
                channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, interval)
                channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, interval)

    def gone(self, seconds: float = 0.0) -> bool:
        """Whether the process has ended, for which it has so much time."""
        poll = select.poll()
        poll.register(self.watch, select.POLLIN)
        return bool(poll.poll(max(0.0, seconds) * 1e3))

    def exit_code(self) -> int | None:
        """How a process that is gone has ended: below 0 for a signal; None if nobody knows."""
        if self.process.exitcode is None:
            wait([self.process.sentinel], 1.0)  # the fork server hears of it first, and passes it on
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        """Sends a signal to the process."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._handle is not None:
                signal.pidfd_send_signal(self._handle, number)
            elif not self.gone():
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends the process, and whatever processes it started, at once."""
        if self.gone():
            self.end_children()
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.send_signal(signal.SIGKILL)  # it may not lead a group yet

    def end_children(self) -> None:
        """Ends the processes that a worker which is gone has left."""
        self.exit_code()  # after that its number is free, unless a group has it
        with contextlib.suppress(ProcessLookupError, PermissionError):
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                os.killpg(self.pid, signal.SIGKILL)

    def forget(self) -> None:
        """Closes the ends in a process that was forked from the caller's, and has no workers."""
        with contextlib.suppress(OSError):
            self.connection.close()
        for fd in (self.bell, self._handle):
            if fd is not None:
                with contextlib.suppress(OSError):
                    os.close(fd)

    def release(self) -> None:
        """Closes everything; the process is gone."""
        self.forget()
        with contextlib.suppress(ValueError):
            self.process.close()


def launch(method: str, name: str, bell: int) -> Ends:
    """Starts a process that runs :func:`~envkit.batched.worker.serve` on its end of a connection.

    Args:
        method: the start method.
        name: of the process.
        bell: the caller's end of the pipe that wakes the worker.
    """
    context = multiprocessing.get_context(method)
    # The connections are made one at a time too: two processes that were forked with each other's ends of them would
    # both wait for the other to let go.
    with _ONE_AT_A_TIME, contextlib.ExitStack() as kept:
        ours, theirs = context.Pipe()
        kept.callback(ours.close)
        with theirs, _without_main(method):
            inherited = [bell, ours.fileno()] if method == "fork" else []
            process = context.Process(target=serve, args=(theirs, inherited), name=name)  # type: ignore[attr-defined]
            if method == "forkserver":
                _start_server()
                process.start()  # waits for the server, which may take its time
            else:
                with _uninterrupted():
                    process.start()
        ends = Ends(process, ours, bell)
        kept.pop_all()
        return ends


def send_descriptors(connection: Connection, descriptors: list[int]) -> None:
    """Hands open files to the process at the other end."""
    with socket.socket(fileno=os.dup(connection.fileno())) as channel:
        socket.send_fds(channel, [b"\0"], descriptors)


def _start_server() -> None:
    """Has the fork server import what workers need, once, unless the user has told it what to import."""
    server: Any = forkserver._forkserver
    if server._preload_modules == ["__main__"]:
        multiprocessing.set_forkserver_preload(["envkit.batched.preload"])
    if server._preload_modules == ["envkit.batched.preload"]:
        resource_tracker.ensure_running()  # which would unblock Ctrl-C
        with _uninterrupted():
            forkserver.ensure_running()


@contextlib.contextmanager
def _without_main(method: str) -> Iterator[None]:
    """Keeps ``multiprocessing`` from having the new process run the main script again: nothing of it is needed."""
    if method == "fork":
        yield
        return
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Has new processes begin with Ctrl-C blocked: they leave that to the caller as soon as they run."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
