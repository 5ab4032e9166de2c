import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from zoo.benchmark import benchmark, continue_benchmark
from zoo.config import config_hash, load_config
from zoo.curve import LearningCurve
from zoo.errors import BenchmarkError, UsageError
from zoo.metrics import read_metrics
from zoo.registry import find_config
from zoo.result import read_result
from zoo.run import RunFolder
from zoo.stopping import Interrupted
from zoo.train import train

TINY = ["total_steps=256", "env.num_envs=2", "agent.steps_per_env=64", "agent.epochs=1", "eval.episodes=2"]


def test_every_seed_is_trained_evaluated_and_counted(tmp_path):
    came_in = []
    threads = os.environ.get("OMP_NUM_THREADS")
    config = find_config("ppo/CartPole-v1", TINY)
    file, result = benchmark(config, seeds=2, jobs=2, root=tmp_path, at_least=1.0, progress=came_in.append)

    assert os.environ.get("OMP_NUM_THREADS") == threads
    assert [entry.seed for entry in result.seeds] == [0, 1]
    assert sorted(entry.seed for entry in came_in) == [0, 1]
    assert result.summary.reached == 2
    assert result.summary.mean == pytest.approx(sum(entry.score for entry in result.seeds) / 2)
    assert file.parent.parent == tmp_path / "ppo" / "CartPole-v1"
    assert read_result(file) == result
    written = json.loads(file.read_text())
    assert [entry["score"] for entry in written["seeds"]] == [entry.score for entry in result.seeds]
    assert written["summary"]["worst"] == min(entry.score for entry in result.seeds)
    assert written["command"] == "zoo bench config.yaml --seeds 2"
    assert load_config(file.parent / "config.yaml") == replace(config, target=1.0)
    assert result.config_hash == config_hash(replace(config, target=1.0))
    for seed, entry in enumerate(result.seeds):
        run = RunFolder.find(file.parent / f"seed-{seed}")
        assert run.load_config().seed == seed
        evaluation = json.loads(run.evaluation.read_text())
        assert (entry.score, entry.train_return, entry.curve_max) == tuple(
            evaluation[key] for key in ("mean", "train_return", "curve_max")
        )
        assert entry.cpu_seconds > 0
        assert entry.curve_steps == [128, 256]


def test_an_interrupted_benchmark_goes_on_where_it_stopped(tmp_path):
    file, whole = benchmark(find_config("ppo/CartPole-v1", TINY), seeds=2, jobs=2, root=tmp_path)
    finished, fresh = (file.parent / f"seed-{n}" for n in range(2))
    file.unlink()
    (fresh / "checkpoint.safetensors").unlink()
    (fresh / "evaluation.json").unlink()
    before = (finished / "metadata.json").stat().st_mtime_ns
    came_in = []
    again, result = continue_benchmark(file.parent, seeds=3, progress=came_in.append)
    assert again == file
    assert sorted(entry.seed for entry in came_in) == [1, 2]
    assert (finished / "metadata.json").stat().st_mtime_ns == before
    assert [entry.seed for entry in result.seeds] == [0, 1, 2]
    assert [entry.score for entry in result.seeds[:2]] == [entry.score for entry in whole.seeds]
    assert [entry.curve for entry in result.seeds[:2]] == [entry.curve for entry in whole.seeds]

    metadata = json.loads((finished / "metadata.json").read_text())
    metadata["versions"]["torch"] = "1.0"
    (finished / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(UsageError, match=r"found torch 1\.0 before and"):
        continue_benchmark(file.parent)


def test_a_killed_benchmark_leaves_nobody_at_work_and_goes_on(tmp_path):
    options = ["total_steps=20480", "agent.epochs=1", "eval.points=4", "eval.curve_episodes=1", "eval.episodes=1"]
    config = find_config("ppo/CartPole-v1", options)
    overrides = [part for option in options for part in ("-o", option)]
    command = [
        sys.executable,
        "-m",
        "zoo",
        "bench",
        "ppo/CartPole-v1",
        *overrides,
        "--seeds",
        "1",
        "--out",
        str(tmp_path),
    ]
    parent = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not any(path.stat().st_size for path in tmp_path.rglob("metrics.jsonl")):
        assert parent.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    (seed,) = tmp_path.rglob("seed-0")
    while json.loads((seed / "metadata.json").read_text())["status"] != "stopped by SIGTERM":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    _, result = continue_benchmark(seed.parent)
    whole = RunFolder.create(tmp_path / "whole")
    assert train(config, whole).score.mean == result.seeds[0].score
    assert LearningCurve.of(read_metrics(whole.metrics)).returns == result.seeds[0].curve


def test_what_is_no_benchmark_does_not_go_on(tmp_path):
    with pytest.raises(UsageError, match="is no folder of a benchmark"):
        continue_benchmark(tmp_path)


def test_a_seed_that_fails_is_named(tmp_path, capfd):
    config = find_config("ppo/CartPole-v1", [*TINY, "env.id=CartPoll-v1"])
    with pytest.raises(BenchmarkError, match="seed 0 ended with exit code 1"):
        benchmark(config, seeds=1, jobs=1, root=tmp_path)
    assert "seed 0: " in capfd.readouterr().err


@pytest.mark.parametrize(("seeds", "jobs"), [(0, 1), (1, 0)])
def test_at_least_one_seed_and_one_job(tmp_path, seeds, jobs):
    with pytest.raises(UsageError, match="at least one seed and one job"):
        benchmark(find_config("ppo/CartPole-v1"), seeds=seeds, jobs=jobs, root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_signal_stops_all_seeds_after_their_checkpoints(tmp_path):
    def interrupt_when_both_train():
        deadline = time.monotonic() + 60
        while len(list(tmp_path.rglob("metrics.jsonl"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=interrupt_when_both_train, daemon=True).start()
    config = find_config("ppo/CartPole-v1", [*TINY, "total_steps=10000000"])
    with pytest.raises(Interrupted):
        benchmark(config, seeds=3, jobs=2, root=tmp_path)
    assert len(list(tmp_path.rglob("checkpoint.safetensors"))) == 2
    assert not list(tmp_path.rglob("benchmark.json"))
