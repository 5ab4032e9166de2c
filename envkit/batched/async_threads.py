"""Slots in threads of this process."""

from __future__ import annotations

import atexit
import contextlib
import contextvars
import queue
import sys
import threading
import time
import traceback
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from envkit.batched.async_slots import CLOSING, ONLY, Slots
from envkit.batched.env_service import EnvService
from envkit.batched.failures import report_of, what_it_reports
from envkit.batched.pool import Describe
from envkit.core.env import EnvBase
from envkit.errors import ClosedEnvError, WorkerError

__all__ = ["ThreadSlots"]

FINISHING = 1.0  # seconds for all that is under way when Python ends


class _Job(NamedTuple):
    """A function to call, in the context of whoever asks for it; None builds the service."""

    function: Callable[..., Any] | None
    args: tuple
    context: contextvars.Context
    with_gradients: bool


class _Board:
    """Where threads put their answers: a value or an exception, in the order they come in."""

    def __init__(self) -> None:
        self.answers: dict[int, tuple[Any, BaseException | None]] = {}
        self.last_words: dict[int, BaseException] = {}
        self.changed = threading.Condition()


class ThreadSlots(Slots):
    """Services in threads of their own, in which they are made, called and closed.

    A call sees the context variables of whoever asks for it, and records gradients if they do. Python threads take
    turns: envs run at the same time where they wait, or work outside of Python.

    Args:
        made: for each slot, a function that makes its env, and its arguments.
        timeout: seconds for building all of them.
        describe: tells what an error should say of a slot.

    Raises:
        WorkerError: a service could not be built; all threads are gone.
    """

    def __init__(
        self, made: Sequence[tuple[Callable[..., EnvBase], dict[str, Any]]], timeout: float, describe: Describe
    ) -> None:
        self._describe = describe
        self._board = _Board()
        self._inboxes: list[queue.SimpleQueue[_Job | None]] = [queue.SimpleQueue() for _ in made]
        threads = torch.get_num_threads()
        self._threads = [
            # Of no use once the rest is over: one that hangs does not keep Python from ending.
            threading.Thread(
                target=_live, args=(i, one, inbox, self._board, threads), name=f"envkit env {i}", daemon=True
            )
            for i, (one, inbox) in enumerate(zip(made, self._inboxes, strict=True))
        ]
        self._phases = ["build"] * len(made)
        _RUNNING.add(self)
        # The threads know nothing of this object: they end when it is forgotten.
        self._dismiss = weakref.finalize(self, _dismiss, self._inboxes)
        for slot, thread in enumerate(self._threads):
            thread.start()
            self._submit(slot, None, ())
        try:
            self.descriptions = self._built(timeout)
        except BaseException:
            self.close(CLOSING)
            raise

    def _built(self, timeout: float) -> list[dict[str, Any]]:
        due = time.monotonic() + timeout
        told: dict[int, Any] = {}
        while len(told) < len(self._threads):
            missing = [slot for slot in range(len(self._threads)) if slot not in told]
            heard = self.wait(missing, due - time.monotonic())
            if not heard:
                raise self.give_up(missing[0], timeout)
            told.update({slot: self.take(slot) for slot in heard})
        return [told[slot] for slot in range(len(told))]

    def submit(self, slot: int, function: Callable[..., Any], args: tuple, phase: str) -> None:
        """See :meth:`Slots.submit <envkit.batched.async_slots.Slots.submit>`."""
        if not self._dismiss.alive:
            raise ClosedEnvError("expected threads of envs, found that they have ended; make a new pool")
        self._phases[slot] = phase
        self._submit(slot, function, args)

    def _submit(self, slot: int, function: Callable[..., Any] | None, args: tuple) -> None:
        self._inboxes[slot].put(_Job(function, args, contextvars.copy_context(), torch.is_grad_enabled()))

    def wait(self, slots: Sequence[int], seconds: float) -> list[int]:
        """See :meth:`Slots.wait <envkit.batched.async_slots.Slots.wait>`; in the order the answers came in."""
        answers = self._board.answers
        with self._board.changed:
            self._board.changed.wait_for(lambda: any(slot in answers for slot in slots), max(0.0, seconds))
            return [slot for slot in answers if slot in slots]

    def take(self, slot: int) -> Any:
        """See :meth:`Slots.take <envkit.batched.async_slots.Slots.take>`."""
        with self._board.changed:
            value, error = self._board.answers.pop(slot)
        if error is None:
            return value
        what, details, _ = what_it_reports(report_of(self._phases[slot], error))
        raise self._error(slot, what, **details) from error

    def give_up(self, slot: int, seconds: float) -> WorkerError:
        """See :meth:`Slots.give_up <envkit.batched.async_slots.Slots.give_up>`; the thread is left alone."""
        frame = sys._current_frames().get(self._threads[slot].ident or 0)
        stack = "".join(traceback.format_stack(frame)) if frame else "(it could not be had)"
        what = f"did not answer within {seconds} s. Its stack:\n{stack}"
        return self._error(slot, what, remote_traceback=stack)

    def _error(self, slot: int, what: str, **details: Any) -> WorkerError:
        known, phase = self._describe(slot), self._phases[slot]
        message = f"worker {slot} ({known['env_name']}), phase {phase!r}: {what}"
        return WorkerError(message, worker=slot, phase=phase, **known, **details)

    def close(self, seconds: float) -> None:
        """See :meth:`Slots.close <envkit.batched.async_slots.Slots.close>`; warns of envs that raise or hang."""
        if not self._dismiss.alive:
            return
        self._dismiss()
        due = time.monotonic() + seconds
        for slot, thread in enumerate(self._threads):
            thread.join(max(0.0, due - time.monotonic()))
            last = self._board.last_words.get(slot)
            if thread.is_alive():
                self._warn(slot, f"is still in {self._phases[slot]!r} after {seconds} s; it is left alone")
            elif last is not None:
                self._warn(slot, f"raised {type(last).__qualname__} in close: {last}")

    def _warn(self, slot: int, what: str) -> None:
        with contextlib.suppress(Warning):
            warnings.warn(f"worker {slot} {what}", RuntimeWarning, stacklevel=4)


_RUNNING: weakref.WeakSet[ThreadSlots] = weakref.WeakSet()


@atexit.register
def _let_finish() -> None:
    """Waits for steps under way: a thread that is inside of torch when Python ends takes the process down."""
    due = time.monotonic() + FINISHING
    for slots in list(_RUNNING):
        slots._dismiss()
        for thread in slots._threads:
            thread.join(max(0.0, due - time.monotonic()))


def _dismiss(inboxes: list[queue.SimpleQueue]) -> None:
    for inbox in inboxes:
        inbox.put(None)


def _live(slot: int, made: tuple, inbox: queue.SimpleQueue, board: _Board, threads: int) -> None:
    """The life of a slot's thread: builds the service, and calls functions with its env until it is dismissed."""
    service: EnvService | None = None
    while (job := inbox.get()) is not None:
        value = error = None
        # Whatever an env raises, SystemExit and KeyboardInterrupt included, is an answer.
        try:
            with torch.set_grad_enabled(job.with_gradients):
                if service is None:
                    service = job.context.run(_build, made, threads)
                    value = service.describe()
                else:
                    (value,) = job.context.run(service.map, ONLY, job.function, [job.args])
        except BaseException as raised:
            error = raised
        with board.changed:
            board.answers[slot] = (value, error)
            board.changed.notify_all()
        del job, value, error  # which are the caller's from here on
    if service is not None:
        try:
            service.close()
        except BaseException as raised:
            board.last_words[slot] = raised


def _build(made: tuple[Callable[..., EnvBase], dict[str, Any]], threads: int) -> EnvService:
    """A service; it is made for a process of its own, while here PyTorch goes on computing with so many threads."""
    try:
        return EnvService([made])
    finally:
        torch.set_num_threads(threads)
