"""What becomes of an env in a worker that goes wrong (fork; other start methods in ``test_faults_scripts.py``)."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings

import pytest
import torch
from tensordict import TensorDict

from envkit import ClosedEnvError, EnvDataError, ParallelEnv, WorkerError

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc"),
    pytest.mark.usefixtures("nothing_left"),
]

QUICK = 5.0  # seconds; the promise is 2, on a machine that does nothing else


class OddError(Exception):
    """Wants two arguments, and cannot be made from the one it shows."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


class HeldError(Exception):
    """Holds something that no other process can have."""

    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()


class MuteError(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def raising(make):
    def happen(env):
        raise make()

    return happen


def kill(env):
    os.kill(os.getpid(), signal.SIGKILL)


def segfault(env):
    ctypes.string_at(0)


def leave(env):
    os._exit(3)


def hang(env):
    while True:
        time.sleep(0.1)


def hang_for_good(env):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hang(env)


def hold_the_interpreter(env):
    import re

    re.match(r"(a+)+$", "a" * 40 + "b")


@pytest.fixture
def batch(faults):
    """Makes a batch of two troubled envs in two workers; the second one gets into trouble."""
    made = []

    def make(moment=None, what=None, trouble=None, count=2, **options):
        second = {"moment": moment, "what": what, **(trouble or {})}
        env = ParallelEnv(
            count, faults.Troubled, create_env_kwargs=[{}, second][:count], mp_start_method="fork", **options
        )
        made.append(env)
        return env

    yield make
    for env in made:
        env.close()


def provoke(env, moment):
    """Does what brings about the moment."""
    if moment == "build":
        env.start()
    elif moment == "reset":
        env.reset()
    elif moment == "step":
        env.rollout(3)
    else:
        env.ask()


class TestRaising:
    """R1 to R4."""

    @pytest.mark.parametrize("moment", ["build", "reset", "step", "asked"])
    def test_is_told_with_text_and_traceback(self, moment, batch, faults):
        env = batch(moment, raising(lambda: ValueError("the wheel came off")))
        if moment != "build":
            env.start()
        with faults.within(QUICK), pytest.raises(WorkerError, match="ValueError: the wheel came off") as caught:
            provoke(env, moment)
        error = caught.value
        assert error.worker == 1
        assert error.env_indices == [1]
        assert "Troubled" in error.env_name
        assert error.phase == {"asked": "call"}.get(moment, moment)
        assert error.remote_type == "ValueError"
        assert "in happen" in error.remote_traceback
        assert isinstance(error.__cause__, ValueError)
        assert str(error).startswith("worker 1 (")

    def test_knows_the_action_and_the_seed(self, batch):
        env = batch("step", raising(ZeroDivisionError), {"at": 2})
        env.set_seed(7)
        data = []

        def policy(td):
            data.append(td.set("action", torch.rand(2, 1)).clone())
            return td

        with pytest.raises(WorkerError) as caught:
            env.rollout(5, policy)
        assert torch.equal(caught.value.last_action[0], data[2]["action"][1])
        assert caught.value.seed is not None
        assert caught.value.exit_code is caught.value.signal is None

    @pytest.mark.parametrize(
        ("make", "name", "text"),
        [
            (lambda: OddError("salt", "pepper"), "OddError", "salt and pepper"),
            (lambda: HeldError("held"), "HeldError", "held"),
            (MuteError, "MuteError", "cannot be read"),
            (lambda: SystemExit(5), "SystemExit", "5"),
            (lambda: KeyboardInterrupt("not yours"), "KeyboardInterrupt", "not yours"),
            (lambda: GeneratorExit("odd"), "GeneratorExit", "odd"),
        ],
    )
    @pytest.mark.parametrize("moment", ["build", "step"])
    def test_of_any_kind(self, make, name, text, moment, batch, faults):
        env = batch(moment, raising(make))
        with faults.within(QUICK), pytest.raises(WorkerError, match=text) as caught:
            provoke(env, moment)
        assert caught.value.remote_type == name

    def test_keeps_the_cause_where_it_can_be_sent(self, batch):
        env = batch("step", raising(lambda: OddError("salt", "pepper")))
        with pytest.raises(WorkerError) as caught:
            env.rollout(3)
        assert caught.value.__cause__ is None  # it would take two arguments to build it anew

    def test_ends_everything(self, batch, faults):
        env = batch("step", raising(ValueError))
        workers = env.ask()
        with faults.within(QUICK), pytest.raises(WorkerError):
            env.rollout(3)
        assert faults.soon(lambda: not any(map(faults.alive, workers)), 0.5)
        with pytest.raises(ClosedEnvError, match="phase 'step': raised ValueError"):
            env.rollout(3)
        env.close()

    def test_both_at_once(self, faults):
        options = {"moment": "step", "what": raising(ValueError)}
        env = ParallelEnv(2, faults.Troubled, create_env_kwargs=options, mp_start_method="fork")
        with pytest.raises(WorkerError):
            env.rollout(3)

    def test_in_a_batch_of_some_of_the_envs(self, batch):
        env = batch("step", raising(ValueError))
        assert env[0].rollout(3).batch_size == (1, 3)
        with pytest.raises(WorkerError) as caught:
            env[[1]].rollout(3)
        assert caught.value.worker == 1

    def test_errors_can_be_sent_on(self, batch):
        env = batch("step", raising(ValueError))
        with pytest.raises(WorkerError) as caught:
            env.rollout(3)
        again = pickle.loads(pickle.dumps(caught.value))
        assert str(again) == str(caught.value)
        assert (again.worker, again.phase, again.remote_type) == (1, "step", "ValueError")


class TestDying:
    """R5."""

    @pytest.mark.parametrize("moment", ["build", "reset", "step", "asked"])
    @pytest.mark.parametrize(
        ("how", "text", "fields"),
        [
            (kill, "SIGKILL", {"signal": "SIGKILL"}),
            (leave, "exit code 3", {"exit_code": 3}),
            (segfault, "SIGSEGV", {"signal": "SIGSEGV"}),
        ],
    )
    def test_is_told_with_its_cause(self, moment, how, text, fields, batch, faults):
        env = batch(moment, how)
        with faults.within(QUICK), pytest.raises(WorkerError, match=text) as caught:
            provoke(env, moment)
        error = caught.value
        assert (error.worker, error.phase) == (1, {"asked": "call"}.get(moment, moment))
        assert {"exit_code": error.exit_code, "signal": error.signal} == {"exit_code": None, "signal": None} | fields
        if how is segfault:
            assert "in segfault" in error.remote_traceback
            assert "in segfault" in str(error)

    def test_by_sigkill_may_be_for_memory(self, batch):
        env = batch()
        env.reset()
        time.sleep(1.1)  # a worker looks at its memory now and then
        env.rollout(2)
        os.kill(env.ask()[1], signal.SIGKILL)
        with pytest.raises(WorkerError, match=r"out of memory\?; it last had [\d,]+ MiB"):
            env.rollout(2)

    def test_while_idle_is_told_at_the_next_call(self, batch, faults):
        env = batch()
        data = env.rollout(3)
        victim = env.ask()[1]
        os.kill(victim, signal.SIGKILL)
        assert faults.soon(lambda: not faults.alive(victim))
        with faults.within(QUICK), pytest.raises(WorkerError, match="SIGKILL"):
            env.step(env.rand_action(data[:, -1].exclude("next")))

    def test_is_no_matter_to_envs_of_other_workers(self, batch, faults):
        env = batch()
        one = env[0]
        td = one.reset()
        victim = env.ask()[1]
        os.kill(victim, signal.SIGKILL)
        assert faults.soon(lambda: not faults.alive(victim))
        before = time.process_time()
        one.rollout(20)
        td = one.rand_step(td)
        assert td["next", "observation"].shape == (1, 2)
        assert time.process_time() - before < 2.0  # nor does it keep anybody busy

    def test_of_one_is_heard_while_another_is_at_work(self, faults):
        def wait(env):
            time.sleep(30)

        options = [{"moment": "asked", "what": wait}, {"moment": "asked", "what": kill}]
        env = ParallelEnv(2, faults.Troubled, create_env_kwargs=options, mp_start_method="fork")
        env.start()
        with faults.within(QUICK), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the other one does not end when asked
            with pytest.raises(WorkerError, match="SIGKILL"):
                env._crew.ask(env._envs, "method", lambda share: (share.envs, "ask", (), {}))

    def test_does_not_blame_the_others(self, batch):
        env = batch("step", kill)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(WorkerError):
                env.rollout(3)


class TestHanging:
    """R6."""

    @pytest.mark.parametrize("moment", ["build", "reset", "step", "asked"])
    def test_ends_with_the_time_that_is_given(self, moment, batch, faults):
        env = batch(moment, hang, timeout=0.5)
        with faults.within(0.5 + QUICK), pytest.raises(WorkerError, match=r"within 0\.5 s") as caught:
            provoke(env, moment)
        assert caught.value.worker == 1
        assert "in hang" in caught.value.remote_traceback
        assert "in hang" in str(caught.value)
        assert "life line" not in str(caught.value)
        assert "in serve" not in str(caught.value)

    @pytest.mark.parametrize("how", [hang_for_good, hold_the_interpreter])
    def test_of_the_worst_kind(self, how, batch, faults):
        env = batch("step", how, timeout=0.5)
        with faults.within(0.5 + QUICK), pytest.raises(WorkerError, match=f"in {how.__name__}"):
            env.rollout(3)

    def test_of_a_stopped_process(self, batch, faults):
        env = batch("step", lambda env: os.kill(os.getpid(), signal.SIGSTOP), timeout=0.5)
        with faults.within(0.5 + QUICK), pytest.raises(WorkerError, match="could not be had"):
            env.rollout(3)

    def test_of_a_process_that_does_not_read_what_it_is_sent(self, batch, faults):
        env = batch(timeout=0.5)
        os.kill(env.ask()[1], signal.SIGSTOP)
        with faults.within(1.0 + QUICK), pytest.raises(WorkerError, match=r"within 0\.5 s"):
            env.restore((env.snapshot()[0], [None, b"x" * 10_000_000]))

    def test_close_does_not_wait_for_it(self, batch, faults):
        env = batch("step", hang_for_good)
        workers = env.ask()
        raiser = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
        raiser.start()
        with pytest.raises(KeyboardInterrupt):
            env.rollout(3)
        with faults.within(5.5), pytest.warns(RuntimeWarning, match="worker 1 did not end when asked(.|\n)*in hang"):
            env.close()
        assert not any(map(faults.alive, workers))

    def test_is_none_where_only_all_of_them_are_slow(self, faults):
        def doze(env):
            time.sleep(0.3)

        options = {"moment": "step", "what": doze}
        env = ParallelEnv(2, faults.Troubled, create_env_kwargs=options, mp_start_method="fork", timeout=2.0)
        assert env.rollout(3).batch_size == (2, 3)
        env.close()


class TestClosing:
    """R7."""

    def test_says_what_an_env_raises(self, batch, faults):
        env = batch("close", raising(lambda: ValueError("stuck")))
        env.rollout(3)
        with pytest.warns(RuntimeWarning, match="worker 1 raised ValueError in close: stuck") as said:
            env.close()
        assert len(said) == 1
        env.close()

    @pytest.mark.parametrize("how", [hang, hang_for_good])
    def test_ends_what_hangs(self, how, batch, faults):
        env = batch("close", how)
        workers = env.ask()
        with faults.within(2.5), pytest.warns(RuntimeWarning, match="did not end when asked") as said:
            env.close(seconds=1.5)
        assert len(said) == 1
        assert not any(map(faults.alive, workers))

    def test_is_one_deadline_for_all(self, faults):
        options = {"moment": "close", "what": hang_for_good}
        env = ParallelEnv(6, faults.Troubled, create_env_kwargs=options, mp_start_method="fork")
        env.start()
        with faults.within(2.5), pytest.warns(RuntimeWarning, match="workers 0, 1, 2, 3, 4, 5 did not end"):
            env.close(seconds=2.0)

    def test_waits_for_the_step_that_is_under_way(self, batch, tmp_path, faults):
        closed = tmp_path / "closed"

        class Neat(faults.Troubled):
            def close(self):
                super().close()
                closed.touch()

        env = ParallelEnv(1, Neat, create_env_kwargs={"moment": "step", "what": lambda env: time.sleep(1.0)})
        env._crew._options["start_method"] = "fork"
        env.start()
        threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            env.rollout(3)
        env.close()
        assert closed.exists()

    def test_never_raises_after_a_failure(self, batch):
        env = batch("step", kill)
        with pytest.raises(WorkerError):
            env.rollout(3)
        env.close()
        env.close()

    def test_of_an_env_that_raised_before_goes_on_in_the_worker(self, tmp_path, faults):
        closed = tmp_path / "closed"
        options = {"moment": "step", "what": raising(ValueError)}

        class Neat(faults.Troubled):
            def close(self):
                super().close()
                closed.touch()

        env = ParallelEnv(1, Neat, create_env_kwargs=options, mp_start_method="fork")
        with pytest.raises(WorkerError, match="ValueError"):
            env.rollout(3)
        assert closed.exists()


class TestChildren:
    """R14."""

    @pytest.mark.parametrize("end", ["kill", "close", "raise", "fork"])
    def test_of_envs_end_with_them(self, end, tmp_path, faults):
        note = tmp_path / "child"

        class Served(faults.Troubled):
            def __init__(self, **options):
                super().__init__(**options)
                if end == "fork":  # holds all that the worker holds
                    self.server = os.fork()
                    if self.server == 0:
                        time.sleep(1000)
                else:
                    self.server = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(1000)"]).pid
                note.write_text(str(self.server))

        what = {"raise": raising(ValueError)}.get(end, kill)
        env = ParallelEnv(1, Served, create_env_kwargs={"moment": "step", "what": what}, mp_start_method="fork")
        env.start()
        child = int(note.read_text())
        assert faults.alive(child)
        if end == "close":
            env.close()
        else:
            with faults.within(QUICK), pytest.raises(WorkerError, match="ValueError" if end == "raise" else "SIGKILL"):
                env.rollout(3)
        assert faults.soon(lambda: not faults.alive(child), 2.0)


class TestData:
    """R10: what comes out of an env is held to its specs in a worker, too."""

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            ({"observation": torch.zeros(1)}, r"'observation'.*\[2\].*\[1\]"),
            ({"observation": torch.zeros(2, dtype=torch.int64)}, "'observation'.*float32.*int64"),
            ({"observation": None}, "observation"),
            ({"reward": None}, "reward"),
            ({"reward": torch.zeros(3)}, "reward"),
            ({"done": None}, "done"),
            ({"done": torch.tensor([0.5])}, "done"),
        ],
    )
    def test_that_is_wrong_is_refused(self, change, text, batch):
        def answer(env):
            right = {"observation": env._observation(), "reward": torch.zeros(1), "done": torch.zeros(1, dtype=bool)}
            return TensorDict({key: value for key, value in (right | change).items() if value is not None})

        env = batch("step", answer, {"at": 2})
        with pytest.raises(WorkerError, match=text) as caught:
            env.rollout(5)
        assert caught.value.remote_type in ("EnvDataError", "KeyError", "SpecError")
        assert caught.value.phase == "step"
        assert isinstance(caught.value.__cause__, (EnvDataError, KeyError))
