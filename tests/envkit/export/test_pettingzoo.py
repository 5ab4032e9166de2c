from __future__ import annotations

import subprocess
import sys
import warnings
from importlib.util import find_spec

import numpy as np
import pytest
from gymnasium import spaces

from envkit import (
    GymEnv,
    InvalidActionError,
    MarlGroupMapType,
    MissingDependencyError,
    PettingZooEnv,
    ResetNeededError,
    RewardSum,
    SerialEnv,
    SpecError,
    TransformedEnv,
    as_pettingzoo,
)

needs_pettingzoo = pytest.mark.skipif(find_spec("pettingzoo") is None, reason="pettingzoo is not installed")

MAKERS = {
    "two": lambda request: request.getfixturevalue("two_agents")(),
    "two_shared_done": lambda request: request.getfixturevalue("two_agents")(shared_done=True),
    "swarm": lambda request: request.getfixturevalue("export").Swarm(),
    "swarm_together": lambda request: request.getfixturevalue("export").Swarm(together=True),
    "transformed": lambda request: TransformedEnv(request.getfixturevalue("export").Swarm(), RewardSum()),
}


@needs_pettingzoo
@pytest.mark.parametrize("name", MAKERS)
def test_pettingzoo_finds_nothing_wrong(name, request):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it imports is deprecated by itself
        from pettingzoo.test import parallel_api_test, parallel_seed_test
    parallel_api_test(as_pettingzoo(MAKERS[name](request)), num_cycles=100)
    parallel_seed_test(lambda: as_pettingzoo(MAKERS[name](request)), num_cycles=20)


@needs_pettingzoo
def test_agents_leave_one_by_one(export):
    env = as_pettingzoo(export.Swarm(), {"agents": ["a", "b", "c"]})
    observations, infos = env.reset(seed=0)
    assert env.agents == env.possible_agents == list(observations) == list(infos) == ["a", "b", "c"]
    assert infos["b"]["health"].tolist() == [1.0]
    log = []
    while env.agents:
        alive = env.agents
        actions = {name: i for i, name in zip((0, 1, 3), alive, strict=False)}
        observations, rewards, terminations, truncations, infos = env.step(actions)
        assert list(observations) == list(rewards) == list(terminations) == list(truncations) == list(infos) == alive
        assert rewards == {name: float(action) for name, action in actions.items()}
        assert all(type(value) is float for value in rewards.values())
        assert all(type(value) is bool for value in (*terminations.values(), *truncations.values()))
        log.append((len(alive), terminations, truncations))
    assert [count for count, *_ in log] == [3, 3, 2, 2]
    assert log[1][1:] == ({"a": True, "b": False, "c": False}, {"a": False, "b": False, "c": False})
    assert log[3][1:] == ({"b": True, "c": False}, {"b": False, "c": True})
    with pytest.raises(ResetNeededError, match="no agent is alive"):
        env.step({})


@needs_pettingzoo
def test_the_end_at_the_root_is_everybodys(export):
    env = as_pettingzoo(export.Swarm(together=True))
    env.reset(seed=0)
    for step in range(4):
        *_, terminations, truncations, _ = env.step(dict.fromkeys(env.agents, 0))
        assert not any(terminations.values())
        assert list(truncations.values()) == [step == 3] * 3
    assert env.agents == []


@needs_pettingzoo
def test_the_layout_of_spaces(export, two_agents):
    env = as_pettingzoo(export.Swarm())
    assert env.possible_agents == ["agents_0", "agents_1", "agents_2"]
    assert env.observation_space("agents_1") is env.observation_space("agents_1")
    assert env.action_space("agents_1") == spaces.Discrete(4)
    assert list(env.observation_space("agents_0")) == ["observation", "action_mask"]
    observations, _ = env.reset(seed=0)
    for name, observation in observations.items():
        assert observation in env.observation_space(name)
        assert observation["action_mask"].tolist() == [1, 1, 0, 1]
    assert env.state()["map"].tolist() == [0.0] * 5
    assert list(env.state_space) == ["map"]
    alone = as_pettingzoo(two_agents())
    assert alone.possible_agents == ["agent0", "agent1"]
    assert alone.action_space("agent0").shape == (1,)
    with pytest.raises(NotImplementedError, match="outside of the groups"):
        alone.state()


@needs_pettingzoo
def test_the_same_agents_get_the_same_data(export):
    env, base = as_pettingzoo(export.Swarm()), export.Swarm()
    observations, _ = env.reset(seed=3)
    base.set_seed(3)
    data = base.reset()
    for i, name in enumerate(env.possible_agents):
        assert np.array_equal(observations[name]["observation"], data["agents", "observation"][i].numpy())


@needs_pettingzoo
def test_agents_of_one_group_have_their_own_numbers_of_actions():
    pytest.importorskip("mpe2")
    env = PettingZooEnv("simple_speaker_listener_v4", True, group_map=MarlGroupMapType.ALL_IN_ONE_GROUP)
    assert env.full_action_spec["agents", "action"].n == 5
    out = as_pettingzoo(env)
    assert [out.action_space(name) for name in out.possible_agents] == [spaces.Discrete(3), spaces.Discrete(5)]
    out.reset(seed=0)
    out.step({"agents_0": 2, "agents_1": 4})
    with pytest.raises(InvalidActionError, match="agents_0"):
        out.step({"agents_0": 3, "agents_1": 4})


@needs_pettingzoo
def test_wrong_actions_are_refused(export):
    env = as_pettingzoo(export.Swarm())
    with pytest.raises(ResetNeededError):
        env.step({})
    env.reset()
    with pytest.raises(InvalidActionError, match=r"expected one for each of .*found \['agents_0'\]"):
        env.step({"agents_0": 1})
    with pytest.raises(InvalidActionError, match="agent 'agents_2'"):
        env.step({"agents_0": 1, "agents_1": 1, "agents_2": 4})


@needs_pettingzoo
def test_close_is_idempotent(two_agents):
    env = as_pettingzoo(two_agents())
    env.close()
    env.close()
    assert env.base_env.is_closed
    assert env.render() is None


@needs_pettingzoo
def test_what_cannot_be_exported_is_refused(export, two_agents):
    with pytest.raises(SpecError, match=r"expected actions at \(group, 'action'\).*as_gymnasium takes"):
        as_pettingzoo(GymEnv("CartPole-v1"))
    with pytest.raises(SpecError, match="batch size"):
        as_pettingzoo(SerialEnv(2, two_agents))
    with pytest.raises(SpecError, match="expected 3 agents in the group 'agents'"):
        as_pettingzoo(export.Swarm(), {"agents": ["a", "b"]})
    for wrong in ({"others": ["a", "b", "c"]}, {"agents": ["a", "a", "b"]}, {"agents": []}):
        with pytest.raises(SpecError, match="group_map: expected"):
            as_pettingzoo(export.Swarm(), wrong)
    with pytest.raises(TypeError, match="expected an env"):
        as_pettingzoo("swarm")


def test_without_pettingzoo_there_is_one_sentence():
    code = (
        "import sys; sys.modules['pettingzoo'] = None\n"
        "import envkit\n"
        "try: envkit.as_pettingzoo(envkit.EnvBase())\n"
        "except envkit.MissingDependencyError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "as_pettingzoo needs PettingZoo: pip install 'envkit[pettingzoo]'"
    assert issubclass(MissingDependencyError, ImportError)
