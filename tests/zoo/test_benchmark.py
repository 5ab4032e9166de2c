import json
import os
import signal
import threading
import time

import pytest

from zoo.benchmark import benchmark
from zoo.errors import BenchmarkError, UsageError
from zoo.registry import find_config
from zoo.run import RunFolder
from zoo.stopping import Interrupted

TINY = ["total_steps=256", "env.num_envs=2", "agent.steps_per_env=64", "agent.epochs=1", "eval.episodes=2"]


def test_every_seed_is_trained_evaluated_and_counted(tmp_path):
    came_in = []
    threads = os.environ.get("OMP_NUM_THREADS")
    config = find_config("ppo/CartPole-v1", TINY)
    result = benchmark(config, seeds=2, jobs=2, root=tmp_path, at_least=1.0, progress=came_in.append)

    assert os.environ.get("OMP_NUM_THREADS") == threads
    assert [entry.seed for entry in result.seeds] == [0, 1]
    assert sorted(entry.seed for entry in came_in) == [0, 1]
    assert result.summary.reached == 2
    assert result.summary.mean == pytest.approx(sum(entry.score for entry in result.seeds) / 2)
    assert result.file.parent.parent == tmp_path / "ppo" / "CartPole-v1"
    written = json.loads(result.file.read_text())
    assert [entry["score"] for entry in written["seeds"]] == [entry.score for entry in result.seeds]
    assert written["summary"]["worst"] == min(entry.score for entry in result.seeds)
    for seed in (0, 1):
        run = RunFolder.find(result.file.parent / f"seed-{seed}")
        assert run.load_config().seed == seed


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
