from __future__ import annotations

import copy
import random
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from envkit import MarlGroupMapType, MissingDependencyError, ResetNeededError, SerialEnv, UnknownEnvError
from envkit.libs.meltingpot import MeltingpotEnv, MeltingpotWrapper
from envkit.testing import env_checks

from .fakes import meltingpot

NAME, SEED, STEPS = "commons_harvest__open", 7, 1000


@pytest.fixture(autouse=True)
def package(monkeypatch):
    torch.manual_seed(0)  # of random actions before a seed is set
    meltingpot.install(monkeypatch)


@env_checks(lambda: MeltingpotEnv(NAME))
def test_conformance(check):
    check()


@env_checks(lambda: MeltingpotEnv(NAME, group_map=MarlGroupMapType.ONE_GROUP_PER_AGENT, categorical_actions=False))
def test_conformance_one_by_one(check):
    check()


def raw_substrate(**options):
    random.seed(SEED)
    return meltingpot.Substrate(3, **options)


def test_steps_are_those_of_a_loop_in_melting_pot():
    env = MeltingpotEnv(NAME)
    env.set_seed(SEED)
    data = env.rollout(STEPS, break_when_any_done=False)
    raw = raw_substrate()
    timestep, ends = raw.reset(), 0
    for row in data.unbind(0):
        assert_seen(row, timestep)
        timestep = raw.step(row["agents", "action"].tolist())
        following = row["next"]
        assert_seen(following, timestep)
        np.testing.assert_array_equal(
            following["agents", "reward"].flatten().numpy(), np.array(timestep.reward, np.float32)
        )
        assert following["done"].item() == following["terminated"].item() == timestep.last()
        if timestep.last():
            ends += 1
            timestep = raw.reset()
    assert ends > 20


def assert_seen(row, timestep):
    np.testing.assert_array_equal(row["RGB"].numpy(), timestep.observation[0]["WORLD.RGB"])
    for name in ("RGB", "READY_TO_SHOOT", "INVENTORY", "COLLECTIVE_REWARD"):
        found = row["agents", "observation", name].numpy()
        expected = np.stack([seen[name] for seen in timestep.observation])
        np.testing.assert_array_equal(found.reshape(expected.shape), expected)


def test_layout():
    data = MeltingpotEnv(NAME).rollout(2)
    assert data["agents"].batch_size == (2, 3)
    assert data["agents", "observation", "READY_TO_SHOOT"].shape == (2, 3, 1)
    assert data["agents", "observation", "READY_TO_SHOOT"].dtype is torch.float64
    assert "WORLD.RGB" not in data["agents", "observation"].keys()
    assert data["next", "agents", "reward"].dtype is torch.float32


def test_groups():
    env = MeltingpotEnv(NAME, group_map={"odd": ["player_1"], "even": ["player_2", "player_0"]})
    env.set_seed(SEED)
    data = env.rollout(5)
    raw = raw_substrate()
    raw.reset()
    for row in data.unbind(0):
        (second,), (third, first) = row["odd", "action"].tolist(), row["even", "action"].tolist()
        timestep = raw.step([first, second, third])
        rewards = np.array(timestep.reward, np.float32)
        assert row["next", "odd", "reward"].flatten().tolist() == rewards[[1]].tolist()
        assert row["next", "even", "reward"].flatten().tolist() == rewards[[2, 0]].tolist()
    assert list(MeltingpotEnv(NAME, group_map=None).group_map) == ["player"]
    assert env.agent_names_to_indices_map == {"player_0": 0, "player_1": 1, "player_2": 2}
    with pytest.raises(ValueError, match="'player_0'"):
        MeltingpotEnv(NAME, group_map={"odd": ["player_1", "player_2"]})


def test_players_of_a_group_are_alike():
    with pytest.raises(ValueError, match=r"found 'player_0' and 'player_1', who differ; .*ONE_GROUP_PER_AGENT"):
        MeltingpotWrapper(raw_substrate(wide=True))
    env = MeltingpotWrapper(raw_substrate(wide=True), group_map=MarlGroupMapType.ONE_GROUP_PER_AGENT)
    data = env.rollout(2)
    assert data["player_0", "observation", "INVENTORY"].shape == (2, 1, 3)
    assert data["player_1", "observation", "INVENTORY"].shape == (2, 1, 2)


def test_limits():
    following = MeltingpotEnv("coins", max_steps=3).rollout(10)["next"]
    assert following["truncated"].flatten().tolist() == [False, False, True]
    assert not following["terminated"].any()
    following = MeltingpotWrapper(raw_substrate(length=2, discount=1.0)).rollout(10)["next"]
    assert following["truncated"].flatten().tolist() == [False, True]
    with pytest.raises(ValueError, match="max_steps: expected at least 1, found 0"):
        MeltingpotEnv("coins", max_steps=0)


def test_seeds_leave_the_global_generator_alone():
    env = MeltingpotEnv(NAME)
    state = random.getstate()
    rounds = []
    for _ in range(2):
        env.set_seed(SEED)
        rounds.append(env.rollout(90, break_when_any_done=False))
    assert random.getstate() == state
    assert bool((rounds[0] == rounds[1]).all())
    with pytest.raises(NotImplementedError, match="MeltingpotWrapper: expected an env that makes its simulator"):
        MeltingpotWrapper(raw_substrate()).set_seed(0)


def test_configurations():
    config = sys.modules["meltingpot.substrate"].get_config("coins")
    config.options = {"length": 4}
    assert len(MeltingpotEnv(config, roles=["default"] * 5).agent_names) == 5
    assert MeltingpotEnv(config).rollout(10).batch_size[0] <= 4


def test_batches_and_rendering():
    envs = SerialEnv(2, lambda: MeltingpotEnv("coins", max_steps=4))
    assert envs.rollout(9, break_when_any_done=False)["agents", "action"].shape == (2, 9, 2)
    env = MeltingpotEnv("coins")
    seen = env.reset()
    assert bool((env.get_rgb_image() == seen["RGB"]).all())
    np.testing.assert_array_equal(env.render(), seen["RGB"].numpy())
    env.close()
    assert env._env.closed


def test_steps_after_the_end():
    env = MeltingpotEnv("coins", max_steps=1)
    env.rollout(1)
    with pytest.raises(ResetNeededError, match="after the end of an episode"):
        env.rand_step()


def test_names():
    assert MeltingpotEnv.available_envs == ["clean_up", "coins", "commons_harvest__open"]
    with pytest.raises(UnknownEnvError, match=r"unknown substrate 'coin': .* did you mean 'coins'"):
        MeltingpotEnv("coin")
    with pytest.raises(TypeError, match="expected a substrate of Melting Pot, found object"):
        MeltingpotWrapper(object())


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "meltingpot.substrate", None)
    assert MeltingpotEnv.available_envs == []
    with pytest.raises(MissingDependencyError, match=r"Melting Pot is not installed: .*dm-meltingpot"):
        MeltingpotEnv("coins")


@pytest.mark.skipif(find_spec("dmlab2d") is None, reason="Melting Pot is not installed")
@pytest.mark.filterwarnings("ignore")  # of its packages
def test_the_real_package(monkeypatch):
    """Two runs of its engine differ, so one run is looked at from both sides."""
    monkeypatch.undo()  # the fake
    pytest.importorskip("meltingpot.substrate", exc_type=ImportError)
    env, seen = MeltingpotEnv(NAME), []
    for name in ("reset", "step"):
        call = getattr(env._env, name)
        monkeypatch.setattr(
            env._env, name, lambda *args, call=call: seen.append(copy.deepcopy(call(*args))) or seen[-1]
        )
    data = env.rollout(100)
    for row, before, after in zip(data.unbind(0), seen[:-1], seen[1:], strict=True):
        for part, timestep in ((row, before), (row["next"], after)):
            np.testing.assert_array_equal(part["RGB"].numpy(), timestep.observation[0]["WORLD.RGB"])
            for name, value in part["agents", "observation"].items():
                expected = np.stack([own[name] for own in timestep.observation])
                np.testing.assert_array_equal(value.numpy().reshape(expected.shape), expected)
        np.testing.assert_array_equal(row["next", "agents", "reward"].flatten(), np.array(after.reward, np.float32))
    assert data["next", "agents", "reward"].any()
    env.set_seed(SEED)
    env.rollout(2)
    env.close()
