"""Faults and ends of whole scripts, with each start method: R17 to R18, and the heart of R1 to R7 once more."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import cloudpickle
import pytest

import envkit
from envkit import EnvBase, ParallelEnv, SpecError

ROOT = str(Path(envkit.__file__).parents[1])

# No guard; functions, classes and exceptions of its own; a worker that dies; workers that nobody closes at the end.
SCRIPT = """
import os, signal, sys, time
import torch
from tensordict import TensorDict
from envkit import Bounded, EnvBase, ParallelEnv, Unbounded, WorkerError

METHOD = sys.argv[1]
print("begin", flush=True)  # once: workers do not run the script

class Broken(Exception):
    def __init__(self, where, why):
        super().__init__(where, why)

class Walk(EnvBase):
    def __init__(self, trouble=None, server=False):
        super().__init__()
        self.trouble = trouble
        self.observation_spec = Unbounded((1,))
        self.action_spec = Bounded(-1.0, 1.0, shape=(1,))
        if server and os.fork() == 0:
            time.sleep(1000)

    def _set_seed(self, seed):
        pass

    def _reset(self, tensordict=None):
        return TensorDict({"observation": torch.zeros(1)})

    def _step(self, tensordict):
        if self.trouble is not None:
            self.trouble(self)
        return TensorDict({"observation": tensordict["observation"] + 1, "reward": torch.ones(1), "done": [False]})

    def fail(self):
        broken(self)

def broken(env):
    raise Broken("here", "so")

def report(trouble, **options):
    env = ParallelEnv(2, Walk, create_env_kwargs=[{}, {"trouble": trouble, "server": True}], mp_start_method=METHOD,
                      **options)
    env.start()
    begun = time.monotonic()
    try:
        env.rollout(3)
    except WorkerError as error:
        print(type(error.__cause__).__name__, isinstance(error.__cause__, Broken), error.phase, error.signal,
              error.exit_code, time.monotonic() - begun < 5, flush=True)

if METHOD != "spawn":  # it takes its time
    report(broken)
    report(lambda env: os.kill(os.getpid(), signal.SIGKILL))
    report(lambda env: os._exit(3))
    report(lambda env: sys.exit(3))
    report(lambda env: time.sleep(1000), timeout=0.5)

env = ParallelEnv(2, lambda: Walk(server=True), mp_start_method=METHOD)
try:
    env.fail()
except WorkerError as error:
    print(type(error.__cause__).__name__, isinstance(error.__cause__, Broken), error.phase, flush=True)
print(env.rollout(3)["next", "observation"].flatten().tolist(), flush=True)
"""

ENDS = {
    "exit": ("sys.exit(3)", 3),
    "exception": ("raise ValueError('the end')", 1),
    "kill": ("os.kill(os.getpid(), signal.SIGKILL)", -9),
}


def run(tmp_path, source, *arguments, seconds=120):
    """Runs a script in a session of its own; what it wrote, and how it ended."""
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(source))
    command = [sys.executable, str(path), *arguments]
    paths = os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": paths},
    )
    out, err = process.communicate(timeout=seconds)
    return process, out.splitlines(), err


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
@pytest.mark.parametrize(("method", "end"), [("fork", "exception"), ("forkserver", "kill"), ("spawn", "exit")])
def test_scripts(method, end, tmp_path, faults):
    last, code = ENDS[end]
    process, out, err = run(tmp_path, SCRIPT + last, method)
    assert out[0] == "begin"
    if method != "spawn":
        assert out[1:6] == [
            "Broken True step None None True",
            "NoneType False step SIGKILL None True",
            "NoneType False step None 3 True",
            "SystemExit False step None None True",
            "NoneType False step None None True",
        ]
    assert out[-2] == "Broken True call"
    assert out[-1] == "[1.0, 2.0, 3.0, 1.0, 2.0, 3.0]"
    assert process.returncode == code
    assert faults.soon(lambda: not faults.members(process.pid), 5.0)
    assert err.count("Traceback") == (1 if end == "exception" else 0), err


class TestWhatCannotBeSent:
    """R18: what cannot be pickled is named, before any process starts."""

    @pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
    def test_is_named(self, method, faults):
        lock = threading.Lock()
        env = ParallelEnv(2, lambda: lock.acquire() and EnvBase(), mp_start_method=method)
        before = faults.offspring()
        with faults.within(1.0), pytest.raises(SpecError, match=r"-> lock \(a lock\): cannot pickle"):
            env.start()
        assert faults.offspring() == before

    def test_in_arguments(self, faults):
        env = ParallelEnv(1, faults.Troubled, create_env_kwargs={"what": {"deep": [1, threading.Lock()]}})
        with pytest.raises(SpecError, match=r"\['what'\]\['deep'\]\[1\] \(a lock\)"):
            env.start()

    def test_leaves_an_env_to_be_closed(self, faults):
        lock = threading.Lock()
        env = ParallelEnv(1, lambda: lock)
        with pytest.raises(SpecError):
            env.start()
        env.close()

    def test_what_can_only_be_taken_apart_there(self, faults):
        env = ParallelEnv(1, faults.Troubled, create_env_kwargs={"what": Fragile()}, mp_start_method="fork")
        with pytest.raises(envkit.WorkerError, match=r"phase 'build': raised ArithmeticError: not here") as caught:
            env.start()
        assert caught.value.env_name == "Troubled"


class Fragile:
    """Pickles well, and cannot be built anew."""

    def __reduce__(self):
        return _refuse, ()


def _refuse():
    raise ArithmeticError("not here")


cloudpickle.register_pickle_by_value(sys.modules[__name__])
