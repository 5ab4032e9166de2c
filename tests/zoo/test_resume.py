"""Runs that are killed go on as if nothing had happened."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from agents.checkpoint import load_checkpoint
from agents.state_tree import split_state
from zoo.errors import RunFolderError
from zoo.metrics import read_metrics
from zoo.registry import find_config
from zoo.run import RunFolder
from zoo.train import resume, train

CLOCK = {"time", "cpu_time", "eval_time", "steps_per_second", "checkpoint_failed"}
TEAM = [
    "agent.steps_per_env=16",
    "agent.num_minibatches=1",
    "agent.epochs=1",
    "agent.hidden_sizes=[8]",
    "eval.points=2",
    "eval.curve_episodes=1",
]
SMALL = {
    "ppo/CartPole-v1": ["total_steps=10240"],
    "dqn/CartPole-v1": ["total_steps=7680", "agent.hidden_sizes=[16]", "agent.steps_per_iteration=256"],
    "sac/Pendulum-v1": [
        "total_steps=1200",
        "agent.hidden_sizes=[16]",
        "agent.batch_size=16",
        "agent.steps_per_iteration=50",
    ],
    "mappo/vmas-balance": [
        *TEAM,
        "total_steps=1280",
        "env.num_envs=4",
        "env.kwargs.max_steps=20",
    ],
    "ippo/pettingzoo-simple_spread_v3": [
        *TEAM,
        "total_steps=1280",
        "env.num_envs=2",
    ],
}
NEEDS = {"mappo/vmas-balance": "vmas", "ippo/pettingzoo-simple_spread_v3": "mpe2"}


def zoo(*arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", "zoo", *arguments], env=environment, stdout=subprocess.DEVNULL)


def records(folder):
    return [
        {key: value for key, value in record.items() if key not in CLOCK} for record in read_metrics(folder.metrics)
    ]


def state(folder, config):
    plain, tensors = split_state(load_checkpoint(folder.checkpoint, config.algorithm.upper()))
    return json.dumps(plain), {name: tensor.clone() for name, tensor in tensors.items()}


@pytest.mark.parametrize("name", SMALL)
def test_a_killed_run_ends_as_one_that_was_not(tmp_path, name):
    pytest.importorskip(NEEDS.get(name, "torch"))
    options = [*SMALL[name], "eval.episodes=2"]
    config = find_config(name, options)
    whole = RunFolder.create(tmp_path / "whole")
    expected = train(config, whole)

    overrides = [part for option in options for part in ("-o", option)]
    child = zoo("train", name, *overrides, "--out", str(tmp_path / "killed"), "--checkpoints", "0.1", "-q")
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("killed/*/*/*/checkpoint.safetensors.previous")):
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()

    folder = RunFolder.find(tmp_path / "killed" / "last")
    result = resume(folder)
    assert result.steps == expected.steps
    assert result.score == expected.score
    assert records(folder) == records(whole)
    (data, tensors), (other_data, others) = state(folder, config), state(whole, config)
    assert data == other_data
    assert tensors.keys() == others.keys()
    assert all(torch.equal(tensors[key].nan_to_num(), others[key].nan_to_num()) for key in tensors)


def test_by_the_command(tmp_path):
    config = find_config("ppo/CartPole-v1", ["total_steps=1024", "eval.episodes=2"])
    folder = RunFolder.create(tmp_path / "run")
    train(config, folder)
    before = folder.evaluation.read_text()
    folder.evaluation.unlink()
    assert zoo("resume", str(folder.path), "-q").wait() == 0  # nothing is left to do but to evaluate
    assert folder.evaluation.read_text() == before


def test_what_is_no_run(tmp_path):
    with pytest.raises(RunFolderError, match="is no run folder"):
        RunFolder.find(tmp_path)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path):
    config = find_config("ppo/CartPole-v1", ["total_steps=2048", "eval.episodes=2"])
    whole = RunFolder.create(tmp_path / "whole")
    saved = []

    def keep(metrics):
        if metrics["steps"] in (512, 1024):
            saved.append(shutil.copy(whole.checkpoint, tmp_path / f"{metrics['steps']}"))

    train(config, whole, keep, checkpoint_seconds=0.0)
    expected = records(whole)
    shutil.copy(saved[0], whole.previous_checkpoint)
    whole.checkpoint.write_bytes(whole.checkpoint.read_bytes()[:1000])
    with pytest.warns(UserWarning, match="going back"):
        resume(whole)
    assert records(whole) == expected
