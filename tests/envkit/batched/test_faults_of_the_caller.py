"""R16 and R17: what becomes of workers when the process that started them goes, in whatever way.

The victim is forked from this process, and leads a session of its own, by which all that belongs to it is found.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
import time

import pytest

from envkit import ParallelEnv, WorkerError

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc"),
    pytest.mark.usefixtures("nothing_left"),
]

PR_SET_PDEATHSIG = 1
GONE = 5.0  # seconds; the promise is 2, on a machine that does nothing else


def hold_the_interpreter(env):
    re.match(r"(a+)+$", "a" * 40 + "b")


class Victim:
    """A process that runs a function, and says when it is ready."""

    def __init__(self, run, output):
        ready, self._ready = os.pipe()
        self.output = output
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # tests may be killed themselves
                os.setsid()
                signal.signal(signal.SIGINT, signal.default_int_handler)
                log = os.open(output, os.O_CREAT | os.O_WRONLY)
                os.dup2(log, 1)
                os.dup2(log, 2)
                sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
                run(lambda: os.write(self._ready, b"x"))
                code = 0
            except KeyboardInterrupt:
                code = 130
            finally:
                os._exit(code)
        os.close(self._ready)
        assert os.read(ready, 1) == b"x", output.read_text()
        os.close(ready)

    def end(self):
        """How it ended."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def victim(tmp_path):
    return lambda run: Victim(run, tmp_path / "output.txt")


@pytest.fixture
def busy(faults):
    """Steps an env for ever."""

    def run(ready, moment=None, what=None, **options):
        env = ParallelEnv(2, faults.Troubled, create_env_kwargs={"moment": moment, "what": what}, **options)
        td = env.reset()
        ready()
        while True:
            td = env.step_mdp(env.rand_step(td))

    return run


class TestSudden:
    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_while_workers_step(self, number, victim, busy, faults):
        one = victim(lambda ready: busy(ready, mp_start_method="fork"))
        assert faults.soon(lambda: len(faults.members(one.pid)) == 3)
        os.kill(one.pid, number)
        assert one.end() == -number
        with faults.within(GONE):
            assert faults.soon(lambda: not faults.members(one.pid))
        assert one.output.read_text() == ""

    @pytest.mark.parametrize("how", ["idle", "asleep", "holding the interpreter", "starting"])
    def test_whatever_workers_do(self, how, victim, faults):
        what = {"holding the interpreter": hold_the_interpreter}.get(how, lambda env: time.sleep(1000))
        moment = {"idle": None, "starting": "build"}.get(how, "step")

        def run(ready):
            env = ParallelEnv(
                2, faults.Troubled, create_env_kwargs={"moment": moment, "what": what}, mp_start_method="fork"
            )
            if how == "starting":
                ready()
            env.reset()
            ready()
            if how == "idle":
                time.sleep(1000)
            env.rollout(3)

        one = victim(run)
        assert faults.soon(lambda: len(faults.members(one.pid)) == 3)
        time.sleep(0.3)
        os.kill(one.pid, signal.SIGKILL)
        one.end()
        with faults.within(GONE):
            assert faults.soon(lambda: not faults.members(one.pid))

    def test_of_a_process_with_other_children(self, victim, faults):
        """Children that the caller forks must not keep its workers alive, nor those of one pool another's."""

        def run(ready):
            first = ParallelEnv(1, faults.Troubled, mp_start_method="fork")
            first.start()
            second = ParallelEnv(
                1,
                faults.Troubled,
                create_env_kwargs={"moment": "step", "what": lambda env: time.sleep(0.01)},
                mp_start_method="fork",
            )
            second.start()
            if os.fork() == 0:
                os.setsid()  # not among those that are looked for
                time.sleep(8)
                os._exit(0)
            ready()
            time.sleep(1000)

        one = victim(run)
        os.kill(one.pid, signal.SIGKILL)
        one.end()
        with faults.within(GONE):
            assert faults.soon(lambda: not faults.members(one.pid))

    def test_takes_along_what_envs_have_started(self, victim, faults, tmp_path):
        class Served(faults.Troubled):
            def __init__(self):
                super().__init__()
                if os.fork() == 0:
                    time.sleep(1000)

        def run(ready):
            env = ParallelEnv(2, Served, mp_start_method="fork")
            env.start()
            ready()
            time.sleep(1000)

        one = victim(run)
        assert faults.soon(lambda: len(faults.members(one.pid)) == 5)
        os.kill(one.pid, signal.SIGKILL)
        one.end()
        with faults.within(GONE):
            assert faults.soon(lambda: not faults.members(one.pid))


class TestInterrupts:
    @pytest.mark.parametrize("what", [None, lambda env: time.sleep(1000)], ids=["stepping", "hanging"])
    def test_reach_the_caller_alone(self, what, victim, busy, faults):
        moment = None if what is None else "step"
        one = victim(lambda ready: busy(ready, moment, what, mp_start_method="fork"))
        assert faults.soon(lambda: len(faults.members(one.pid)) == 3)
        time.sleep(0.2)
        begun = time.monotonic()
        os.killpg(one.pid, signal.SIGINT)  # what a terminal does, with all processes of its foreground group
        assert one.end() == 130
        assert time.monotonic() - begun < GONE
        assert faults.soon(lambda: not faults.members(one.pid))
        assert one.output.read_text() == ""

    def test_while_workers_start(self, victim, faults):
        def run(ready):
            kwargs = {"moment": "build", "what": lambda env: time.sleep(1000)}
            env = ParallelEnv(2, faults.Troubled, create_env_kwargs=kwargs, mp_start_method="fork")
            ready()
            env.start()

        one = victim(run)
        assert faults.soon(lambda: len(faults.members(one.pid)) == 3)
        time.sleep(0.2)
        os.killpg(one.pid, signal.SIGINT)
        assert one.end() == 130
        assert faults.soon(lambda: not faults.members(one.pid))
        assert "Traceback" not in one.output.read_text()

    def test_leave_an_env_that_can_be_used(self, victim, faults):
        """As in a notebook, where the cell is interrupted, and the next one goes on."""

        def run(ready):
            kwargs = {"moment": "step", "what": lambda env: time.sleep(1.0), "at": 2}
            env = ParallelEnv(2, faults.Troubled, create_env_kwargs=kwargs, mp_start_method="fork")
            env.start()
            ready()
            try:
                env.rollout(5)
            except KeyboardInterrupt:
                data = env.rollout(2)
                assert data["observation"].tolist() == [[[0, 2], [1, 2]]] * 2
                env.close()
                print("well", flush=True)

        one = victim(run)
        time.sleep(0.5)
        os.killpg(one.pid, signal.SIGINT)
        assert one.end() == 0
        assert one.output.read_text() == "well\n"


class TestHabits:
    def test_of_a_caller_that_ignores_its_children(self, victim, faults):
        """Nobody can know how they end; that they do is noticed all the same."""

        def run(ready):
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            env = ParallelEnv(4, faults.Troubled, mp_start_method="fork")
            os.kill(env.ask()[1], signal.SIGKILL)
            begun = time.monotonic()
            with pytest.raises(WorkerError, match=r"worker 1 .*ended in an unknown way"):
                env.rollout(2)
            assert time.monotonic() - begun < GONE
            print("well", flush=True)
            ready()

        one = victim(run)
        assert one.end() == 0
        assert one.output.read_text() == "well\n"


class TestForks:
    def test_of_the_caller_have_no_workers(self, faults):
        env = ParallelEnv(1, faults.Troubled, mp_start_method="fork")
        env.rollout(2)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                env.rollout(2)
            except Exception as error:
                code = 0 if "process that this one was forked from" in str(error) else 2
            finally:
                env.close()
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        assert env.rollout(2).batch_size == (1, 2)
        env.close()
