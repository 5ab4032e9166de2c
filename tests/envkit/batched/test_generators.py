"""R20: same seed, same data, however many workers there are, and whatever generator the envs draw from."""

from __future__ import annotations

import random
import sys

import cloudpickle
import gymnasium
import numpy as np
import pytest
import torch
from tensordict import TensorDict

from envkit import Bounded, EnvBase, GymEnv, GymWrapper, ParallelEnv, SerialEnv, Unbounded
from envkit.batched.generators import generators_of

cloudpickle.register_pickle_by_value(sys.modules[__name__])

SEED = 11

DRAWS = {
    "random": lambda: random.random(),
    "numpy": lambda: np.random.normal(),  # two at a time
    "torch": lambda: torch.rand(()).item(),
    "all": lambda: random.gauss(0.0, 1.0) + np.random.randint(100) + torch.randn(()).item(),
}


class Dice(EnvBase):
    """Throws global dice: at each reset, and at each step or every third one; an episode has a random length."""

    def __init__(self, draw, every=1, seeds=False):
        super().__init__()
        self.draw, self.every, self.seeds = DRAWS[draw], every, seeds
        self.observation_spec = Unbounded((1,))
        self.action_spec = Bounded(-1.0, 1.0, shape=(1,))
        self.count = 0

    def _set_seed(self, seed):
        if self.seeds:  # as many authors do
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)

    def _reset(self, tensordict=None):
        self.left = 2 + int(4 * abs(self.draw()) % 5)
        return TensorDict({"observation": torch.tensor([float(self.draw())])})

    def _step(self, tensordict):
        self.count += 1
        self.left -= 1
        value = self.draw() if self.count % self.every == 0 else 0.0
        return TensorDict({"observation": torch.tensor([float(value)]), "reward": [1.0], "done": [self.left <= 0]})


class OldGymEnv(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-10.0, 10.0, (1,), np.float64)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return np.random.rand(1), {}

    def step(self, action):
        return np.random.rand(1), random.random(), np.random.rand() < 0.2, False, {}


def collect(env, tools, steps=40):
    """Data of a batch after it was seeded, by all ports; what goes on around it draws numbers, too."""
    env.set_seed(SEED)
    actions = tools.draw_actions(env, 2 * steps)
    parts = [env.rollout(steps, tools.FixedPolicy(actions[:steps]), break_when_any_done=False)]
    td = env.reset()
    for action in actions[steps:]:
        random.random(), np.random.rand(), torch.rand(1)
        row, td = env.step_and_maybe_reset(td.update(action))
        parts.append(row.unsqueeze(-1))
    env.close()
    return torch.cat(parts, -1)


class TestSameSeed:
    @pytest.mark.parametrize(("draw", "seeds"), [("random", False), ("numpy", False), ("torch", True), ("all", True)])
    def test_same_data(self, draw, seeds, tools):
        kwargs = {"draw": draw, "seeds": seeds}
        expected = collect(SerialEnv(4, Dice, create_env_kwargs=kwargs), tools)
        columns = expected["observation"].squeeze(-1)
        assert len({tuple(column.tolist()) for column in columns}) == 4  # they differ
        tools.assert_same(collect(SerialEnv(4, Dice, create_env_kwargs=kwargs), tools), expected)
        for workers in (1, 2, 4) if draw == "all" else (3,):
            env = ParallelEnv(workers, Dice, num_envs=4, create_env_kwargs=kwargs, mp_start_method="fork")
            tools.assert_same(collect(env, tools), expected)

    def test_of_gym_envs(self, tools):
        def make():
            return GymWrapper(OldGymEnv())

        expected = collect(SerialEnv(3, make), tools)
        tools.assert_same(
            collect(ParallelEnv(2, make, num_envs=3, mp_start_method="fork"), tools),
            expected,
        )

    def test_of_envs_that_seldom_draw(self, tools):
        kwargs = {"draw": "numpy", "every": 3}
        expected = collect(SerialEnv(3, Dice, create_env_kwargs=kwargs), tools)
        env = ParallelEnv(3, Dice, create_env_kwargs=kwargs, mp_start_method="fork")
        tools.assert_same(collect(env, tools), expected)

    def test_again_after_a_while(self, tools):
        env = SerialEnv(2, Dice, create_env_kwargs={"draw": "torch"})
        rollouts = []
        for _ in range(3):
            env.set_seed(SEED)
            policy = tools.FixedPolicy(tools.draw_actions(env, 60))
            rollouts.append(env.rollout(60, policy, break_when_any_done=False))
        tools.assert_same(rollouts[1], rollouts[0])
        tools.assert_same(rollouts[2], rollouts[0])

    def test_of_a_part_of_a_batch(self, tools):
        whole = SerialEnv(3, Dice, create_env_kwargs={"draw": "random"})
        whole.set_seed(SEED)
        part = whole[1:]
        found = part.rollout(10, break_when_any_done=False)
        other = SerialEnv(3, Dice, create_env_kwargs={"draw": "random"})
        other.set_seed(SEED)
        expected = other.rollout(10, break_when_any_done=False)
        assert torch.equal(found["observation"], expected["observation"][1:])

    def test_does_not_touch_what_others_draw(self, tools):
        env = SerialEnv(2, Dice, create_env_kwargs={"draw": "all", "seeds": True})
        numbers = []
        for run in (True, False):
            random.seed(1), np.random.seed(1), torch.manual_seed(1)
            if run:
                env.set_seed(SEED)
                env.rollout(50, tools.FixedPolicy(tools.draw_actions(env, 50)), break_when_any_done=False)
            numbers.append([DRAWS["all"]() for _ in range(5)])
        assert numbers[0] == numbers[1]


class TestWithoutSeed:
    def test_workers_differ(self):
        env = ParallelEnv(3, Dice, create_env_kwargs={"draw": "numpy"}, mp_start_method="fork")
        first = env.reset()["observation"].flatten().tolist()
        env.close()
        assert len(set(first)) == 3

    def test_a_serial_batch_draws_what_is_there(self, tools):
        env = SerialEnv(2, Dice, create_env_kwargs={"draw": "torch"})
        found = []
        for _ in range(2):
            torch.manual_seed(3)
            found.append(env.reset()["observation"].flatten().tolist())
        assert found[0] == found[1]
        env.set_seed(SEED)
        env.reset()
        env.set_seed(None)
        torch.manual_seed(3)
        assert env.reset()["observation"].flatten().tolist() == found[0]


class TestCost:
    def test_is_none_for_envs_that_do_not_draw(self):
        env = SerialEnv(2, lambda: GymEnv("CartPole-v1"))
        own = [generators_of(one) for one in env._envs]
        port = object()
        assert own[0].guarded(port) is port
        env.set_seed(SEED)
        assert own[0].guarded(port) is not port
        env.rollout(50, break_when_any_done=False)
        assert own[0].guarded(port) is port

    def test_is_for_what_is_used_alone(self, monkeypatch):
        env = SerialEnv(1, Dice, create_env_kwargs={"draw": "torch"})
        env.set_seed(SEED)
        env.rollout(50, break_when_any_done=False)
        monkeypatch.setattr(random, "getstate", None)
        monkeypatch.setattr(np.random, "set_bit_generator", None)
        env.rollout(5, break_when_any_done=False)
