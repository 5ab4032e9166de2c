import pytest

from zoo.config import config_from_yaml
from zoo.errors import ConfigError, UsageError
from zoo.registry import find_config
from zoo.tune import tune

pytest.importorskip("optuna")

TINY = ["total_steps=128", "env.num_envs=1", "agent.num_minibatches=1", "agent.epochs=1", "eval.episodes=1"]
RANGES = (
    "tune={agent.lr: {low: 1e-4, high: 1e-2, log: true}, agent.steps_per_env: {low: 32, high: 64}, "
    "agent.hidden_sizes: {choices: [[8], [8, 8]]}}"
)


def config(*overrides):
    return find_config("ppo/CartPole-v1", [*TINY, RANGES, *overrides])


def test_trials_stay_in_their_ranges_and_the_first_is_the_configs_own():
    seen = []
    found = tune(config("agent.steps_per_env=40"), trials=3, seeds=2, progress=lambda *trial: seen.append(trial))
    assert [number for number, _, _ in seen] == [0, 1, 2]
    assert seen[0][1]["agent.lr"] == 0.001
    assert seen[0][1]["agent.steps_per_env"] == 40
    for _, settings, scores in seen:
        assert 1e-4 <= settings["agent.lr"] <= 1e-2
        assert settings["agent.steps_per_env"] in range(32, 65)
        assert settings["agent.hidden_sizes"] in ([8], [8, 8])
        assert len(scores) == 2
    medians = [sum(scores) / 2 for _, _, scores in seen]
    assert found.score == max(medians)
    assert found.settings == seen[medians.index(max(medians))][1]
    assert (found.complete, found.pruned, found.failed) == (3, 0, 0)


def test_the_snippet_is_part_of_a_config():
    found = tune(config(), trials=1, seeds=1)
    text = "{name: a, env: {id: CartPole-v1}, total_steps: 128}"
    assert (
        config_from_yaml(f"name: a\nenv: {{id: CartPole-v1}}\ntotal_steps: 128\n{found.snippet}").agent.lr
        == (found.settings["agent.lr"])
    )
    assert config_from_yaml(text).agent.lr != found.settings["agent.lr"]


def test_a_search_goes_on_from_its_file(tmp_path):
    seen = []
    for _ in range(2):
        found = tune(
            config(), trials=2, seeds=1, study=tmp_path / "study.log", progress=lambda *trial: seen.append(trial)
        )
    assert [number for number, _, _ in seen] == [0, 1, 2, 3]
    assert len({settings["agent.lr"] for _, settings, _ in seen}) == 4
    assert found.complete == 4


def test_settings_that_the_config_refuses_are_counted():
    ranges = "tune={agent.clip_epsilon: {low: -1.0, high: -0.5}, agent.lr: {low: 1e-4, high: 1e-3}}"
    with pytest.raises(UsageError, match="found none in 2 trials"):
        tune(config(ranges), trials=2, seeds=1)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{agent.lrr: {low: 1, high: 2}}", "'agent.lrr' is no entry of agent or env; did you mean 'agent.lr'"),
        ("{agent.lr: {low: 2, high: 1}}", "expected less than high 1, found 2"),
        ("{agent.lr: {low: 1}}", "expected low and high, or choices"),
        ("{agent.lr: {choices: []}}", "expected low and high, or choices"),
        ("{agent.lr: {low: 0, high: 1, log: true}}", "expected a range of positive numbers"),
        ("{agent.lr: {lo: 1, high: 2}}", "unknown key 'tune.agent.lr.lo'"),
    ],
)
def test_ranges_are_checked_when_the_config_is_read(section, message):
    with pytest.raises(ConfigError, match=message):
        find_config("ppo/CartPole-v1", [f"tune={section}"])


def test_nothing_to_search():
    with pytest.raises(UsageError, match="expected a tune section"):
        tune(find_config("ppo/CartPole-v1", ["tune={}"]), trials=1)
    with pytest.raises(UsageError, match="at least one trial and one seed"):
        tune(config(), trials=0)
