"""Evaluations amid training: when, of what, and without a trace in what is learnt."""

import json

import pytest
import torch

from agents import Hook
from zoo.building import evaluation_env, load_agent, make_agent, make_env, make_training_env
from zoo.clock import TrainingClock
from zoo.curve_hook import CurveHook
from zoo.metrics import read_metrics
from zoo.registry import find_config
from zoo.run import RunFolder
from zoo.train import train

CLOCK = {"time", "cpu_time", "eval_time", "steps_per_second", "eval_return_mean", "eval_return_std"}
SMALL = {
    "ppo/CartPole-v1": ["total_steps=1024", "agent.steps_per_env=16", "agent.epochs=1"],
    "ppo/InvertedPendulum-v5": ["total_steps=512", "env.normalize=true", "agent.steps_per_env=32", "agent.epochs=1"],
    "dqn/CartPole-v1": [
        "total_steps=1200",
        "agent.learning_starts=100",
        "agent.train_freq=4",
        "agent.gradient_steps=1",
        "agent.noisy=true",
        "agent.hidden_sizes=[8]",
        "agent.steps_per_iteration=100",
    ],
    "sac/Pendulum-v1": [
        "total_steps=300",
        "agent.learning_starts=50",
        "agent.hidden_sizes=[8]",
        "agent.batch_size=8",
        "agent.steps_per_iteration=50",
    ],
}


@pytest.mark.parametrize("name", SMALL)
def test_training_is_the_same_with_and_without_evaluations(name, tmp_path):
    found = []
    for points in (0, 4):
        options = [f"eval.points={points}", "eval.curve_episodes=2", "eval.episodes=1"]
        config = find_config(name, [*SMALL[name], *options])
        folder = RunFolder.create(tmp_path, str(points))
        train(config, folder)
        records = read_metrics(folder.metrics)
        assert sum("eval_return_mean" in record for record in records) == points
        agent = load_agent(config, folder.checkpoint, make_env(config))
        weights = {key: value for part in agent._parts().values() for key, value in _leaves(part.state_dict())}
        found.append(([{k: v for k, v in r.items() if k not in CLOCK} for r in records], weights))
    (records, weights), (others, other_weights) = found
    assert records == others
    assert weights.keys() == other_weights.keys()
    assert all(torch.equal(value, other_weights[key]) for key, value in weights.items())


def _leaves(state, prefix=""):
    for key, value in state.items():
        if isinstance(value, torch.Tensor):
            yield f"{prefix}{key}", value
        elif isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")


@pytest.mark.parametrize(
    ("points", "expected"), [(4, [256, 512, 768, 1024]), (3, [384, 768, 1024]), (100, [128 * n for n in range(1, 9)])]
)
def test_points_are_spread_over_the_steps_and_the_last_is_the_end(points, expected, tmp_path):
    options = [*SMALL["ppo/CartPole-v1"], "total_steps=1100", f"eval.points={points}", "eval.curve_episodes=1"]
    folder = RunFolder.create(tmp_path)
    train(find_config("ppo/CartPole-v1", [*options, "eval.episodes=1"]), folder)
    records = read_metrics(folder.metrics)
    assert [record["steps"] for record in records if "eval_return_mean" in record] == expected


def test_episodes_side_by_side_are_those_played_one_by_one(tmp_path):
    for name in ("ppo/CartPole-v1", "ppo/InvertedPendulum-v5"):
        config = find_config(name, [*SMALL[name], "eval.curve_episodes=5", "eval.points=1"])
        agent = make_agent(config, make_training_env(config))
        one_by_one = []

        class Alone(Hook):
            def __init__(self, config, found):
                self.config, self.found = config, found

            def after_iteration(self, trainer, metrics):
                if "eval_return_mean" in metrics:
                    alone = trainer.learner.evaluate(
                        evaluation_env(self.config, trainer.learner), range(10_000, 10_005)
                    )
                    self.found.append((alone.mean, metrics["eval_return_mean"], alone.std, metrics["eval_return_std"]))

        hooks = [CurveHook(config, agent, TrainingClock()), Alone(config, one_by_one)]
        agent.train(max_steps=config.total_steps, hooks=hooks)
        ((mean, curve_mean, std, curve_std),) = one_by_one
        assert curve_mean == pytest.approx(mean)
        assert curve_std == pytest.approx(std)


def test_the_time_of_evaluations_is_counted_apart(tmp_path):
    options = [*SMALL["ppo/CartPole-v1"], "eval.points=4", "eval.curve_episodes=2", "eval.episodes=1"]
    folder = RunFolder.create(tmp_path)
    train(find_config("ppo/CartPole-v1", options), folder)
    last = read_metrics(folder.metrics)[-1]
    metadata = json.loads(folder.metadata.read_text())
    assert metadata["evaluation_seconds"] == last["eval_time"] > 0
    assert metadata["training_seconds"] >= last["time"] > 0
    assert metadata["cpu_seconds"] >= last["cpu_time"] > 0
