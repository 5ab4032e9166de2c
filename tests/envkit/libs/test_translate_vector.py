"""Vector envs of before Gymnasium."""

from __future__ import annotations

import numpy as np
import pytest

from envkit import EnvDataError, GymVectorWrapper, GymWrapper
from envkit.libs.wrap import wrap

from .fakes import gym021

COUNT, SEED = 3, 5


def test_data_is_that_of_single_envs():
    """True last observations under "next", first ones at the root after it, no step wasted, seeds s + i."""
    vector = GymVectorWrapper(gym021.SyncVectorEnv(COUNT))
    vector.set_seed(SEED)
    data = vector.rollout(300, break_when_any_done=False)
    for i in range(COUNT):
        raw = gym021.TimeLimit(gym021.Walk(), 12)
        raw.seed(SEED + i)
        for row, step in zip(data[i], line(raw, data["action"][i].tolist()), strict=True):
            seen, following, reward, done, truncated = step
            np.testing.assert_array_equal(row["observation"].numpy(), seen)
            np.testing.assert_array_equal(row["next", "observation"].numpy(), following)
            assert row["next", "reward"].item() == np.float32(reward)
            assert row["next", "done"].item() == done
            assert row["next", "truncated"].item() == truncated
    assert data["next", "truncated"].sum() > 5
    assert data["next", "terminated"].sum() > 5


def line(raw, actions):
    seen = raw.reset()
    for action in actions:
        following, reward, done, info = raw.step(action)
        yield seen, following, reward, done, info.get("TimeLimit.truncated", False)
        seen = raw.reset() if done else following


def test_last_observations_that_nobody_tells():
    env = wrap(gym021.SyncVectorEnv(COUNT, tells=False))
    env.set_seed(SEED)
    with pytest.raises(
        EnvDataError, match=r"expected the last observation of env \d, whose episode is over, found noth"
    ):
        env.rollout(50, break_when_any_done=False)


def test_fillers_for_last_observations():
    silent = GymVectorWrapper(gym021.SyncVectorEnv(COUNT, tells=False), auto_reset=True)
    telling = GymVectorWrapper(gym021.SyncVectorEnv(COUNT))
    for env in (silent, telling):
        env.set_seed(SEED)
    silent, expected = (env.rollout(100, break_when_any_done=False) for env in (silent, telling))
    done = expected["next", "done"].squeeze(-1)
    assert done.sum() > 10
    for key in ("observation", "action", ("next", "reward"), ("next", "terminated"), ("next", "truncated")):
        assert bool((silent[key] == expected[key]).all())
    assert bool(silent["next", "observation"][done].isnan().all())
    assert bool((silent["next", "observation"] == expected["next", "observation"])[~done].all())


def test_closing_and_attributes():
    simulator = gym021.SyncVectorEnv(COUNT)
    env = wrap(simulator)
    assert isinstance(env, GymVectorWrapper)
    assert env.tells
    env.close()
    assert simulator.closed


def test_single_envs_are_no_vectors():
    with pytest.raises(TypeError, match=r"GymVectorWrapper: expected a gymnasium.vector.VectorEnv, found Walk"):
        GymVectorWrapper(gym021.Walk())
    with pytest.raises(TypeError, match=r"GymWrapper: expected a gymnasium.Env, found SyncVectorEnv"):
        GymWrapper(gym021.SyncVectorEnv(2))


def test_the_real_ancestor():
    gym = pytest.importorskip("gym")

    def make():
        return gym.make("CartPole-v1", disable_env_checker=True)

    env = GymVectorWrapper(gym.vector.SyncVectorEnv([make] * COUNT))
    env.set_seed(SEED)
    data = env.rollout(60, break_when_any_done=False)
    for i in range(COUNT):
        raw = make()
        seen, _ = raw.reset(seed=SEED + i)
        for row in data[i]:
            np.testing.assert_array_equal(row["observation"].numpy(), seen)
            seen, _, terminated, _, _ = raw.step(int(row["action"]))
            np.testing.assert_array_equal(row["next", "observation"].numpy(), seen)
            assert row["next", "terminated"].item() == terminated
            if terminated:
                seen, _ = raw.reset()
    assert data["next", "done"].sum() > 2
