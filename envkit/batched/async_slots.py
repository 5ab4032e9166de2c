"""Envs that run beside their caller, one in each slot, and the desk where orders are given and answers called for."""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from envkit.errors import WorkerError

__all__ = ["CLOSING", "ONLY", "Answer", "Desk", "Order", "Slots"]

CLOSING = 5.0  # seconds
ONLY = [0]  # the env of a service that has one


class Slots(ABC):
    """Several services (:class:`~envkit.batched.env_service.EnvService`) of one env each, which do one thing at a time.

    Subclasses decide where they run, in threads or in processes. None of the methods waits for ever.
    """

    descriptions: list[dict[str, Any]]
    """What each service says of its env."""

    @abstractmethod
    def submit(self, slot: int, function: Callable[..., Any], args: tuple, phase: str) -> None:
        """Has a free slot call ``function(env, *args)``, and returns at once.

        Raises:
            ClosedEnvError: the slots have ended.
        """

    @abstractmethod
    def wait(self, slots: Sequence[int], seconds: float) -> list[int]:
        """Sleeps until any of ``slots`` has something to say, ``seconds`` at most; returns those that have."""

    @abstractmethod
    def take(self, slot: int) -> Any:
        """What a slot, of those that :meth:`wait` returned, has answered; with that it is free again.

        Raises:
            WorkerError: the function raised, or the env is gone.
        """

    @abstractmethod
    def give_up(self, slot: int, seconds: float) -> WorkerError:
        """The error of a slot that has not answered for so many seconds."""

    @abstractmethod
    def close(self, seconds: float) -> None:
        """Ends all slots, and closes their envs, within so many seconds; never raises, may be called again."""


class Order(NamedTuple):
    """What a slot is asked to do: to call ``function(env, *args)``; and what its answer is called for as."""

    kind: str
    function: Callable[..., Any]
    args: tuple
    phase: str


@dataclass(eq=False)
class Answer:
    """What came of an order: a value, or what went wrong."""

    slot: int
    kind: str
    value: Any = None
    error: WorkerError | None = None


@dataclass
class _Pending:
    kind: str | None  # None: nobody waits for the answer any more
    due: float


class Desk:
    """Gives orders to slots, and keeps their answers until they are called for.

    Args:
        slots: who carries the orders out.
        timeout: seconds that a slot may take for one.
    """

    def __init__(self, slots: Slots, timeout: float) -> None:
        self.slots, self.timeout = slots, timeout
        self._pending: dict[int, _Pending] = {}
        self._answers: list[Answer] = []

    def outstanding(self, kind: str | None = None) -> list[int]:
        """Slots with an order, of one kind or of any, whose answer was not called for yet."""
        waiting = [slot for slot, pending in self._pending.items() if pending.kind and kind in (None, pending.kind)]
        return waiting + [answer.slot for answer in self._answers if kind in (None, answer.kind)]

    def send(self, orders: dict[int, Order]) -> None:
        """Gives orders to slots.

        Raises:
            RuntimeError: a slot has one already; none was given.
            WorkerError: a slot that was given up is still silent; none was given.
            ClosedEnvError: the slots have ended.
        """
        taken = self.outstanding()
        busy = [slot for slot in orders if slot in taken]
        if busy:
            raise RuntimeError(
                f"envs {busy} are at work: expected their answers to be received before anything else is sent to them"
            )
        self._await_free([slot for slot in orders if slot in self._pending])
        for slot, order in orders.items():
            self.slots.submit(slot, order.function, order.args, order.phase)
            self._pending[slot] = _Pending(order.kind, time.monotonic() + self.timeout)

    def receive(self, kind: str, slots: Sequence[int], count: int) -> list[Answer]:
        """Waits for ``count`` answers of one kind, and returns all that are there, in the order they came in.

        Raises:
            ValueError: fewer are to come.
            WorkerError: a slot failed; the answers of the others are kept.
        """
        due = [slot for slot in self.outstanding(kind) if slot in slots]
        if not 1 <= count <= len(due):
            raise ValueError(
                f"min_get: expected 1 to {len(due)}, the number of answers to {kind!r} to come, found {count}"
            )
        self._hear(0.0)
        while True:
            found = [answer for answer in self._answers if answer.kind == kind and answer.slot in slots]
            failed = next((answer for answer in found if answer.error is not None), None)
            if failed is not None:
                self._answers.remove(failed)
                raise failed.error  # type: ignore[misc]
            if len(found) >= count:
                self._answers = [answer for answer in self._answers if answer not in found]
                return found
            self._hear(self.timeout)

    def put_back(self, answers: list[Answer]) -> None:
        """Keeps answers that were received, to be called for again."""
        self._answers = [*answers, *self._answers]

    def round(self, orders: dict[int, Order]) -> dict[int, Any]:
        """Gives orders, and waits for the answers to all of them, which are returned by slot.

        Raises:
            WorkerError: a slot failed; the others have finished.
        """
        values: dict[int, Any] = {}
        errors: dict[int, WorkerError] = {}
        try:
            self.send(orders)
            while len(values) + len(errors) < len(orders):
                self._hear(self.timeout)
                for answer in [answer for answer in self._answers if answer.slot in orders]:
                    self._answers.remove(answer)
                    if answer.error is None:
                        values[answer.slot] = answer.value
                    else:
                        errors[answer.slot] = answer.error
        except BaseException:  # KeyboardInterrupt, say: what is still to come is nobody's
            for slot, order in orders.items():
                pending = self._pending.get(slot)
                if pending is not None and pending.kind == order.kind:
                    pending.kind = None
            raise
        if errors:
            raise errors[min(errors)]
        return values

    def _hear(self, seconds: float) -> None:
        """Collects answers: those that are there, or else the first that come within ``seconds``.

        A slot that has not answered when it should have is given up: that is its answer, and a later one is dropped.
        """
        waiting = {slot: pending for slot, pending in self._pending.items() if pending.kind is not None}
        if not waiting:
            return
        left = min(pending.due for pending in waiting.values()) - time.monotonic()
        heard = self.slots.wait(list(waiting), max(0.0, min(seconds, left)))
        for slot in heard:
            answer = Answer(slot, self._pending.pop(slot).kind)  # type: ignore[arg-type]
            try:
                answer.value = self.slots.take(slot)
            except WorkerError as error:
                answer.error = error
            self._answers.append(answer)
        if heard:
            return
        for slot, pending in waiting.items():
            if pending.due <= time.monotonic():
                late = self.slots.give_up(slot, self.timeout)
                self._answers.append(Answer(slot, pending.kind, error=late))  # type: ignore[arg-type]
                pending.kind = None

    def _await_free(self, slots: list[int]) -> None:
        """Waits for slots whose answers nobody wants, and drops those."""
        due = time.monotonic() + self.timeout
        while slots:
            heard = self.slots.wait(slots, max(0.0, due - time.monotonic()))
            if not heard:
                raise self.slots.give_up(slots[0], self.timeout)
            for slot in heard:
                with contextlib.suppress(WorkerError):
                    self.slots.take(slot)
                del self._pending[slot]
                slots.remove(slot)
