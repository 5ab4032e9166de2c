"""How a process and its workers wake each other: words in shared memory, and a pipe for whoever is asleep.

Every worker has two lines of words in a shared block. The caller writes the first one (what to do, and a sequence
number), the worker the second (the number of the command it has answered, and how it went). Whoever waits looks at the
other's number for some microseconds, then says that it is asleep and blocks on a pipe, whose other end wakes it with a
byte. So a command that costs microseconds costs no more, waiting costs no processor time, and an answer that comes
after its time is never taken for that of the next command.

Numbers without a system call are only passed on processors that keep the order of a core's writes. On others both sides
always use the pipes.
"""

from __future__ import annotations

import contextlib
import os
import platform
import select
import threading
import time

from envkit.storage.shared import SharedBlock

__all__ = ["Answerer", "Caller", "block_size", "fresh_pipe"]

WORD = 8
LINE = 16  # words, of two cache lines: of one or the other side only
PER_WORKER = 2 * LINE
# Words of the caller's line of a worker, and of the worker's; the first line of all is the caller's own.
NUMBER, OPERATION, PLACE, ROW, DETAIL = range(5)
ANSWERED, RESULT, ASLEEP, RESIDENT = range(LINE, LINE + 4)
CALLER_ASLEEP = 0
AWAKE, UNTIL_ALL, UNTIL_ANY = 0, 1, 2

ORDERED = platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")
# Rounds of looking before going to sleep: some ten microseconds.
LOOKS = 300


def block_size(workers: int) -> int:
    """Bytes of the words of so many workers."""
    return WORD * (LINE + PER_WORKER * workers)


def fresh_pipe() -> tuple[int, int]:
    """Reading and writing end of a pipe that other programs do not inherit."""
    read, write = os.pipe()
    os.set_blocking(write, False)  # a full pipe wakes as well as one more byte would
    return read, write


def _ring(pipe: int) -> None:
    with contextlib.suppress(BlockingIOError, BrokenPipeError):
        os.write(pipe, b"\1")


class Caller:
    """The side that gives commands.

    Args:
        block: the words, of :func:`block_size` bytes.
        workers: how many there are; each is to be made ready by :meth:`renew`.
        done: the reading end of the pipe on which workers wake the caller.
    """

    def __init__(self, block: SharedBlock, workers: int, done: int) -> None:
        self._words = block.bytes.data.cast("Q")
        self._bells, self._done = [-1] * workers, done
        self._lines = [LINE + PER_WORKER * i for i in range(workers)]
        self._fence = threading.Lock()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        # Where workers need all cores, the caller that keeps looking is in their way.
        self._looks = LOOKS if ORDERED and cores > workers else 0
        self._poll = select.poll()
        self._poll.register(done, select.POLLIN)

    def watch(self, fd: int) -> None:
        """Ends :meth:`sleep` when ``fd`` becomes readable: a process that ended."""
        self._poll.register(fd, select.POLLIN)

    def unwatch(self, fd: int) -> None:
        """Undoes :meth:`watch`, if that is not done yet."""
        with contextlib.suppress(KeyError):
            self._poll.unregister(fd)

    def post(self, worker: int, operation: int, place: int = 0, row: int = 0, detail: int = 0) -> None:
        """Gives a worker a command; it must have answered the one before."""
        words, line = self._words, self._lines[worker]
        words[line + OPERATION] = operation
        words[line + PLACE] = place
        words[line + ROW] = row
        words[line + DETAIL] = detail
        words[line] += 1
        with self._fence:
            pass  # a locked instruction: the number is written before the next word is read
        if not ORDERED or words[line + ASLEEP]:
            _ring(self._bells[worker])

    def answered(self, worker: int) -> bool:
        """Whether the worker has answered its last command."""
        line = self._lines[worker]
        return self._words[line + ANSWERED] == self._words[line]

    def result(self, worker: int) -> int:
        """What the worker answered."""
        return self._words[self._lines[worker] + RESULT]

    def resident(self, worker: int) -> int:
        """Bytes of memory the worker last said it has."""
        return self._words[self._lines[worker] + RESIDENT]

    def renew(self, worker: int, bell: int) -> None:
        """Makes the line ready for a new worker, which is woken by the writing end of a pipe."""
        line = self._lines[worker]
        for word in range(line, line + PER_WORKER):
            self._words[word] = 0
        self._bells[worker] = bell

    def excuse(self, worker: int, result: int) -> None:
        """Answers in the place of a worker that is gone: others look whether they are the last to answer."""
        words, line = self._words, self._lines[worker]
        words[line + RESULT] = result
        words[line + ANSWERED] = words[line]

    def wake(self, worker: int) -> None:
        """Wakes a worker, which looks whether there is a command for it."""
        _ring(self._bells[worker])

    def wait(self, workers: list[int], *, any_of: bool = False) -> bool:
        """Looks for some microseconds whether all (or any) of ``workers`` have answered."""
        enough = any if any_of else all
        if self._looks:
            for _ in range(self._looks):
                if enough(map(self.answered, workers)):
                    return True
        return enough(map(self.answered, workers))

    def sleep(
        self, workers: list[int], seconds: float | None, *, any_of: bool = False, each: bool = False
    ) -> list[int]:
        """Sleeps until all (or any) of ``workers`` have answered, something that is watched happens, or time is up.

        Args:
            workers: those that are waited for.
            seconds: the time; None for no end.
            any_of: whether one is enough.
            each: whether every answer wakes the caller, because there are other workers that may never give theirs.

        Returns:
            The descriptors under watch that woke it.
        """
        enough = any if any_of else all
        words = self._words
        words[CALLER_ASLEEP] = UNTIL_ANY if any_of or each else UNTIL_ALL
        with self._fence:
            pass
        try:
            if enough(map(self.answered, workers)):
                return []
            woken = [fd for fd, _ in self._poll.poll(None if seconds is None else max(0.0, seconds) * 1e3)]
        finally:
            words[CALLER_ASLEEP] = AWAKE
        if self._done in woken:
            os.read(self._done, 512)
            woken.remove(self._done)
        return woken


class Answerer:
    """The side that carries commands out.

    Args:
        block: the words.
        worker: whose line it is.
        bell: the reading end of the pipe that wakes this worker.
        done: the writing end of the pipe that wakes the caller.
    """

    def __init__(self, block: SharedBlock, worker: int, bell: int, done: int) -> None:
        self._words = block.bytes.data.cast("Q")
        self._line = LINE + PER_WORKER * worker
        self._others = range(LINE, block.size // WORD, PER_WORKER)
        self._bell, self._done = bell, done
        self._fence = threading.Lock()
        self._looks = LOOKS if ORDERED else 0
        self._looked_at = 0.0

    def command(self) -> tuple[int, int, int, int] | None:
        """Waits for the next command: operation, place, row and detail; None if the caller is gone."""
        words, line = self._words, self._line
        number = words[line + ANSWERED] + 1
        for _ in range(self._looks):
            if words[line] == number:
                break
        else:
            while words[line] != number:
                words[line + ASLEEP] = 1
                with self._fence:
                    pass
                if words[line] == number:
                    break
                if not os.read(self._bell, 512):
                    return None
            words[line + ASLEEP] = 0
        return words[line + OPERATION], words[line + PLACE], words[line + ROW], words[line + DETAIL]

    def answer(self, result: int) -> None:
        """Says that the last command was carried out."""
        words, line = self._words, self._line
        words[line + RESULT] = result
        words[line + ANSWERED] += 1
        with self._fence:
            pass
        asleep = words[CALLER_ASLEEP]
        if ORDERED and asleep == AWAKE:
            return
        if asleep == UNTIL_ALL and any(words[other + ANSWERED] != words[other] for other in self._others):
            return  # another one is the last, and wakes the caller
        _ring(self._done)

    def tell_memory(self) -> None:
        """Now and then, writes down how much memory this process has, for the case that it is killed for it."""
        now = time.monotonic()
        if now - self._looked_at > 1.0:
            self._looked_at = now
            with contextlib.suppress(OSError), open("/proc/self/statm", "rb") as file:
                self._words[self._line + RESIDENT] = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
