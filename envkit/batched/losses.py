"""The workers of a pool that were given up, and why."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable
from typing import Any

from envkit.batched.channel import Caller
from envkit.batched.failures import Stacks, how_it_died, what_it_reports
from envkit.batched.launch import Ends
from envkit.batched.worker import FAILED
from envkit.errors import WorkerError

__all__ = ["Describe", "Losses"]

Describe = Callable[[int], dict[str, Any]]

DYING = 1.0  # seconds that a process which has broken off the connection may take to end


class Losses:
    """Finds out why workers fail, and remembers it: nobody waits for those any more, or looks at how they end.

    Args:
        ends: the workers.
        channel: on which they are commanded.
        describe: tells what an error should say of a worker.
    """

    def __init__(self, ends: dict[int, Ends], channel: Caller, describe: Describe) -> None:
        self._ends, self._channel, self._describe = ends, channel, describe
        self.errors: dict[int, WorkerError] = {}
        self.stacks = Stacks()

    def error(self, worker: int, phase: str, what: str, **details: Any) -> WorkerError:
        """An error that says ``what`` of a worker, which goes on."""
        known = self._describe(worker)
        of = f" ({known['env_name']})" if known.get("env_name") else ""
        message = f"worker {worker}{of}, phase {phase!r}: {what}"
        return WorkerError(message, worker=worker, phase=phase, **known, **details)

    def refused(self, worker: int, phase: str, report: dict[str, Any]) -> WorkerError:
        """The error that a worker reports of a call; it goes on."""
        what, details, cause = what_it_reports(report)
        error = self.error(worker, phase if report["phase"] == "call" else report["phase"], what, **details)
        error.__cause__ = cause
        return error

    def lose(self, worker: int, error: WorkerError) -> WorkerError:
        """Gives up a worker because of ``error``."""
        self.errors[worker] = error
        self._channel.excuse(worker, FAILED)
        if worker in self._ends:
            self._channel.unwatch(self._ends[worker].watch)
        return error

    def dead(self, worker: int, phase: str) -> WorkerError:
        """Gives up a worker that has died, or has broken off the connection."""
        ends = self._ends[worker]
        if not ends.gone(DYING):
            ends.kill()
            return self.lose(worker, self.error(worker, phase, "broke off the connection; it was ended"))
        ends.end_children()
        # What it sent before it died is the better report.
        with contextlib.suppress(EOFError, OSError, pickle.UnpicklingError):
            while ends.connection.poll(0.0):
                kind, value = pickle.loads(ends.connection.recv_bytes())
                if kind == "failed":
                    return self.lose(worker, self.refused(worker, phase, value))
        what, details = how_it_died(ends.exit_code(), self._channel.resident(worker))
        stack = self.stacks.read()  # of a crash
        if stack:
            what += f". Its stack:\n{stack}"
        return self.lose(worker, self.error(worker, phase, what, remote_traceback=stack or None, **details))

    def hung(self, workers: list[int], phase: str, seconds: float | None) -> WorkerError:
        """Gives up workers that have not answered for so long, and ends them; returns the error of the first one."""
        reacts = True
        for worker in workers:
            ends = self._ends[worker]
            stack = self.stacks.ask(ends.send_signal) if reacts else ""
            reacts = bool(stack)  # one that does not costs time
            ends.kill()
            shown = stack or "(it could not be had)"
            what = f"did not answer within {seconds:g} s; it was ended. Its stack:\n{shown}"
            self.lose(worker, self.error(worker, phase, what, remote_traceback=stack or None))
        return self.errors[workers[0]]
