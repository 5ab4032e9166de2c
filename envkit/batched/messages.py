"""What a caller and its workers tell each other in words: pickled, over a connection to each of them."""

from __future__ import annotations

import pickle
import time
from collections.abc import Sequence
from multiprocessing.connection import wait
from typing import Any

from envkit.batched.launch import Ends, send_descriptors
from envkit.batched.losses import Losses

__all__ = ["Messages"]


class Messages:
    """The caller's side.

    Args:
        ends: the workers.
        losses: those that were given up.
    """

    def __init__(self, ends: dict[int, Ends], losses: Losses) -> None:
        self._ends, self._losses = ends, losses
        self._owing: set[int] = set()  # workers that may have sent what nobody has read

    def forget(self, worker: int) -> None:
        """Begins anew with a worker that takes the place of another one."""
        self._owing.discard(worker)

    def send(self, worker: int, content: bytes, descriptors: Sequence[int] = ()) -> None:
        """Sends a packed message, and open files; that the worker is gone is noticed when it does not answer.

        Raises:
            WorkerError: it does not read.
        """
        connection = self._ends[worker].connection
        try:
            while worker in self._owing and connection.poll(0.0):  # it has answered, and nobody wanted to know
                connection.recv_bytes()
            self._owing.add(worker)
            connection.send_bytes(content)
            if descriptors:
                send_descriptors(connection, list(descriptors))
        except BlockingIOError:
            raise self._losses.hung([worker], "call", self._ends[worker].patience) from None
        except (EOFError, OSError):
            pass

    def heard(self, workers: Sequence[int], seconds: float | None) -> list[int]:
        """Those of ``workers`` that have sent something, or are gone; sleeps until there is one, or time is up."""
        gone = self._losses.errors.keys() & workers
        places: dict[Any, int] = {}
        for worker in set(workers) - gone:
            places[self._ends[worker].connection] = places[self._ends[worker].watch] = worker
        ready = wait(list(places), 0.0 if gone else seconds)
        return sorted({places[place] for place in ready} | gone)

    def hear(self, workers: Sequence[int], phase: str, seconds: float | None, *, patient: bool = False) -> list[Any]:
        """What each of ``workers`` sends next, or the error of one that fails.

        Unless ``patient``, it returns as soon as one is lost, whatever the others do: those have said None then.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        heard: dict[int, Any] = {worker: self._losses.errors.get(worker) for worker in workers}
        waiting = [worker for worker, error in heard.items() if error is None]
        while waiting and (patient or not self._losses.errors.keys() & workers):
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            said = self.heard(waiting, left)
            if not said:
                self._losses.hung(waiting, phase, seconds)
                heard |= {worker: self._losses.errors[worker] for worker in waiting}
                break
            for worker in said:
                heard[worker] = self._receive(worker, phase)
                waiting.remove(worker)
        self._owing.update(waiting)
        return [heard[worker] for worker in workers]

    def _receive(self, worker: int, phase: str) -> Any:
        """What a worker has sent, or the error of one that is lost."""
        ends, losses = self._ends[worker], self._losses
        try:
            if ends.connection.poll(0.0):
                content = ends.connection.recv_bytes()
                self._owing.discard(worker)
                kind, value = pickle.loads(content)
                if kind == "value":
                    return value
                error = losses.refused(worker, phase, value)
                return losses.lose(worker, error) if kind == "failed" else error
        except BlockingIOError:
            return losses.hung([worker], phase, ends.patience)
        except (EOFError, OSError):
            pass
        return losses.dead(worker, phase)
