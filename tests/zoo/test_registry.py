import re

import gymnasium
import pytest

from envkit.export.native_ids import is_native
from zoo.building import make_agent, make_training_env
from zoo.config import config_from_yaml, config_to_yaml
from zoo.errors import ConfigError, UnknownConfigError
from zoo.registry import config_names, config_path, find_config


@pytest.mark.parametrize("name", config_names())
def test_every_shipped_config_loads(name, skip_without):
    config = find_config(name)
    assert config.name == name
    plain = f"{config.algorithm}/{config.env.id.removeprefix('envkit/').replace('/', '-')}"
    assert re.fullmatch(re.escape(plain) + r"(-[a-z]+)?", name)
    assert config.description
    assert config.eval.episodes >= 100
    assert config.eval.first_seed == 10_000
    assert (config.eval.points, config.eval.curve_episodes) == (50, 20)
    skip_without(config)
    if not config.env.id.startswith(("vmas/", "pettingzoo/")):  # of which nobody publishes numbers to compare with
        assert config.target is not None
        assert config.published is not None or is_native(config.env.id)
        assert gymnasium.spec(config.env.id).id == config.env.id
    assert config_from_yaml(config_to_yaml(config)) == config
    agent = make_agent(config, make_training_env(config))
    assert agent.config == config.agent
    assert agent.steps_per_iteration <= config.total_steps
    if config.algorithm in ("ppo", "ippo", "mappo"):
        assert agent.steps_per_iteration % config.agent.num_minibatches == 0


def test_the_four_first_configs_are_there():
    names = {"ppo/Acrobot-v1", "ppo/CartPole-v1", "ppo/InvertedPendulum-v5", "ppo/Pendulum-v1"}
    assert names <= set(config_names())


@pytest.mark.parametrize("typo", ["ppo/cartpole-v1", "ppo/CartPole-v2", "CartPole-v1", "cartpole", "PPO/CARTPOLE-V1"])
def test_unknown_names_suggest_the_nearest(typo):
    with pytest.raises(UnknownConfigError, match=r"did you mean 'ppo/CartPole-v1'"):
        config_path(typo)


def test_a_name_like_no_other_lists_the_known_ones():
    with pytest.raises(UnknownConfigError, match=r"known: .*dqn/CartPole-v1.*, ppo/Acrobot-v1, ppo/CartPole-v1"):
        config_path("zzz")


@pytest.mark.parametrize("name", ["../configs/ppo/CartPole-v1", "/etc/passwd", "", "ppo"])
def test_names_are_no_paths(name):
    with pytest.raises(UnknownConfigError):
        config_path(name)


def test_files_of_the_user(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(config_path("ppo/CartPole-v1").read_text())
    assert find_config(str(file), ["seed=4"]).seed == 4
    with pytest.raises(ConfigError, match="No such file"):
        find_config(str(tmp_path / "absent.yaml"))
