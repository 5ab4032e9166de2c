import dataclasses

import pytest

from zoo.config import EnvConfig, EvalConfig, RunConfig, config_from_yaml, config_to_yaml, load_config
from zoo.errors import ConfigError

TEXT = """\
name: ppo/CartPole-v1
env:
  id: CartPole-v1
  num_envs: 2
total_steps: 1000
agent:
  lr: 1e-3
  hidden_sizes: [32, 16]
"""


def test_values_and_defaults():
    config = config_from_yaml(TEXT)
    assert config.env == EnvConfig("CartPole-v1", num_envs=2)
    assert config.agent.lr == 1e-3
    assert config.agent.hidden_sizes == (32, 16)
    assert (config.algorithm, config.seed, config.target) == ("ppo", 0, None)
    assert config.eval == EvalConfig(episodes=100, first_seed=10_000)


def test_round_trip_is_exact():
    config = config_from_yaml(TEXT, ["target=475", "env.kwargs={sutton_barto_reward: true}", "agent.lr=1.1e-5"])
    text = config_to_yaml(config)
    assert config_from_yaml(text) == config
    for field in dataclasses.fields(RunConfig):
        assert f"{field.name}:" in text


def test_overrides_change_add_and_replace():
    config = config_from_yaml(TEXT, ["agent.lr=3e-4", "eval.episodes=5", "seed=7", "env.kwargs.render_mode=ansi"])
    assert config.agent.lr == 3e-4
    assert config.agent.hidden_sizes == (32, 16)
    assert config.eval.episodes == 5
    assert config.seed == 7
    assert config.env.kwargs == {"render_mode": "ansi"}
    assert config_from_yaml(TEXT, ["agent.lr=1e-2", "agent.lr=1e-4"]).agent.lr == 1e-4


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("agent.lrr=1", r"override 'agent\.lrr=1': unknown key 'agent\.lrr'; did you mean 'agent\.lr'\?"),
        ("lr=1e-3", r"unknown key 'lr'; did you mean 'agent\.lr'\?"),
        ("evl.episodes=1", r"unknown key 'evl'; did you mean 'eval' or 'env'\?"),
        ("total_step=5", r"did you mean 'total_steps'\?"),
        ("agent.zzz=5", r"unknown key 'agent\.zzz'; known here: steps_per_env, "),
        ("seed", "expected key=value, such as agent.lr=1e-3"),
        ("=3", "expected key=value"),
        ("agent..lr=3", "expected key=value"),
        ("seed.x=3", r"override 'seed\.x=3'"),
        ("name.x.y=3", r"name\.x is no mapping of keys to values"),
        ("agent=3", "'agent' should be a mapping of keys to values, found 3"),
        ("agent.lr=[", "override 'agent.lr=\\['"),
    ],
)
def test_wrong_overrides_are_named(override, message):
    with pytest.raises(ConfigError, match=message):
        config_from_yaml(TEXT, [override])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed='3'", r"'seed' should be a valid integer, found '3' \(str\)"),
        ("seed=3.7", r"'seed' should be a valid integer, found 3\.7 \(float\)"),
        ("seed=3.0", "valid integer"),
        ("seed=true", "valid integer"),
        ("seed=null", "valid integer"),
        ("seed=-1", "seed must be between 0 and 2\\*\\*32 - 1, found -1"),
        ("name=3", "valid string"),
        ("agent.lr=fast", r"'agent\.lr' should be a valid number, found 'fast' \(str\)"),
        ("agent.lr=.nan", "finite number"),
        ("agent.anneal_lr=1", "valid boolean"),
        ("agent.anneal_lr=yes", "valid boolean"),
        ("agent.hidden_sizes=64", "found 64"),
        ("agent.hidden_sizes=[64, '64']", r"'agent\.hidden_sizes\.1' should be a valid integer, found '64'"),
        ("algorithm=sca", "unknown algorithm 'sca'; did you mean 'sac"),
        ("algorithm=1", "'algorithm' should be a valid string, found 1"),
        ("total_steps=0", "total_steps must be at least 1, found 0"),
        ("env.num_envs=0", "env: num_envs must be at least 1, found 0"),
        ("eval.episodes=0", "eval: episodes must be at least 1, found 0"),
        ("eval.first_seed=-1", "eval: first_seed must be at least 0, found -1"),
        ("env.id='os:CartPole-v1'", r"'os:CartPole-v1' is no environment id .*modules are not imported"),
        ("env.id='../x'", "is no environment id"),
    ],
)
def test_wrong_values_are_refused_without_conversion(override, message):
    with pytest.raises(ConfigError, match=message):
        config_from_yaml(TEXT, [override])


def test_every_problem_is_told_with_its_line(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(TEXT.replace("lr:", "learning_rate:").replace("num_envs: 2", "num_envs: two"))
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    lines = sorted(str(caught.value).splitlines())
    assert len(lines) == 2
    assert lines[0].startswith(f"{file}:4: 'env.num_envs' should be a valid integer, found 'two'")
    assert lines[1].startswith(f"{file}:7: unknown key 'agent.learning_rate'")


def test_missing_entries_are_named():
    with pytest.raises(ConfigError, match=r"my\.yaml: 'total_steps' is required"):
        config_from_yaml("name: x\nenv: {id: CartPole-v1}\n", source="my.yaml")
    with pytest.raises(ConfigError, match=r"my\.yaml:2: 'env\.id' is required"):
        config_from_yaml("name: x\nenv: {num_envs: 2}\ntotal_steps: 1", source="my.yaml")


@pytest.mark.parametrize("text", ["", "[1, 2]", "word"])
def test_a_config_is_a_mapping(text):
    with pytest.raises(ConfigError, match=r"my\.yaml: expected a mapping of keys to values"):
        config_from_yaml(text, source="my.yaml")
