from __future__ import annotations

import functools
import gc
import os
import signal
import sys
import threading
import time
import warnings
from multiprocessing import popen_fork

import pytest

import envkit
from envkit import ClosedEnvError, SpecError, WorkerError
from envkit.batched.pool import WorkerPool
from envkit.batched.worker import OTHERS, Service
from envkit.storage.shared import SharedBlock

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc"),
    pytest.mark.usefixtures("nothing_left"),
]

ADD, DOZE, FAIL, DIE = range(OTHERS, OTHERS + 4)


class Clerk(Service):
    """Adds numbers up, sleeps, fails."""

    def __init__(self, number, trouble=None):
        self.number, self.sum, self.block = number, 0, None
        if trouble is not None:
            trouble()

    def describe(self):
        return f"clerk {self.number}"

    def phase(self, operation):
        return {DOZE: "nap"}.get(operation, "sum")

    def do(self, operation, place, row, detail):
        if operation == DOZE:
            time.sleep(place / 1000)
        elif operation == FAIL:
            raise ValueError("no more")
        elif operation == DIE:
            os._exit(6)
        self.sum += place + row + detail
        return self.sum

    def echo(self, *args, **kwargs):
        return self.number, args, kwargs

    def nap(self, seconds):
        time.sleep(seconds)
        return self.number

    def fail(self, exception):
        raise exception

    def pid(self):
        return os.getpid()

    def warn(self):
        with warnings.catch_warnings(record=True) as heard:
            warnings.warn("careful", stacklevel=1)
        return len(heard)

    def unsendable(self):
        return threading.Lock()

    def take(self, block, value):
        self.block = block
        block.forget_descriptor()
        block.bytes[self.number] = value
        return block.size

    def close(self):
        pass


@pytest.fixture
def pool():
    made = []

    def make(workers=2, troubles=(), **options):
        makers = [functools.partial(Clerk, i, troubles[i] if i < len(troubles) else None) for i in range(workers)]
        made.append(WorkerPool(makers, start_method="fork", **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


class TestPosts:
    def test_are_settled(self, pool):
        one = pool(3)
        assert len(one) == 3
        assert one.descriptions == ["clerk 0", "clerk 1", "clerk 2"]
        for round in range(1, 50):
            for worker in range(3):
                one.post(worker, ADD, worker, 1, 1)
            assert one.settle([0, 1, 2], "sum") == []
            assert [one.result(worker) for worker in range(3)] == [round * (worker + 2) for worker in range(3)]

    def test_wait_for_any(self, pool):
        one = pool(2)
        one.post(0, DOZE, 1500)
        one.post(1, DOZE, 1)
        assert one.wait_any([0, 1], "nap") == []
        assert [one.answered(0), one.answered(1)] == [False, True]
        assert one.wait_any([0], "nap") == []
        assert one.answered(0)

    def test_that_nobody_waited_for_are_finished_first(self, pool):
        one = pool(1)
        one.post(0, DOZE, 300)
        one.post(0, ADD, 1)
        assert one.settle([0], "sum") == []
        assert one.result(0) == 301

    def test_tell_what_went_wrong_with_each(self, pool):
        one = pool(4)
        for worker, operation in enumerate([FAIL, ADD, DIE, FAIL]):
            one.post(worker, operation, 5)
        errors = one.settle([0, 1, 2, 3], "sum")
        assert [error.worker for error in errors] == [0, 2, 3]
        assert [error.remote_type for error in errors] == ["ValueError", None, "ValueError"]
        assert errors[1].exit_code == 6
        assert one.result(1) == 5
        one.post(1, ADD, 1)
        assert one.settle([1], "sum") == []
        assert one.result(1) == 6

    def test_to_workers_that_are_lost_fail_again(self, pool, faults):
        one = pool(2)
        one.post(0, DIE)
        (error,) = one.settle([0], "sum")
        for _ in range(3):
            one.post(0, ADD, 1)
            one.post(1, ADD, 1)
            with faults.within(2.0):
                assert one.settle([0, 1], "sum") == [error]
        assert one.result(1) == 3
        assert one.wait_any([0], "sum") == [error]
        with pytest.raises(WorkerError, match="exit code 6"):
            one.call(0, "echo")

    def test_that_take_too_long(self, pool, faults):
        one = pool(3, timeout=0.4)
        one.post(0, ADD)
        one.post(1, DOZE, 60_000)
        one.post(2, DOZE, 60_000)
        with faults.within(3.0):
            errors = one.settle([0, 1, 2], "nap")
        assert [error.worker for error in errors] == [1, 2]
        assert all("in do" in error.remote_traceback for error in errors)

    def test_do_not_wait_for_strangers(self, pool):
        one = pool(2)
        one.post(1, DOZE, 3000)
        begun = time.monotonic()
        for _ in range(5):
            one.post(0, DOZE, 20)
            assert one.settle([0], "nap") == []
        assert time.monotonic() - begun < 2.0
        one.settle([1], "nap")


class TestCalls:
    def test_return_values(self, pool):
        one = pool(2)
        assert one.call(1, "echo", 1, 2, a=3) == (1, (1, 2), {"a": 3})
        assert one.call_all("echo", 4) == [(0, (4,), {}), (1, (4,), {})]
        assert one.call_each([1, 0], "echo", [((5,), {}), ((6,), {})]) == [(1, (5,), {}), (0, (6,), {})]

    def test_by_halves(self, pool):
        one = pool(3)
        for worker, seconds in enumerate([0.6, 0.0, 60.0]):
            one.begin(worker, "nap", seconds)
        assert one.heard([0, 1, 2], 5.0) == [1]
        assert one.finish(1) == 1
        assert one.heard([2], 0.05) == []
        assert one.heard([0, 2], 5.0) == [0]
        assert one.finish(0) == 0
        assert one.give_up(2, "nap", 0.5).worker == 2
        assert one.heard([2], 5.0) == [2]
        with pytest.raises(WorkerError, match=r"within 0\.5 s"):
            one.finish(2)

    def test_with_much_to_say(self, pool):
        one, much = pool(2), b"x" * 5_000_000
        assert [answer[1][0] == much for answer in one.call_all("echo", much)] == [True, True]

    def test_with_what_only_this_script_knows(self, pool):
        class Own:
            pass

        found = pool(1).call(0, "echo", Own())[1][0]
        assert type(found) is Own

    def test_that_raise_leave_the_worker_alive(self, pool):
        one = pool(2)
        with pytest.raises(WorkerError, match="KeyError: 'where'") as caught:
            one.call_each([0, 1], "fail", [((KeyError("where"),), {}), ((ValueError(),), {})], phase="there")
        assert caught.value.worker == 0
        assert caught.value.phase == "there"
        assert isinstance(caught.value.__cause__, KeyError)
        assert one.call_all("echo") == [(0, (), {}), (1, (), {})]

    def test_whose_answer_cannot_be_sent(self, pool):
        one = pool(1)
        with pytest.raises(WorkerError, match="cannot pickle"):
            one.call(0, "unsendable")
        with pytest.raises(WorkerError, match="has no attribute 'nothing'"):
            one.call(0, "nothing")
        assert one.call(0, "echo") == (0, (), {})

    def test_that_cannot_be_sent(self, pool):
        one = pool(1)
        with pytest.raises(TypeError, match="cannot pickle"):
            one.call(0, "echo", threading.Lock())
        assert one.call(0, "echo") == (0, (), {})

    def test_each_with_its_own_fate(self, pool):
        one = pool(3)
        given = [((0.1,), {}), (("text",), {}), ((0.0,), {})]
        answers = one.try_each([0, 1, 2], "nap", given)
        assert [answers[0], answers[2]] == [0, 2]
        assert answers[1].remote_type == "TypeError"

    def test_that_were_given_up_are_forgotten(self, pool):
        """The answer of a worker to a call, during which another one died, is not that to its next one."""
        one = pool(2)
        pids = one.call_all("pid")
        threading.Timer(0.2, os.kill, [pids[1], signal.SIGKILL]).start()
        with pytest.raises(WorkerError, match="SIGKILL"):
            one.call_each([0, 1], "nap", [((0.6,), {}), ((60.0,), {})])
        assert one.call(0, "echo", "new") == (0, ("new",), {})
        one.post(0, ADD, 1)
        assert one.settle([0], "sum") == []


class TestBlocks:
    def test_are_taken(self, pool):
        one, block = pool(2), SharedBlock(1000)
        assert [one.take(worker, block, 7 + worker) for worker in range(2)] == [1000, 1000]
        block.forget_descriptor()
        assert block.bytes[:2].tolist() == [7, 8]

    def test_are_taken_by_several_at_a_time(self, pool):
        one, block = pool(3), SharedBlock(1000)
        assert one.take_each([2, 0], block, [(5,), (6,)]) == [1000, 1000]
        assert block.bytes[:3].tolist() == [6, 0, 5]


class TestRestart:
    @pytest.mark.parametrize("operation", [FAIL, DIE])
    def test_puts_a_new_one_in_its_place(self, operation, pool):
        one = pool(2)
        pids = one.call_all("pid")
        one.post(0, ADD, 5)
        one.post(1, operation)
        assert len(one.settle([0, 1], "sum")) == 1
        assert one.restart(1) == "clerk 1"
        assert one.call(0, "pid") == pids[0]
        assert one.call(1, "pid") != pids[1]
        for worker in range(2):
            one.post(worker, ADD, 1)
        assert one.settle([0, 1], "sum") == []
        assert [one.result(0), one.result(1)] == [6, 1]

    def test_of_one_that_hung(self, pool):
        one = pool(1, timeout=0.3)
        for _ in range(2):
            one.post(0, DOZE, 60_000)
            (error,) = one.settle([0], "nap")
            assert "in do" in error.remote_traceback
            one.restart(0)
        assert one.call(0, "echo") == (0, (), {})

    def test_that_fails(self, pool, tmp_path):
        flag = tmp_path / "flag"

        def trouble():
            if flag.exists():
                raise RuntimeError("not again")

        one = pool(2, [None, trouble])
        flag.touch()
        one.post(1, DIE)
        one.settle([1], "sum")
        with pytest.raises(WorkerError, match="not again") as caught:
            one.restart(1)
        assert caught.value.phase == "build"
        one.post(1, ADD)
        assert one.settle([1], "sum") == [caught.value]
        assert one.call(0, "echo") == (0, (), {})
        flag.unlink()
        assert one.restart(1) == "clerk 1"
        assert one.call(1, "echo") == (1, (), {})

    def test_needs_to_know_who(self, pool, faults):
        one = pool(3)
        assert one.casualties() == []
        victim = one.call(2, "pid")
        os.kill(victim, signal.SIGKILL)
        assert faults.soon(lambda: not faults.alive(victim))
        one.post(0, FAIL)
        one.settle([0], "sum")
        assert [error.worker for error in one.casualties()] == [0, 2]
        assert [error.signal for error in one.casualties()] == [None, "SIGKILL"]


class TestStart:
    def test_is_all_or_nothing(self, pool, faults):
        def trouble():
            raise ValueError("not today")

        with faults.within(5.0), pytest.raises(WorkerError, match="worker 1, phase 'build': raised ValueError"):
            pool(3, [None, trouble, lambda: time.sleep(60)])

    def test_starts_nothing_that_cannot_be_sent(self, pool):
        lock = threading.Lock()
        with pytest.raises(SpecError, match=r"worker 1: expected .*, found trouble -> lock \(a lock\)"):
            pool(2, [None, lambda: lock])

    def test_has_all_build_at_once(self, pool):
        begun = time.monotonic()
        pool(4, [functools.partial(time.sleep, 1.0)] * 4)
        assert time.monotonic() - begun < 3.5

    def test_that_is_refused_by_the_system(self, pool, monkeypatch):
        calls, start = [], popen_fork.Popen._launch

        def refuse(*arguments):
            calls.append(1)
            if len(calls) == 2:
                raise BlockingIOError("no more processes")
            return start(*arguments)

        monkeypatch.setattr(popen_fork.Popen, "_launch", refuse)
        with pytest.raises(WorkerError, match="worker 1, phase 'start': could not be started: no more processes"):
            pool(3)

    def test_describes(self, pool):
        def describe(worker):
            return {"env_indices": [10 * worker], "env_name": "Env", "seed": 3}

        one = pool(2, describe=describe)
        one.post(1, FAIL)
        (error,) = one.settle([1], "sum")
        assert str(error).startswith("worker 1 (Env), phase 'sum': raised ValueError: no more\n")
        assert (error.env_indices, error.env_name, error.seed) == ([10], "Env", 3)

    @pytest.mark.parametrize("quiet", [True, False])
    @pytest.mark.filterwarnings("always")
    def test_hides_warnings(self, quiet, pool, monkeypatch):
        monkeypatch.setattr(envkit, "filter_warnings_subprocess", quiet)
        assert pool(1).call(0, "warn") == (0 if quiet else 1)


class TestClose:
    def test_is_final(self, pool):
        one = pool(2)
        assert not one.is_closed
        one.close()
        one.close()
        assert one.is_closed
        for use in (
            lambda: one.post(0, ADD),
            lambda: one.settle([0], "sum"),
            lambda: one.call(0, "echo"),
            lambda: one.answered(0),
        ):
            with pytest.raises(ClosedEnvError, match="expected workers, found that they have ended; make a new one"):
                use()

    def test_says_why_there_are_none(self, pool):
        one = pool(1)
        one.post(0, DIE)
        one.settle([0], "sum")
        one.close()
        with pytest.raises(ClosedEnvError, match="have ended after worker 0, phase 'sum': ended with exit code 6"):
            one.post(0, ADD)

    def test_comes_by_itself(self, pool, faults):
        pids = WorkerPool([functools.partial(Clerk, 0)], start_method="fork").call_all("pid")
        gc.collect()
        assert faults.soon(lambda: not faults.alive(pids[0]))

    def test_in_the_middle_of_a_call(self, pool):
        one = pool(2)
        threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()
        with pytest.raises(KeyboardInterrupt):
            one.call_all("nap", 1.0)
        assert one.is_closed


class TestInterrupts:
    def test_between_post_and_settle_are_survived(self, pool):
        one = pool(2)
        for worker in range(2):
            one.post(worker, DOZE, 600)
        threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()
        with pytest.raises(KeyboardInterrupt):
            one.settle([0, 1], "nap")
        for worker in range(2):
            one.post(worker, ADD, 1)
        assert one.settle([0, 1], "sum") == []
        assert [one.result(0), one.result(1)] == [601, 601]
