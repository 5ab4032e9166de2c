import json

import pytest

from zoo.config import config_from_yaml, config_hash
from zoo.errors import ConfigError
from zoo.registry import find_config
from zoo.result import find_results, read_result, result_path, stored_results


def test_a_result_is_read_back_as_it_was_written(made_up, tmp_path):
    result = made_up()
    result.write(result_path(result.name, tmp_path))
    assert stored_results(tmp_path) == [result]
    data = json.loads((tmp_path / "ppo/CartPole-v1.json").read_text())
    assert data["summary"]["reached"] == 1
    assert data["threshold"] == {"median_steps": 200, "reached": 1, "mean_curve_steps": 200}
    assert config_hash(config_from_yaml(json.dumps(data["config"]))) == data["config_hash"]


def test_the_threshold_of_the_mean_curve_is_that_of_the_means(made_up):
    assert made_up(scores=(500.0, 440.0)).threshold == {"median_steps": 200, "reached": 1, "mean_curve_steps": None}
    assert made_up(scores=(500.0, 480.0, 490.0)).threshold["median_steps"] == 200
    assert made_up(target=475.0, scores=(1.0,)).threshold["median_steps"] is None


def test_benchmarks_are_found_in_folders(made_up, tmp_path):
    made_up().write(tmp_path / "a/b/benchmark.json")
    ((path, result),) = find_results(tmp_path)
    assert path == tmp_path / "a/b/benchmark.json"
    assert result == made_up()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "found no JSON"),
        ("[]", "expected a mapping"),
        ('{"name": 3}', "'name' should be a valid string"),
        ('{"nam": "a"}', "unknown key 'nam'; did you mean 'name'"),
    ],
)
def test_damage_names_the_entry(text, message, tmp_path):
    file = tmp_path / "benchmark.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_result(file)


def test_no_seed_is_no_result(made_up, tmp_path):
    made_up().write(tmp_path / "x.json")
    data = json.loads((tmp_path / "x.json").read_text())
    (tmp_path / "x.json").write_text(json.dumps({**data, "seeds": []}))
    with pytest.raises(ConfigError, match="found none"):
        read_result(tmp_path / "x.json")


def test_the_hash_is_of_what_decides_a_run():
    config = find_config("ppo/CartPole-v1")
    younger = "agent.normalize_reward=false"
    for same in ("seed=3", "description=other", "name=ppo/other", "tune={agent.lr: {low: 1e-4, high: 1e-2}}", younger):
        assert config_hash(find_config("ppo/CartPole-v1", [same])) == config_hash(config)
    for other in (
        "total_steps=1",
        "target=3",
        "agent.lr=1",
        "env.num_envs=2",
        "eval.points=3",
        "agent.normalize_reward=true",
    ):
        assert config_hash(find_config("ppo/CartPole-v1", [other])) != config_hash(config)
