"""The end of workers: all of them, by one deadline."""

from __future__ import annotations

import contextlib
import pickle
import signal
import time
from multiprocessing.connection import wait

from envkit.batched.channel import Caller
from envkit.batched.failures import Stacks
from envkit.batched.launch import Ends
from envkit.batched.worker import LEAVE

__all__ = ["end_workers"]

ASKED, TOLD = 0.6, 0.8  # shares of the time after which a worker is terminated, and then killed
LOOKING = 0.02  # seconds between looks at a worker that is busy, whether it can be asked by now


def end_workers(ends: dict[int, Ends], channel: Caller, stacks: Stacks, seconds: float) -> list[str]:
    """Has workers close what they hold and leave; terminates those that do not, then kills them.

    Args:
        ends: the workers.
        channel: on which they are asked, once they have answered their last command.
        stacks: where they write their stacks.
        seconds: in which all is over.

    Returns:
        What is to be said of it: what was raised in ``close``, who did not leave.
    """
    begun = time.monotonic()
    left = _ask(ends, channel, begun + ASKED * seconds)
    said = []
    if left:
        worker, one = next(iter(left.items()))
        stack = stacks.ask(one.send_signal)
        of = f"; the stack of worker {worker}:\n{stack}" if stack else ""
        said.append(f"{_names(left)} did not end when asked{of}")
    for one in left.values():
        one.send_signal(signal.SIGTERM)
    left = _await(left, begun + TOLD * seconds)
    for one in left.values():
        one.kill()
    _await(left, begun + seconds)
    for worker, one in ends.items():
        if one.gone():
            one.end_children()
        said += [f"worker {worker} {words}" for words in _last_words(one)]
    return said


def _names(workers: dict[int, Ends]) -> str:
    return f"worker{'s' if len(workers) > 1 else ''} {', '.join(map(str, workers))}"


def _ask(ends: dict[int, Ends], channel: Caller, deadline: float) -> dict[int, Ends]:
    """Asks workers to leave, each as soon as it has answered its last command; returns those that have not left."""
    left, busy = dict(ends), set(ends)
    while left and time.monotonic() < deadline:
        for worker in [worker for worker in busy if channel.answered(worker)]:
            busy.discard(worker)
            channel.post(worker, LEAVE)
        remaining = deadline - time.monotonic()
        gone = wait([one.watch for one in left.values()], min(remaining, LOOKING) if busy else remaining)
        left = {worker: one for worker, one in left.items() if one.watch not in gone}
        busy &= left.keys()
    return left


def _await(left: dict[int, Ends], deadline: float) -> dict[int, Ends]:
    return {worker: one for worker, one in left.items() if not one.gone(deadline - time.monotonic())}


def _last_words(ends: Ends) -> list[str]:
    """What a worker that is gone has raised in the ``close`` of its service."""
    said = []
    with contextlib.suppress(Exception):
        while ends.connection.poll(0.0):
            kind, value = pickle.loads(ends.connection.recv_bytes())
            if kind == "failed" and value["phase"] == "close":
                said.append(f"raised {value['type']} in close: {value['text']}")
    return said
