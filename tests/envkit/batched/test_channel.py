from __future__ import annotations

import os
import threading
import time

import pytest

from envkit.batched import channel as channels
from envkit.batched.channel import Answerer, Caller, block_size, fresh_pipe
from envkit.storage.shared import SharedBlock

STOP = 9


class Line:
    """A caller and its workers, in threads here; each answers with the sum of a command, after a time."""

    def __init__(self, workers, delay=lambda worker, row: 0.0):
        self.block = SharedBlock(block_size(workers))
        self.done, self.done_write = fresh_pipe()
        self.caller = Caller(self.block, workers, self.done)
        self.delay = delay
        pipes = [fresh_pipe() for _ in range(workers)]
        self.bells = [write for _, write in pipes]
        self.reads = [read for read, _ in pipes]
        for worker, bell in enumerate(self.bells):
            self.caller.renew(worker, bell)
        self.threads = [threading.Thread(target=self._work, args=(worker,), daemon=True) for worker in range(workers)]
        for thread in self.threads:
            thread.start()

    def _work(self, worker):
        answerer = Answerer(self.block, worker, self.reads[worker], self.done_write)
        while True:
            given = answerer.command()
            if given is None or given[0] == STOP:
                return
            time.sleep(self.delay(worker, given[2]))
            answerer.answer(sum(given))

    def settle(self, workers, seconds=5.0, **options):
        deadline = time.monotonic() + seconds
        while not self.caller.wait(workers, any_of=options.get("any_of", False)):
            left = deadline - time.monotonic()
            assert left > 0, "nobody answered"
            self.caller.sleep([w for w in workers if not self.caller.answered(w)], left, **options)

    def close(self):
        for worker, bell in enumerate(self.bells):
            if self.threads[worker].is_alive():
                self.caller.post(worker, STOP)
                self.threads[worker].join(5.0)
            os.close(bell)
            os.close(self.reads[worker])
        os.close(self.done)
        os.close(self.done_write)


@pytest.fixture
def line():
    made = []

    def make(*args, **kwargs):
        made.append(Line(*args, **kwargs))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(params=[True, False], ids=["words", "pipes"])
def ordered(request, monkeypatch):
    """Whether the processor keeps the order of writes."""
    monkeypatch.setattr(channels, "ORDERED", request.param and channels.ORDERED)


@pytest.mark.usefixtures("ordered")
class TestCommands:
    def test_are_answered_in_turn(self, line):
        one = line(1)
        for number in range(500):
            assert one.caller.answered(0)
            one.caller.post(0, 8, number, 1, 2)
            one.settle([0])
            assert one.caller.result(0) == 11 + number

    def test_of_workers_who_sleep_and_of_those_who_look(self, line):
        one = line(3, delay=lambda worker, row: 0.002 * ((row * 7 + worker * 3) % 4))
        for row in range(60):
            for worker in range(3):
                one.caller.post(worker, 8, worker, row, 0)
            one.settle([0, 1, 2])
            assert [one.caller.result(worker) for worker in range(3)] == [8 + worker + row for worker in range(3)]
            if row % 10 == 0:
                time.sleep(0.005)

    def test_take_numbers_of_64_bits(self, line):
        one = line(1)
        one.caller.post(0, 8, 2**62, 2**61, 0)
        one.settle([0])
        assert one.caller.result(0) == 8 + 2**62 + 2**61

    def test_to_some_of_the_workers(self, line):
        one = line(3)
        one.caller.post(1, 8, 5)
        one.settle([1])
        assert one.caller.result(1) == 13

    def test_waiting_for_any(self, line):
        one = line(2, delay=lambda worker, row: 1.0 * worker)
        for worker in range(2):
            one.caller.post(worker, 8)
        begun = time.monotonic()
        one.settle([0, 1], any_of=True)
        assert one.caller.answered(0)
        assert not one.caller.answered(1)
        assert time.monotonic() - begun < 0.9
        one.settle([1])

    def test_waiting_for_one_while_another_never_answers(self, line):
        one = line(2, delay=lambda worker, row: 1.0 * worker)
        for worker in range(2):
            one.caller.post(worker, 8)
        begun = time.monotonic()
        one.settle([0], each=True)
        assert time.monotonic() - begun < 0.9
        one.settle([1])


class TestSleep:
    def test_ends_in_time(self, line):
        one = line(1, delay=lambda worker, row: 1.0)
        one.caller.post(0, 8)
        begun = time.monotonic()
        assert one.caller.sleep([0], 0.05) == []
        assert 0.04 < time.monotonic() - begun < 0.9
        assert not one.caller.answered(0)
        one.settle([0])

    def test_ends_when_something_happens(self, line):
        one = line(1, delay=lambda worker, row: 0.3)
        read, write = os.pipe()
        one.caller.watch(read)
        one.caller.post(0, 8)
        os.write(write, b"x")
        assert one.caller.sleep([0], 5.0) == [read]
        one.caller.unwatch(read)
        one.caller.unwatch(read)
        one.settle([0])
        os.close(read)
        os.close(write)

    def test_costs_no_processor_time(self, line):
        one = line(1, delay=lambda worker, row: 0.5)
        one.caller.post(0, 8)
        before = time.process_time()
        one.settle([0])
        assert time.process_time() - before < 0.2


class TestWorkersThatAreGone:
    def test_are_excused(self, line):
        one = line(2, delay=lambda worker, row: 0.05)
        one.caller.post(1, STOP)
        one.threads[1].join()
        assert not one.caller.answered(1)
        one.caller.excuse(1, 77)
        assert one.caller.answered(1)
        assert one.caller.result(1) == 77
        one.caller.post(0, 8)
        one.settle([0])  # the last of those who are left knows that it is

    def test_are_replaced(self, line):
        one = line(1)
        for _ in range(3):
            one.caller.post(0, 8)
            one.settle([0])
        one.caller.post(0, STOP)
        one.threads[0].join()
        one.caller.renew(0, one.bells[0])
        assert one.caller.answered(0)
        one.threads[0] = threading.Thread(target=one._work, args=(0,), daemon=True)
        one.threads[0].start()
        one.caller.post(0, 8, 1)
        one.settle([0])
        assert one.caller.result(0) == 9

    def test_or_whose_caller_is(self):
        block, (read, write) = SharedBlock(block_size(1)), fresh_pipe()
        answerer = Answerer(block, 0, read, -1)
        threading.Timer(0.05, os.close, [write]).start()
        assert answerer.command() is None
        os.close(read)

    def test_leave_word_of_their_memory(self):
        block, (read, write) = SharedBlock(block_size(1)), fresh_pipe()
        caller = Caller(block, 1, read)
        assert caller.resident(0) == 0
        Answerer(block, 0, -1, write).tell_memory()
        assert caller.resident(0) > 2**20
        os.close(read)
        os.close(write)


class TestWake:
    def test_does_no_harm(self, line):
        one = line(1)
        for number in range(20):
            one.caller.wake(0)
            one.caller.post(0, 8, number)
            one.caller.wake(0)
            one.settle([0])
            assert one.caller.result(0) == 8 + number

    def test_is_not_held_up_by_a_full_pipe(self, line):
        one = line(1, delay=lambda worker, row: 0.2)
        one.caller.post(0, 8)
        for _ in range(100_000):
            one.caller.wake(0)
        one.settle([0])
