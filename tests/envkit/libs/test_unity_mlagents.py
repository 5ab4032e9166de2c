from __future__ import annotations

import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from envkit import (
    EnvDataError,
    MarlGroupMapType,
    MissingDependencyError,
    ResetNeededError,
    SerialEnv,
    UnknownEnvError,
)
from envkit.checks import CHECKS
from envkit.libs.unity_mlagents import UnityMLAgentsEnv, UnityMLAgentsWrapper
from envkit.testing import run_check

from .fakes import mlagents

SEED, STEPS = 7, 1000


@pytest.fixture(autouse=True)
def package(monkeypatch):
    torch.manual_seed(0)  # of random actions before a seed is set
    mlagents.install(monkeypatch)


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("scene", ["3DBall", "Soccer", "Mixed"])
def test_conformance(scene, name):
    run_check(lambda: UnityMLAgentsEnv(scene, categorical_actions=scene != "Mixed"), name)


def test_steps_are_those_of_a_loop_in_ml_agents():
    env = UnityMLAgentsEnv("3DBall", seed=SEED)
    data = env.rollout(STEPS, break_when_any_done=False)
    raw = mlagents.UnityEnvironment("3DBall", seed=SEED)
    raw.reset()  # which the wrapper does to learn what there is
    raw.reset()
    (behaviour,) = raw.behavior_specs
    requests, _ = raw.get_steps(behaviour)
    places = dict(zip(requests.agent_id.tolist(), range(3), strict=True))
    ends, limits, free = 0, 0, []
    for row, following in zip(data["3DBall"].unbind(0), data["next", "3DBall"].unbind(0), strict=True):
        action = raw.behavior_specs[behaviour].action_spec.empty_action(len(requests))
        for i, name in enumerate(requests.agent_id.tolist()):
            assert_seen(row, requests, i, places[name])
            action.continuous[i] = row["continuous_action"][places[name]].numpy()
        raw.set_actions(behaviour, action)
        raw.step()
        requests, over = raw.get_steps(behaviour)
        for i, name in enumerate(over.agent_id.tolist()):
            place = places.pop(name)
            free.append(place)
            assert_seen(following, over, i, place)
            assert following["reward"][place].item() == over.reward[i]
            assert following["group_reward"][place].item() == over.group_reward[i]
            assert following["done"][place].item()
            assert following["truncated"][place].item() == over.interrupted[i]
            assert following["terminated"][place].item() == (not over.interrupted[i])
            ends, limits = ends + 1, limits + int(over.interrupted[i])
        for i, name in enumerate(requests.agent_id.tolist()):
            if name in places:
                assert_seen(following, requests, i, places[name])
                assert following["reward"][places[name]].item() == requests.reward[i]
                assert not following["done"][places[name]].item()
            else:
                places[name] = free.pop(0)
    assert ends - limits > 10
    assert limits > 10


def assert_seen(row, steps, i, place):
    np.testing.assert_array_equal(row["VectorSensor_size3"][place].numpy(), steps.obs[0][i])
    np.testing.assert_array_equal(row["observation_1"][place].numpy(), steps.obs[1][i])


def test_layout_and_groups():
    env = UnityMLAgentsEnv("Soccer")
    assert env.group_map == {
        "Soccer?team=0": ["Soccer?team=0_0", "Soccer?team=0_1"],
        "Soccer?team=1": ["Soccer?team=1_0", "Soccer?team=1_1"],
    }
    data = env.rollout(3, break_when_any_done=False)
    assert data["Soccer?team=1", "discrete_action"].shape == (3, 2, 2)
    assert data["Soccer?team=1", "action_mask"].shape == (3, 2, 5)
    assert data["next", "Soccer?team=0", "group_reward"].shape == (3, 2, 1)
    env = UnityMLAgentsEnv("Mixed", categorical_actions=False)
    assert env.group_map == {"Keeper": ["Keeper_0"], "Striker": ["Striker_0", "Striker_1"]}
    data = env.rollout(3, break_when_any_done=False)
    assert data["Keeper", "discrete_action"].shape == (3, 1, 4)
    assert data["Keeper", "continuous_action"].shape == (3, 1, 1)
    assert data["Keeper", "Rays_1"].shape == (3, 1, 2)
    assert data["Striker", "discrete_action"].shape == (3, 2, 5)
    env = UnityMLAgentsEnv("3DBall", group_map=MarlGroupMapType.ONE_GROUP_PER_AGENT)
    assert list(env.group_map) == ["3DBall_0", "3DBall_1", "3DBall_2"]
    all_in_one = UnityMLAgentsEnv("Soccer", group_map=MarlGroupMapType.ALL_IN_ONE_GROUP)
    assert all_in_one.rollout(1)["agents", "Rays"].shape == (1, 4, 2)
    with pytest.raises(
        ValueError, match=r"group 'agents' whose behaviours have the same .* 'Keeper.team=0' and 'Strik"
    ):
        UnityMLAgentsEnv("Mixed", group_map=MarlGroupMapType.ALL_IN_ONE_GROUP)


@pytest.mark.parametrize("categorical", [True, False])
def test_forbidden_actions_are_not_drawn(categorical):
    data = UnityMLAgentsEnv("Soccer", categorical_actions=categorical).rollout(60, break_when_any_done=False)
    group = data["Soccer?team=0"]
    chosen = group["discrete_action"][..., 0] if categorical else group["discrete_action"][..., :3].long().argmax(-1)
    allowed = group["action_mask"]
    assert not allowed.all()
    assert bool(allowed.gather(-1, chosen.unsqueeze(-1)).all())


def test_random_steps_without_data_are_legal():
    env = UnityMLAgentsEnv("Mixed", seed=SEED)
    for _ in range(200):
        following = env.rand_step()["next"]
        if any(following[group, "done"].any() for group in env.group_map):
            env.reset()


def test_batches():
    envs = SerialEnv(2, lambda: UnityMLAgentsEnv("3DBall"))
    envs.set_seed(SEED)
    data = envs.rollout(40, break_when_any_done=False)
    assert data["3DBall"].batch_size == (2, 40, 3)
    assert data["next", "3DBall", "done"].any(1).all()
    one = UnityMLAgentsEnv("3DBall")
    one.set_seed(SEED)
    assert bool((one.rollout(1)["3DBall", "observation_1"] == data[0, :1]["3DBall", "observation_1"]).all())


def test_agents_that_are_away_wait():
    """An episode ends, the next one comes two steps later: the agent repeats, does not act, and earns nothing."""
    env = UnityMLAgentsEnv("Soccer", seed=SEED)
    group = "Soccer?team=0"
    data = env.rollout(200, break_when_any_done=False)
    root, following = data[group], data["next", group]
    waits = 0
    for place in range(2):
        for t in following["done"][:-3, place, 0].nonzero().flatten().tolist():
            assert not root["done"][t + 1, place].item()
            for wait in (t + 1, t + 2):
                assert not root["mask"][wait, place].item()
                assert bool((root["Rays"][wait, place] == following["Rays"][t, place]).all())
            assert following["reward"][t + 1, place].item() == 0
            assert root["mask"][t + 3, place].item()
            assert bool((root["Rays"][t + 3, place] != following["Rays"][t, place]).any())
            waits += 1
    assert waits > 10


def test_agents_that_do_not_ask_keep_what_they_saw():
    data = UnityMLAgentsEnv("Soccer", seed=SEED).rollout(40, break_when_any_done=False)
    root, following = data["Soccer?team=1"], data["next", "Soccer?team=1"]
    silent = ~following["mask"] & ~following["done"].squeeze(-1)
    assert 20 < silent.sum() < 60
    assert bool((following["Rays"] == root["Rays"])[silent].all())
    assert bool((following["reward"] == 0)[silent].all())


def test_resets():
    env = UnityMLAgentsEnv("3DBall", seed=SEED)
    data = env.reset()
    while not data["3DBall", "done"].any():
        data = env.step_mdp(env.step(env.rand_action(data)))
    over = data["3DBall", "done"].clone()
    assert not over.all()
    with pytest.raises(ResetNeededError, match="whose episodes are over"):
        env.step(env.rand_action(data.clone()))
    time = env.time
    after = env.reset(data.clone().set(("3DBall", "_reset"), over))
    assert env.time == time
    assert not after["3DBall", "done"].any()
    assert after["3DBall", "mask"].all()
    kept = ~over.squeeze(-1)
    assert bool((after["3DBall", "observation_1"][kept] == data["3DBall", "observation_1"][kept]).all())
    with pytest.raises(ValueError, match=r"found one of \['3DBall_"):
        env.reset(after.clone().set(("3DBall", "_reset"), torch.tensor([[True], [True], [False]])))
    env.reset()
    assert env.time == 0


def test_an_agent_alone_goes_on_by_itself():
    env = UnityMLAgentsEnv("Lonely", seed=SEED)
    data = env.rollout(60, break_when_any_done=False)
    assert data["next", "Lonely", "done"].sum() > 3
    assert env.time == 60


def test_steps_of_some():
    env = UnityMLAgentsEnv("3DBall", seed=SEED)
    data = env.rollout(40, break_when_all_done=True)
    assert data["next", "3DBall", "done"][-1].all()
    data = env.reset()
    data["3DBall", "_step"] = torch.tensor([[True], [False], [True]])
    with pytest.raises(EnvDataError, match=r"leaves out no agents that act, .* found \['3DBall_1'\] left out"):
        env.step(env.rand_action(data))


def test_seeds_start_the_scene_anew():
    env = UnityMLAgentsEnv("3DBall")
    first, rounds = env._env, []
    for seed in (SEED, SEED, SEED + 2**40):
        env.set_seed(seed)
        rounds.append(env.rollout(50, break_when_any_done=False))
    assert bool((rounds[0] == rounds[1]).all())
    assert first.closed
    for of_the_editor in (UnityMLAgentsEnv(), UnityMLAgentsWrapper(mlagents.UnityEnvironment("3DBall"))):
        with pytest.raises(NotImplementedError, match="expected an env that makes its simulator"):
            of_the_editor.set_seed(0)


def test_agents_without_a_place():
    env = UnityMLAgentsEnv("3DBall")
    env.reset()
    env._env._spawn("3DBall?team=0")
    with pytest.raises(EnvDataError, match=r"'3DBall.team=0': expected at most 3 agents, .* found another one, of id"):
        env.rand_step()
    env._env.extra = 1
    with pytest.raises(EnvDataError, match="expected 3 agents after a reset, as after the first one, found 4"):
        env.reset()


def test_a_behaviour_without_a_place():
    env = UnityMLAgentsEnv("3DBall")
    env.reset()
    new = mlagents.Scene({**mlagents.SCENES["3DBall"].behaviours, "Late": (mlagents.KICKER, 1, 1)})
    env._env.alive["Late"] = {99: {"at": 0.0, "age": 0}}
    env._env.scene = new
    env._env._state["Late"] = tuple(env._env._steps(mlagents.KICKER, [], [], {}) for _ in range(2))
    with pytest.raises(
        EnvDataError, match=r"expected agents of the behaviours \['3DBall.team=0'\], .* found 1 of 'Late'"
    ):
        env.rand_step()


def test_names():
    assert UnityMLAgentsEnv.available_envs == ["3DBall", "Soccer"]
    assert UnityMLAgentsEnv(registered_name="Soccer", no_graphics=True).registered_name == "Soccer"
    with pytest.raises(UnknownEnvError, match=r"unknown registered_name 'Socker': .* did you mean 'Soccer'"):
        UnityMLAgentsEnv(registered_name="Socker")
    with pytest.raises(TypeError, match="expected a file_name or a registered_name, found 'a' and 'b'"):
        UnityMLAgentsEnv("a", "b")
    with pytest.raises(TypeError, match="expected a UnityEnvironment, found object"):
        UnityMLAgentsWrapper(object())


def test_without_the_package(monkeypatch):
    for name in ("mlagents_envs.environment", "mlagents_envs.registry"):
        monkeypatch.setitem(sys.modules, name, None)
    assert UnityMLAgentsEnv.available_envs == []
    with pytest.raises(MissingDependencyError, match=r"ML-Agents is not installed: .*mlagents-envs==0.28.0"):
        UnityMLAgentsEnv("3DBall")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of its protocol buffers
@pytest.mark.skipif(find_spec("mlagents_envs") is None, reason="mlagents-envs is not installed")
@pytest.mark.parametrize("discrete", [True, False])
def test_the_real_package_and_its_mock(discrete, monkeypatch):
    """Three agents who see the same for ever, the third of which ends an episode, of which nothing else is heard."""
    monkeypatch.undo()  # the fake
    from mlagents_envs.environment import UnityEnvironment
    from mlagents_envs.mock_communicator import MockCommunicator

    mock = MockCommunicator(discrete_action=discrete)
    monkeypatch.setattr(UnityEnvironment, "_get_communicator", staticmethod(lambda *_: mock))
    env = UnityMLAgentsWrapper(UnityEnvironment())
    assert env.group_map == {"RealFakeBrain": ["RealFakeBrain_0", "RealFakeBrain_1"]}
    data = env.rollout(4)["RealFakeBrain"]
    assert data["observation_0"].tolist() == [[[1.0, 2.0, 3.0]] * 2] * 4
    assert data["discrete_action" if discrete else "continuous_action"].shape == (4, 2, 2)
    assert not discrete or data["action_mask"].all()
    env.close()
    assert mock.has_been_closed
