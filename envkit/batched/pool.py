"""A set of worker processes: started together, commanded together, and gone together."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import time
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from envkit.batched.channel import Caller, block_size, fresh_pipe
from envkit.batched.closing import end_workers
from envkit.batched.launch import Ends, check_start_method, launch, send_descriptors
from envkit.batched.losses import Describe, Losses
from envkit.batched.messages import Messages
from envkit.batched.packing import dumps, packed
from envkit.batched.worker import CALL, FAILED, Service
from envkit.errors import ClosedEnvError, WorkerError
from envkit.storage.shared import SharedBlock, anonymous_file

__all__ = ["GIVING_UP", "Describe", "WorkerPool"]

CLOSING = 5.0  # seconds in which everything is gone
GIVING_UP = 1.5  # the same, after a failure, which is to be told soon
REPORTING = 2.0  # seconds in which a failure is reported
STARTING = 60.0  # seconds, at least, in which a process must have imported what it needs, if time matters at all


class WorkerPool:
    """Worker processes, each with a service of its own.

    There are two ways to command them. A *post* is a number or two in shared memory, which :meth:`settle` waits for; a
    *call* is a message with the name of a method, and another one with what it returns.

    Args:
        makers: for each worker, a function without arguments that makes its
            :class:`~envkit.batched.worker.Service` there.
        start_method: ``"forkserver"``, ``"spawn"`` or ``"fork"``; the first that the platform has by default.
        timeout: seconds in which a command must be answered, or a service built; None waits for ever, for as long as
            the worker lives.
        describe: tells what the error should say of a worker: ``env_indices``, ``env_name``, ``last_action``, ``seed``.

    Raises:
        SpecError: a maker cannot be sent to another process; none was started.
        WorkerError: a service could not be built; all workers are gone.
    """

    def __init__(
        self,
        makers: Sequence[Callable[[], Service]],
        *,
        start_method: str | None = None,
        timeout: float | None = None,
        describe: Describe | None = None,
    ) -> None:
        self.start_method = check_start_method(start_method)
        self.timeout = timeout
        # Known when it is asked for: the switch is envkit's, which imports this.
        self._quiet: bool = getattr(sys.modules.get("envkit"), "filter_warnings_subprocess", True)
        self._makers = list(makers)
        payloads = [packed(f"worker {worker}", maker) for worker, maker in enumerate(self._makers)]
        self._ends: dict[int, Ends] = {}
        self._words = SharedBlock(block_size(len(makers)))
        self._done, self._done_write = fresh_pipe()
        self._life, self._life_write = os.pipe()
        self._channel: Any = Caller(self._words, len(makers), self._done)
        self._losses = Losses(self._ends, self._channel, describe or (lambda worker: {}))
        self._messages = Messages(self._ends, self._losses)
        self.is_closed = False
        _POOLS.add(self)
        try:
            self.descriptions: list[Any] = self._begin(dict(enumerate(payloads)))
        except BaseException:
            self.close(GIVING_UP, quiet=True)
            raise

    # ------------------------------------------------------------ beginning

    def _begin(self, payloads: dict[int, bytes]) -> list[Any]:
        """Starts processes with pickled makers; returns what their services say of themselves."""
        for worker, payload in payloads.items():
            self._launch(worker, payload)
        _raised(self._messages.hear([*payloads], "start", self.timeout and max(self.timeout, STARTING)))
        return _raised(self._messages.hear([*payloads], "build", self.timeout))

    def _launch(self, worker: int, payload: bytes) -> None:
        opened = list(fresh_pipe())
        bell, bell_write = opened
        try:
            self._channel.renew(worker, bell_write)
            ends = self._ends[worker] = launch(self.start_method, f"envkit worker {worker}", bell_write)
            opened.remove(bell_write)
            self._channel.watch(ends.watch)
            ends.limit(self.timeout)
            # In a file: a process that is not ready to read, or never will be, holds nobody up.
            opened.append(anonymous_file())
            with open(opened[-1], "wb", closefd=False) as file:
                file.write(payload)
            os.lseek(opened[-1], 0, os.SEEK_SET)
            shared = [self._words.fd, bell, self._done_write, self._life, self._losses.stacks.fd, opened[-1]]
            send_descriptors(ends.connection, shared)
            ends.connection.send((self._words.size, worker, self._quiet))
        except OSError as error:
            if worker in self._ends:
                raise self._losses.dead(worker, "start") from None
            said = self._losses.error(worker, "start", f"could not be started: {error}")
            raise self._losses.lose(worker, said) from error
        finally:
            for fd in opened:
                os.close(fd)

    def restart(self, worker: int) -> Any:
        """Puts a new process in the place of a worker that failed; returns what its service says of itself.

        Raises:
            WorkerError: its service could not be built.
        """
        payload = packed(f"worker {worker}", self._makers[worker])
        ends = self._ends.pop(worker, None)
        if ends is not None:
            ends.gone(REPORTING / 4)  # one that has reported what went wrong is closing its service
            ends.kill()
            ends.gone(REPORTING / 4)
            self._channel.unwatch(ends.watch)
            ends.release()
        self._losses.errors.pop(worker, None)
        self._messages.forget(worker)
        with self._closing_if_interrupted():
            return self._begin({worker: payload})[0]

    # ---------------------------------------------------------------- posts

    def __len__(self) -> int:
        return len(self._makers)

    def post(self, worker: int, operation: int, place: int = 0, row: int = 0, detail: int = 0) -> None:
        """Gives one worker a command, which :meth:`settle` waits for.

        Raises:
            ClosedEnvError: the workers have ended.
        """
        if not self._channel.answered(worker):  # whoever waited for it was interrupted, perhaps before it was woken
            self._channel.wake(worker)
            self.settle([worker], "call")
        self._channel.post(worker, operation, place, row, detail)

    def answered(self, worker: int) -> bool:
        """Whether a worker has answered its last command."""
        return self._channel.answered(worker)

    def result(self, worker: int) -> int:
        """What a worker answered to its last command."""
        return self._channel.result(worker)

    def settle(self, workers: list[int], phase: str) -> list[WorkerError]:
        """Waits until ``workers`` have answered.

        Returns:
            What went wrong, for each worker that failed.
        """
        channel, failures = self._channel, []
        if not channel.wait(workers):
            self._sleep(workers, phase, any_of=False)
        for worker in workers:
            if channel.result(worker) == FAILED:
                failures.append(self._failure(worker, phase))
        return failures

    def wait_any(self, workers: list[int], phase: str) -> list[WorkerError]:
        """Waits until one of ``workers`` has answered, or failed."""
        channel = self._channel
        if not channel.wait(workers, any_of=True):
            self._sleep(workers, phase, any_of=True)
        failed = [worker for worker in workers if channel.answered(worker) and channel.result(worker) == FAILED]
        return [self._failure(worker, phase) for worker in failed]

    def _sleep(self, workers: list[int], phase: str, *, any_of: bool) -> None:
        """The part of waiting in which workers that died, or take too long, are given up, and so have answered."""
        channel, losses = self._channel, self._losses
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        each = not all(channel.answered(worker) for worker in self._ends.keys() - workers)
        while True:
            for worker in losses.errors:
                channel.excuse(worker, FAILED)
            waiting = [worker for worker in workers if not channel.answered(worker)]
            if not waiting or (any_of and len(waiting) < len(workers)):
                return
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0.0:
                losses.hung(waiting, phase, self.timeout)
                return
            woken = channel.sleep(waiting, left, any_of=any_of, each=each)
            for worker in [worker for worker, ends in self._ends.items() if ends.watch in woken]:
                losses.dead(worker, phase)

    def _failure(self, worker: int, phase: str) -> WorkerError:
        """The error of a worker that has failed: its report is there, or was read before."""
        while worker not in self._losses.errors:
            self._messages.hear([worker], phase, REPORTING)
        return self._losses.errors[worker]

    def casualties(self) -> list[WorkerError]:
        """The errors of all workers that have failed, those included that have died while nobody waited for them."""
        known = self._losses.errors
        return [
            known.get(worker) or self._losses.dead(worker, "call")
            for worker, ends in list(self._ends.items())
            if worker in known or ends.gone()
        ]

    # ---------------------------------------------------------------- calls

    def call(self, worker: int, name: str, *args: Any, phase: str = "call", **kwargs: Any) -> Any:
        """Calls a method of a worker's service, and returns what it returns.

        Raises:
            WorkerError: the method raised, or the worker died or took too long; its own exception is the cause.
        """
        return self.call_each([worker], name, [(args, kwargs)], phase=phase)[0]

    def call_all(self, name: str, *args: Any, phase: str = "call", **kwargs: Any) -> list[Any]:
        """Same as :meth:`call`, with all workers at a time."""
        workers = list(range(len(self)))
        content = dumps((name, args, kwargs))
        for worker in workers:
            self._send(worker, content)
        return _raised(self._finish(workers, phase))

    def call_each(self, workers: list[int], name: str, given: list[tuple], *, phase: str = "call") -> list[Any]:
        """Same as :meth:`call`, with several workers at a time, each with arguments (and options) of its own."""
        for worker, (args, kwargs) in zip(workers, given, strict=True):
            self.begin(worker, name, *args, **kwargs)
        return _raised(self._finish(workers, phase))

    def try_each(self, workers: list[int], name: str, given: list[tuple], *, phase: str = "call") -> list[Any]:
        """Same as :meth:`call_each`, with the errors of workers that fail in the place of what they would return."""
        for worker, (args, kwargs) in zip(workers, given, strict=True):
            self.begin(worker, name, *args, **kwargs)
        return self._finish(workers, phase, patient=True)

    def begin(self, worker: int, name: str, *args: Any, **kwargs: Any) -> None:
        """The first half of :meth:`call`."""
        self._send(worker, dumps((name, args, kwargs)))

    def heard(self, workers: Sequence[int], seconds: float) -> list[int]:
        """Those of ``workers`` that have answered a call, or are gone; sleeps until there is one, or time is up."""
        return self._messages.heard(workers, seconds)

    def finish(self, worker: int, phase: str = "call") -> Any:
        """The second half of :meth:`call`."""
        return _raised(self._finish([worker], phase))[0]

    def give_up(self, worker: int, phase: str, seconds: float) -> WorkerError:
        """Ends a worker that has not answered for so long; the error has its stack."""
        return self._losses.hung([worker], phase, seconds)

    def take(self, worker: int, block: SharedBlock, *args: Any) -> Any:
        """Hands a shared block to a worker: what ``take(block, *args)`` of its service returns."""
        return self.take_each([worker], block, [args])[0]

    def take_each(self, workers: list[int], block: SharedBlock, given: Sequence[tuple]) -> list[Any]:
        """Same as :meth:`take`, with several workers at a time, each with arguments of its own."""
        for worker, args in zip(workers, given, strict=True):
            self._send(worker, dumps(("take", args, {"size": block.size})), block.fd)
        return _raised(self._finish(workers, "call"))

    def _send(self, worker: int, content: bytes, *descriptors: int) -> None:
        if worker not in self._losses.errors:
            self.post(worker, CALL)
            with self._closing_if_interrupted():
                self._messages.send(worker, content, descriptors)

    def _finish(self, workers: list[int], phase: str, *, patient: bool = False) -> list[Any]:
        with self._closing_if_interrupted():
            answers = self._messages.hear(workers, phase, self.timeout, patient=patient)
            lost = self._losses.errors.keys() & workers
            if patient or not lost:
                for error in self.settle([worker for worker in workers if worker not in lost], phase):
                    answers[workers.index(error.worker)] = error
            return answers

    @contextlib.contextmanager
    def _closing_if_interrupted(self) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:  # a worker may have been started, or a message sent or read, by half
            self.close()
            raise

    # ------------------------------------------------------------------ end

    def close(self, seconds: float = CLOSING, *, quiet: bool = False) -> None:
        """Ends all workers, by one deadline for all; never raises, may be called again.

        Unless ``quiet``, it warns of those that raise while they close, or do not end when asked.
        """
        if self.is_closed:
            return
        self.is_closed = True
        _POOLS.discard(self)
        after = "".join(f" after {str(error).splitlines()[0]}" for error in [*self._losses.errors.values()][:1])
        channel, self._channel = self._channel, _Ended(f"expected workers, found that they have ended{after}")
        said: list[str] = []
        try:
            said = end_workers(self._ends, channel, self._losses.stacks, seconds)
        finally:  # an impatient user may interrupt this, too
            for ends in self._ends.values():
                ends.kill()
                ends.release()
            self._close_pipes()
            self._losses.stacks.close()
            self._words.forget_descriptor()
        for words in said if not quiet else ():
            with contextlib.suppress(Warning):
                warnings.warn(words, RuntimeWarning, stacklevel=3)

    def _close_pipes(self) -> None:
        for fd in (self._done, self._done_write, self._life, self._life_write):
            os.close(fd)

    def _disown(self) -> None:
        """Lets go of the workers in a process forked from theirs: their caller's end would not be noticed otherwise."""
        self.is_closed = True
        self._channel = _Ended("expected workers, found that they belong to the process that this one was forked from")
        for ends in self._ends.values():
            ends.forget()
        self._close_pipes()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()


def _raised(answers: list[Any]) -> list[Any]:
    """``answers``, unless there are errors among them."""
    for answer in answers:
        if isinstance(answer, WorkerError):
            raise answer
    return answers


class _Ended:
    """Stands for the channel to workers that are there no more."""

    def __init__(self, why: str) -> None:
        self._why = why

    def __getattr__(self, name: str) -> Any:
        raise ClosedEnvError(f"{self._why}; make a new one")


_POOLS: weakref.WeakSet[WorkerPool] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Before ``multiprocessing`` waits for them, for ever."""
    deadline = time.monotonic() + CLOSING
    for pool in list(_POOLS):
        pool.close(max(1.0, deadline - time.monotonic()))


def _disown_all() -> None:
    for pool in list(_POOLS):
        pool._disown()
    _POOLS.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_all)
