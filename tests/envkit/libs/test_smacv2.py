from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from envkit import MissingDependencyError, ResetNeededError, SerialEnv, UnknownEnvError
from envkit.libs.smacv2 import SMACv2Env, SMACv2Wrapper
from envkit.testing import env_checks

from .fakes import smacv2

SEED, STEPS = 7, 1000
CONFIG = {"team_gen": {"n_units": 5}, "start_positions": {"n_units": 5}}


@pytest.fixture(autouse=True)
def package(monkeypatch):
    torch.manual_seed(0)  # of random actions before a seed is set
    smacv2.install(monkeypatch)


@env_checks(lambda: SMACv2Env("3m"))
def test_conformance(check):
    check()


@env_checks(lambda: SMACv2Env("10gen_terran", CONFIG, categorical_actions=False))
def test_conformance_of_drawn_teams(check):
    check()


@pytest.mark.parametrize("categorical", [True, False])
def test_steps_are_those_of_a_loop_in_smacv2(categorical):
    env = SMACv2Env("3m", seed=SEED, categorical_actions=categorical, limit=25, continuing_episode=True)
    data = env.rollout(STEPS, break_when_any_done=False)
    raw = smacv2.StarCraft2Env("3m", seed=SEED, limit=25, continuing_episode=True)
    raw.reset()
    ends, limits, seen_dead = 0, 0, False
    for row in data.unbind(0):
        assert_seen(row, raw, {})
        action = row["agents", "action"]
        action = action if categorical else action.long().argmax(-1)
        reward, terminated, info = raw.step(action.tolist())
        following = row["next"]
        assert_seen(following, raw, info)
        limit = info.get("episode_limit", False)
        assert following["reward"].item() == np.float32(reward)
        assert following["done"].item() == terminated
        assert following["terminated"].item() == (terminated and not limit)
        assert following["truncated"].item() == limit
        seen_dead = seen_dead or 0 < info["dead_allies"] < 3
        if terminated:
            ends, limits = ends + 1, limits + limit
            raw.reset()
    assert ends > limits > 0
    assert seen_dead


def assert_seen(row, raw, info):
    np.testing.assert_array_equal(row["agents", "observation"].numpy(), np.asarray(raw.get_obs(), np.float32))
    np.testing.assert_array_equal(row["agents", "action_mask"].numpy(), np.asarray(raw.get_avail_actions(), bool))
    np.testing.assert_array_equal(row["state"].numpy(), raw.get_state())
    if info:
        assert {name: row["info", name].item() for name in ("battle_won", "dead_allies", "dead_enemies")} == {
            name: value for name, value in info.items() if name != "episode_limit"
        }


def test_layout():
    data = SMACv2Env("2s3z").rollout(2)
    assert data["agents"].batch_size == (2, 5)
    assert data["agents", "action_mask"].shape == (2, 5, 11)
    assert data["info", "battle_won"].dtype is torch.bool
    assert data["next", "reward"].shape == (2, 1)


def test_a_step_limit_ends_the_fight_unless_the_simulator_says_otherwise():
    data = SMACv2Env("2s3z", limit=2).rollout(2)
    assert data["next", "terminated"].flatten().tolist() == [False, True]


def test_a_lost_game_is_truncated():
    env = SMACv2Env("3m", seed=SEED)
    data = env.rand_action(env.reset())
    env._env.crash = True
    following = env.step(data)["next"]
    assert following["truncated"].item()
    assert not following["terminated"].item()
    env.reset()
    assert not env.rand_step()["next", "done"].item()


def test_a_seed_starts_the_simulator_anew():
    env = SMACv2Env("3m")
    first, started = env._env, smacv2.StarCraft2Env.started
    rounds = []
    for _ in range(2):
        env.set_seed(SEED)
        rounds.append(env.rollout(50, break_when_any_done=False))
    assert bool((rounds[0] == rounds[1]).all())
    assert first.closed
    assert smacv2.StarCraft2Env.started == started + 2
    assert env.started == started + 2


def test_a_seed_reaches_the_distributions():
    drawn = []
    for seed in (SEED, SEED, SEED + 1):
        env = SMACv2Env("10gen_terran", CONFIG, seed=seed)
        env.reset()
        drawn.append(env._env.drawn)
    for key in ("team_gen", "start_positions"):
        assert (drawn[0][key] == drawn[1][key]).all()
        assert (drawn[0][key] != drawn[2][key]).all()
    assert (drawn[0]["team_gen"] != drawn[0]["start_positions"]).all()


def test_a_wrapped_simulator_has_its_seed():
    env = SMACv2Wrapper(smacv2.StarCraft2Env("3m", seed=SEED))
    env.set_seed(None)
    with pytest.raises(NotImplementedError, match="found one around a simulator that was made before"):
        env.set_seed(3)


def test_random_steps_without_data_are_legal():
    env = SMACv2Env("3m", seed=SEED)
    env.rand_action()  # before a reset nothing is known
    for _ in range(200):
        if env.rand_step()["next", "done"].item():
            env.reset()


def test_batches():
    envs = SerialEnv(2, lambda: SMACv2Env("3m", limit=5))
    data = envs.rollout(30, break_when_any_done=False)
    assert data["agents", "observation"].shape == (2, 30, 3, 5)
    assert data["next", "done"].sum() > 2


def test_steps_after_the_end():
    env = SMACv2Env("3m", limit=1)
    env.rollout(1)
    with pytest.raises(ResetNeededError, match="after the end of a fight"):
        env.rand_step()


def test_rendering_and_closing():
    env = SMACv2Env("3m")
    env.reset()
    assert env.render().shape == (4, 4, 3)
    env.close()
    assert env._env.closed


def test_names():
    assert SMACv2Env.available_envs == ["10gen_terran", "2s3z", "3m"]
    with pytest.raises(UnknownEnvError, match=r"unknown map '2s3x': .* did you mean '2s3z'"):
        SMACv2Env("2s3x")
    with pytest.raises(TypeError, match="expected a StarCraft2Env, found object"):
        SMACv2Wrapper(object())


def test_without_the_package(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "smacv2"]:
        monkeypatch.setitem(sys.modules, name, None)
    assert SMACv2Env.available_envs == []
    with pytest.raises(MissingDependencyError, match=r"SMACv2 is not installed: .*oxwhirl/smacv2"):
        SMACv2Env("3m")
