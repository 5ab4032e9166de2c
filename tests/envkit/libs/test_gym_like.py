"""The template for simulators that speak (observation, reward, done, info)."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch

from envkit import (
    Binary,
    Bounded,
    Categorical,
    Composite,
    GymEnv,
    GymLikeEnv,
    Unbounded,
    check_env_specs,
    default_info_dict_reader,
)


class Counter:
    """A simulator of the old kind."""

    closes = 0

    def reset(self, start=0):
        self.count = start
        return np.array([self.count], dtype=np.float32)

    def step(self, action):
        self.count += int(action)
        return np.array([self.count], dtype=np.float32), float(action), self.count >= 5, {"lives": 9 - self.count}

    def close(self):
        self.closes += 1


class CounterEnv(GymLikeEnv):
    def __init__(self, simulator=None, **kwargs):
        super().__init__(simulator or Counter(), **kwargs)
        self.observation_spec = Unbounded((1,))
        self.action_spec = Categorical(2)

    def _set_seed(self, seed):
        self.seed = seed


def ones(tensordict):
    return tensordict.set("action", torch.tensor(1))


def test_four_entries():
    env = CounterEnv()
    data = env.rollout(10, ones)
    assert data["next", "observation"].flatten().tolist() == [1, 2, 3, 4, 5]
    assert data["next", "reward"].flatten().tolist() == [1] * 5
    assert data["next", "terminated"].flatten().tolist() == [False] * 4 + [True]
    assert check_env_specs(env) == []


def test_frame_skip_sums_rewards_and_stops_at_the_end():
    data = CounterEnv(frame_skip=2).rollout(10, ones)
    assert data["next", "observation"].flatten().tolist() == [2, 4, 5]
    assert data["next", "reward"].flatten().tolist() == [2, 2, 1]
    with pytest.raises(ValueError, match="frame_skip: expected at least 1, found 0"):
        CounterEnv(frame_skip=0)


def test_arguments_of_a_reset():
    assert CounterEnv().reset(start=3)["observation"].item() == 3


def test_info():
    env = CounterEnv().set_info_dict_reader(default_info_dict_reader(["lives"]))
    assert env.observation_keys == ["lives", "observation"]
    data = env.rollout(3, ones)
    assert data["lives"].tolist() == [0, 8, 7]
    assert data["next", "lives"].tolist() == [8, 7, 6]
    env = CounterEnv().auto_register_info_dict()
    assert env.observation_spec["lives"].dtype is torch.int64
    assert check_env_specs(env) == []


def test_five_entries_equal_gymnasium():
    class Five(GymLikeEnv):
        def __init__(self):
            super().__init__(gymnasium.make("CartPole-v1", max_episode_steps=20))
            self.observation_spec = Unbounded((4,))
            self.action_spec = Categorical(2)
            flag = Binary(1, shape=(1,), dtype=torch.bool)
            self.full_done_spec = Composite(done=flag, terminated=flag.clone(), truncated=flag.clone())

        def _set_seed(self, seed):
            self._env.reset(seed=seed)

    actions = torch.randint(2, (60,))
    mine, known = Five(), GymEnv("CartPole-v1", max_episode_steps=20)
    mine.reset(seed=3), known.reset(seed=3)
    one, other = (
        env.rollout(60, actions=actions, auto_reset=False, tensordict=env.reset(seed=3), break_when_any_done=False)
        for env in (mine, known)
    )
    for key, value in one.items(True, True):
        assert torch.equal(value, other[key]), key


def test_another_dialect():
    class Reversed(CounterEnv):
        def _output_transform(self, result):
            info, done, reward, observation = result
            return observation, reward, done, False, None, info

        def _reset_output_transform(self, result):
            return result["observation"], {}

        def read_obs(self, observations):
            return {"observation": observations * 10}

        def read_reward(self, reward):
            return reward / 2

    class Other(Counter):
        def reset(self):
            return {"observation": super().reset()}

        def step(self, action):
            return super().step(action)[::-1]

    data = Reversed(Other()).rollout(10, ones)
    assert data["next", "observation"].flatten().tolist() == [10, 20, 30, 40, 50]
    assert data["next", "reward"].flatten().tolist() == [0.5] * 5


def test_several_observations_and_actions():
    class Pair:
        def reset(self):
            return {"left": [0.0], "right": [1.0]}

        def step(self, action):
            assert set(action) == {"speed", "turn"}
            return {"left": action["speed"], "right": [1.0]}, 0.0, False, False, {}

    class PairEnv(GymLikeEnv):
        def __init__(self):
            super().__init__(Pair())
            self.observation_spec = Composite(left=Unbounded((1,)), right=Unbounded((1,)))
            self.full_action_spec = Composite(speed=Bounded(-1.0, 1.0, shape=(1,)), turn=Categorical(3))

        def _set_seed(self, seed):
            self.seed = seed

    data = PairEnv().rollout(3)
    assert torch.equal(data["next", "left"], data["speed"])


def test_wrong_number_of_entries():
    class Three(Counter):
        def step(self, action):
            return super().step(action)[:3]

    env = CounterEnv(Three())
    env.reset()
    with pytest.raises(ValueError, match="expected 4 or 5 entries, found 3"):
        env.step(env.rand_action())


def test_close_once():
    env = CounterEnv()
    env.close(), env.close()
    assert env._env.closes == 1
