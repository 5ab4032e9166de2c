import json
import signal

import pytest
import torch

from agents import PPO, NonFiniteUpdateError
from agents.checkpoint import load_checkpoint
from envkit.errors import CheckpointError, EnvkitError, UnknownEnvError
from zoo.building import make_env
from zoo.curve import LearningCurve
from zoo.evaluate import evaluate
from zoo.metrics import read_metrics
from zoo.registry import find_config
from zoo.run import RunFolder
from zoo.stopping import Interrupted
from zoo.train import train

TINY = ["total_steps=1024", "env.num_envs=2", "agent.steps_per_env=64", "agent.epochs=1", "eval.episodes=3"]


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(tmp_path / "ppo/CartPole-v1", "run")


def load(folder):
    return PPO.load(folder.checkpoint, make_env(folder.load_config()))


def test_a_run_folder_is_complete_and_can_be_evaluated_again(folder):
    config = find_config("ppo/CartPole-v1", TINY)
    seen = []
    threads = torch.get_num_threads()
    result = train(config, folder, seen.append)

    assert torch.get_num_threads() == threads
    assert folder.load_config() == config
    records = read_metrics(folder.metrics)
    assert [record["steps"] for record in records] == [128 * n for n in range(1, 9)]
    assert [record["steps"] for record in seen] == [record["steps"] for record in records]
    assert all(record["time"] > 0 for record in records)
    assert result.steps == 1024
    assert folder.learning_curve.read_bytes().startswith(b"\x89PNG")
    assert any(folder.tensorboard.iterdir())
    metadata = json.loads(folder.metadata.read_text())
    assert metadata["status"] == "trained"
    assert metadata["steps"] == 1024
    assert metadata["versions"]["torch"] == torch.__version__
    evaluation = json.loads(folder.evaluation.read_text())
    assert evaluation == {**result.score.as_dict(), **LearningCurve.of(records).as_dict(475)}
    assert {path.name for path in folder.path.iterdir()} == {
        "checkpoint.safetensors",
        "config.yaml",
        "evaluation.json",
        "learning_curve.png",
        "metadata.json",
        "metrics.jsonl",
        "tensorboard",
    }
    assert evaluate(folder) == result.score
    assert evaluate(folder, episodes=2).returns == result.score.returns[:2]


def test_the_same_seed_gives_the_same_curve(tmp_path):
    curves = []
    for name, seed in [("a", 0), ("b", 0), ("c", 1)]:
        run = RunFolder.create(tmp_path, name)
        train(find_config("ppo/CartPole-v1", [*TINY, "total_steps=512", f"seed={seed}"]), run)
        curves.append([(r["return_mean"], r["loss_objective"]) for r in read_metrics(run.metrics)])
    assert curves[0] == curves[1]
    assert curves[0] != curves[2]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_training_with_a_checkpoint(folder, signum):
    steps = []

    def stop_in_the_third_iteration(metrics):
        steps.append(metrics["steps"])
        if len(steps) == 3:
            signal.raise_signal(signum)

    with pytest.raises(Interrupted) as caught:
        train(find_config("ppo/CartPole-v1", TINY), folder, stop_in_the_third_iteration)
    assert caught.value.signum == signum
    assert len(steps) == 3
    assert json.loads(folder.metadata.read_text())["status"] == f"stopped by {signum.name}"
    assert folder.learning_curve.exists()
    load(folder)


def test_checkpoints_are_written_while_training(folder):
    existed = []
    train(
        find_config("ppo/CartPole-v1", TINY),
        folder,
        lambda metrics: existed.append(folder.checkpoint.exists()),
        checkpoint_seconds=0.0,
    )
    assert existed[0]


def test_a_full_disk_does_not_end_training(folder, monkeypatch):
    save = PPO.save
    attempts = []

    def fail_once(agent, path, **options):
        attempts.append(path)
        if len(attempts) == 2:
            raise OSError(28, "No space left on device")
        save(agent, path, **options)

    monkeypatch.setattr(PPO, "save", fail_once)
    train(find_config("ppo/CartPole-v1", TINY), folder, checkpoint_seconds=0.0)
    failed = [record.get("checkpoint_failed") for record in read_metrics(folder.metrics)]
    assert failed == [None, None, 1.0] + [None] * 5
    load(folder)


def test_a_failure_while_training_is_recorded_and_raised(folder):
    def fail(metrics):
        raise RuntimeError("the pole broke")

    with pytest.raises(RuntimeError, match="the pole broke"):
        train(find_config("ppo/CartPole-v1", TINY), folder, fail)
    status = json.loads(folder.metadata.read_text())["status"]
    assert status == "failed: RuntimeError: the pole broke"
    assert not folder.checkpoint.exists()


def test_an_env_that_does_not_exist_leaves_no_folder(folder):
    with pytest.raises(UnknownEnvError):
        train(find_config("ppo/CartPole-v1", [*TINY, "env.id=CartPoll-v1"]), folder)
    assert not folder.path.exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"\xff" * 100])
def test_damaged_checkpoints_are_refused(folder, content):
    train(find_config("ppo/CartPole-v1", [*TINY, "total_steps=128", "eval.episodes=1"]), folder)
    folder.checkpoint.write_bytes(content)
    with pytest.raises(CheckpointError):
        evaluate(folder)


def test_a_truncated_checkpoint_is_refused(folder):
    train(find_config("ppo/CartPole-v1", [*TINY, "total_steps=128", "eval.episodes=1"]), folder)
    content = folder.checkpoint.read_bytes()
    folder.checkpoint.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError):
        evaluate(folder)


def test_a_checkpoint_of_another_environment_is_refused(folder):
    train(find_config("ppo/CartPole-v1", [*TINY, "total_steps=128", "eval.episodes=1"]), folder)
    folder.config.write_text(folder.config.read_text().replace("id: CartPole-v1", "id: Acrobot-v1"))
    with pytest.raises(EnvkitError):
        evaluate(folder)


@pytest.mark.parametrize(
    ("name", "small"),
    [
        ("ppo/CartPole-v1", TINY),
        ("dqn/CartPole-v1", ["total_steps=512", "agent.learning_starts=100", "agent.steps_per_iteration=64"]),
    ],
)
def test_an_update_that_is_not_finite_is_kept_to_be_looked_into(name, small, tmp_path, monkeypatch):
    folder = RunFolder.create(tmp_path, "run")
    config = find_config(name, [*small, "agent.lr=1e30"])
    with pytest.raises(NonFiniteUpdateError, match="expected finite numbers"):
        train(config, folder)
    kept = load_checkpoint(folder.failed_update, "failed update")
    assert kept["message"].startswith("loss ")
    assert kept["rows"]["next"]["reward"].numel() > 0
    assert kept["agent"]["config"]["lr"] == 1e30
    assert json.loads(folder.metadata.read_text())["status"].startswith("failed: NonFiniteUpdateError: loss ")
