"""What runs in a worker process: it builds a service, and carries out commands until the caller lets it go, or is gone.

The caller's process may die without a word. A pipe that only the caller holds open tells of it: a thread of the worker
waits for its end, and so does Linux, which then ends the worker even if its Python does not run.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import pickle
import signal
import socket
import sys
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

from envkit.batched.channel import Answerer
from envkit.batched.failures import report_of
from envkit.batched.generators import scatter
from envkit.batched.packing import packed_answer
from envkit.storage.shared import SharedBlock

__all__ = ["CALL", "FAILED", "LEAVE", "OTHERS", "Service", "serve"]

# Operations that every service knows; its own begin at OTHERS.
LEAVE, CALL, OTHERS = 1, 2, 8
# The answer of a worker that has failed; it has sent a report, and ends.
FAILED = 2**63
EXIT_CODE = 70  # of a worker that has reported a failure


class Service(ABC):
    """What a worker does for its caller."""

    @abstractmethod
    def describe(self) -> Any:
        """What the caller needs to know of it, once it is built."""

    @abstractmethod
    def do(self, operation: int, place: int, row: int, detail: int) -> int:
        """Carries out one of its operations, on shared memory; returns a small number."""

    def phase(self, operation: int) -> str:
        """What an operation is called in reports."""
        return "call"

    @abstractmethod
    def close(self) -> None:
        """Releases what it holds."""


def serve(connection: Connection, inherited: list[int]) -> None:
    """The life of a worker.

    Args:
        connection: to the caller. It brings descriptors (shared words, bell, done, life line, stack file, and a file
            with a pickled function that makes the :class:`Service`), then the size of the words, this worker's index,
            and whether warnings are hidden. What it sends first, before the service is built, means that it is there.
        inherited: copies of the caller's own descriptors, in a forked process.
    """
    for fd in inherited:
        with contextlib.suppress(OSError):
            os.close(fd)
    _stand_apart()
    try:
        words, bell, done, life, stack, payload = _receive_descriptors(connection, 6)
        size, index, quiet = connection.recv()
    except (EOFError, OSError, ValueError):
        os._exit(0)
    threading.Thread(target=_leave_with_caller, args=(life,), daemon=True, name="life line").start()
    _end_with_caller(life)
    faulthandler.disable()  # else a handler that the parent's libraries put over an enabled one stays
    faulthandler.enable(file=stack)
    faulthandler.register(signal.SIGUSR1, file=stack)
    if quiet:
        warnings.simplefilter("ignore")
    channel = Answerer(SharedBlock(size, words), index, bell, done)
    # There is a worker for each core. OpenCV reads this when an env loads it; one that a forked process has inherited
    # is left alone: to stop its threads there waits for ever.
    torch.set_num_threads(1)
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")
    code = _Worker(connection, channel).run(payload)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)


class _Worker:
    def __init__(self, connection: Connection, channel: Answerer) -> None:
        self._connection, self._channel = connection, channel

    def run(self, payload: int) -> int:
        """Builds the service and works for the caller; returns the exit code."""
        phase, service = "build", None
        # Whatever an env raises, SystemExit and KeyboardInterrupt included, is reported and ends this process alone.
        try:
            self._send("value", None)
            scatter()
            with open(payload, "rb") as file:
                make: Callable[[], Service] = pickle.load(file)
            service = make()
            del make
            self._send("value", service.describe())
            do, command, answer = service.do, self._channel.command, self._channel.answer
            tell = self._channel.tell_memory
            tell()
            phase = "call"
            while True:
                given = command()
                if given is None:
                    return 0
                operation, place, row, detail = given
                if operation >= OTHERS:
                    phase = service.phase(operation)
                    result = do(operation, place, row, detail)
                elif operation == CALL:
                    phase, result = "call", 0
                    self._call(service)
                else:
                    phase = "close"
                    service.close()
                    answer(0)
                    return 0
                tell()
                answer(result)
        except BaseException as error:
            self._report(phase, error)
            if service is not None and phase != "close":
                with contextlib.suppress(BaseException):
                    service.close()
            return EXIT_CODE

    def _call(self, service: Service) -> None:
        """Calls a method of the service by name; what it raises is an answer, too."""
        message = self._connection.recv_bytes()
        try:
            name, args, kwargs = pickle.loads(message)
            if name == "take":  # a shared block comes along
                (fd,) = _receive_descriptors(self._connection, 1)
                args = (SharedBlock(kwargs.pop("size"), fd), *args)
            self._send("value", getattr(service, name)(*args, **kwargs))
        except Exception as error:
            self._send("raised", report_of("call", error))

    def _send(self, kind: str, value: Any) -> None:
        self._connection.send_bytes(packed_answer((kind, value)))

    def _report(self, phase: str, error: BaseException) -> None:
        with contextlib.suppress(BaseException):
            self._send("failed", report_of(phase, error))
        with contextlib.suppress(BaseException):
            self._channel.answer(FAILED)


def _stand_apart() -> None:
    """Leaves the caller's process group: Ctrl-C is the caller's, and what this process starts ends with it."""
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _leave_with_caller(life: int) -> None:
    """Ends this process, and those it started, once the caller has closed its end of the life line, or has died."""
    with contextlib.suppress(OSError):
        os.read(life, 1)
    if os.getpgid(0) == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(0)


def _end_with_caller(life: int) -> None:
    """Has Linux do the same: the thread cannot, while foreign code holds on to the interpreter."""
    if sys.platform != "linux":
        return
    import fcntl

    with contextlib.suppress(OSError):
        # Opened anew: who gets the signal is noted once for all who share an open file. It stays open.
        own = os.open(f"/dev/fd/{life}", os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(own, fcntl.F_SETOWN, -os.getpid())
        fcntl.fcntl(own, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(own, fcntl.F_SETFL, fcntl.fcntl(own, fcntl.F_GETFL) | os.O_ASYNC)


def _receive_descriptors(connection: Connection, count: int) -> list[int]:
    with socket.socket(fileno=os.dup(connection.fileno())) as channel:
        _, descriptors, _, _ = socket.recv_fds(channel, 1, count)
    if len(descriptors) != count:
        raise EOFError("the caller is gone")
    return descriptors
