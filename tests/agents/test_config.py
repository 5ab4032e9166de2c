import copy
import pickle

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import agents
from agents import PPO, BaseAgent, Config, PPOConfig, nn_from_config
from agents.plain_files import write_plain
from envkit import GymEnv

NAMES = st.from_regex(r"[a-z][a-z_0-9]{0,6}", fullmatch=True).filter(lambda name: not hasattr(Config, name))
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))
AGENTS = [
    agent
    for name in agents.__all__
    if isinstance(agent := getattr(agents, name), type) and issubclass(agent, BaseAgent) and hasattr(agent, "Config")
]


@pytest.mark.parametrize("name", ["a.json", "a.yaml"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=st.dictionaries(NAMES, VALUES, max_size=4))
def test_configs_are_read_as_they_were_written(name, entries, tmp_path):
    config = Config(entries)
    assert config.as_dict() == entries
    found = Config.load(config.save(tmp_path / name))
    assert found == config
    assert list(found) == list(entries)
    assert repr(found) == repr(config)


def test_entries_are_attributes_and_items():
    config = Config({"lr": 1.0}, net=Config(cells=(8, (4,))), layers=[{"func": "Tanh"}])
    config.seed = 3
    config.new_section("env", id="CartPole-v1", kwargs={"mode": "x"})
    assert list(config) == ["lr", "net", "layers", "seed", "env"]
    assert config.env.kwargs.mode == config["env"]["kwargs"]["mode"] == "x"
    assert isinstance(config.env.kwargs, Config)
    assert config.net.cells == [8, [4]]
    assert config.layers == [{"func": "Tanh"}]
    assert {**config.env.kwargs} == {"mode": "x"}
    assert config.get("none") is None
    assert "seed" in dir(config)
    del config.seed
    assert "seed" not in config
    assert len(config) == 4


def test_a_new_section_replaces_the_old_one():
    config = Config(agent=Config(lr=1.0))
    assert config.new_section("agent", gamma=0.5) is config.agent
    assert config.as_dict() == {"agent": {"gamma": 0.5}}


def test_what_as_dict_returns_is_a_copy():
    config = Config(net=Config(cells=[8], layers=[{"func": "Tanh"}]))
    told = config.as_dict()
    told["net"]["cells"].append(9)
    told["net"]["layers"][0]["func"] = "ReLU"
    assert config == Config(net={"cells": [8], "layers": [{"func": "Tanh"}]})


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda config: pickle.loads(pickle.dumps(config))])
def test_configs_can_be_copied(copied):
    config = Config(a=Config(b=[1]))
    assert copied(config) == config
    assert copied(config) is not config


@pytest.mark.parametrize("look", [lambda config: config.gama, lambda config: config["gama"]])
def test_an_unknown_entry_is_named_with_the_nearest(look):
    with pytest.raises(
        (AttributeError, KeyError), match=r"'gama': expected one of \['gamma', 'lr'\]; did you mean 'gam"
    ):
        look(Config(gamma=0.9, lr=1.0))


def test_entries_that_are_not_there_cannot_be_deleted():
    with pytest.raises(AttributeError, match="'lr': expected one of"):
        del Config().lr


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"save": 1}, "'save': expected another name"),
        ({"items": 1}, "'items': expected another name"),
        ({"_entries": {}}, "'_entries': expected an identifier without a leading underscore"),
        ({"a b": 1}, "'a b': expected an identifier"),
        ({"env": {"as_dict": 1}}, "env.'as_dict': expected another name"),
    ],
)
def test_names_that_are_refused(entries, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        Config(entries)
    file = write_plain(tmp_path / "a.json", entries)
    with pytest.raises(ValueError, match=f"a.json: {words}"):
        Config.load(file)


def test_classes_are_not_written(tmp_path):
    config = Config(net=Config(body=[{"func": torch.nn.Tanh}]))
    with pytest.raises(TypeError, match=r"net.body\[0\].func: expected plain data, found <class .*Tanh"):
        config.save(tmp_path / "a.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.__name__)
def test_there_is_a_default_for_every_agent(agent, tmp_path):
    config = Config.from_default(agent.__name__)
    assert config.algorithm == agent.__name__
    read = Config.load(config.save(tmp_path / "a.json"))
    assert agent.Config(**read.agent) == agent.Config()


@pytest.mark.parametrize(
    ("old", "name", "settings"),
    [
        ("VanillaPG", "REINFORCE", {}),
        ("PPOClip", "PPO", {"variant": "clip"}),
        ("PPOAdaptive", "PPO", {"variant": "kl"}),
    ],
)
def test_old_names_have_defaults(old, name, settings):
    config = Config.from_default(old)
    assert config.algorithm == name
    assert getattr(agents, name).Config(**config.agent) == getattr(agents, name).Config(**settings)


def test_an_unknown_default_is_named_with_the_nearest():
    with pytest.raises(ValueError, match=r"name: 'PPOCLip': expected one of .*did you mean 'PPOClip'"):
        Config.from_default("PPOCLip")


def test_an_agent_of_a_file_learns_as_one_of_code(tmp_path, tools):
    config = Config(agent={"steps_per_env": 32, "num_minibatches": 2, "hidden_sizes": (8,)})
    read = Config.load(config.save(tmp_path / "a.yaml"))
    weights = []
    for given_config in (read.agent, PPOConfig(steps_per_env=32, num_minibatches=2, hidden_sizes=(8,))):
        agent = PPO.from_config(given_config, GymEnv("CartPole-v1"))
        agent.train(max_iters=2)
        weights.append(tools.weights(agent))
    assert tools.same(*weights)


def test_networks_of_a_file_are_those_of_code(tmp_path):
    body = [{"func": "Linear", "out_features": 8}, {"func": "Tanh"}]
    config = Config(nn_config=Config(body=body, head=[{"func": "ActionLinear"}]))
    read = Config.load(config.save(tmp_path / "a.yaml"))
    infos = {"shape": (4,)}, {"shape": 2, "dtype": "int"}
    nets = []
    for described in (read.nn_config, config.nn_config):
        torch.manual_seed(0)
        nets.append(nn_from_config(described, *infos))
    value = torch.randn(5, 4)
    assert torch.equal(nets[0](value), nets[1](value))


@pytest.mark.parametrize(
    ("entry", "error", "words"),
    [
        ({"gama": 0.9}, TypeError, "PPOConfig: expected entries among .*found 'gama'; did you mean 'gamma'?"),
        ({"lr": "fast"}, ValueError, "PPOConfig.lr: expected at least 0, found 'fast'"),
        ({"lr": -1.0}, ValueError, "PPOConfig.lr: expected at least 0, found -1.0"),
    ],
)
def test_what_agents_do_not_take(entry, error, words):
    with pytest.raises(error, match=words):
        PPO.from_config(Config(entry), GymEnv("CartPole-v1"))
