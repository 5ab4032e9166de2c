from __future__ import annotations

import sys

import pytest
import torch
from tensordict import TensorDict

from envkit import Categorical, Composite, MissingDependencyError, Unbounded
from envkit.libs.simulator import SimulatorEnv, import_simulator


class Dial:
    """A simulator of one number, which is sought."""

    notches = 5

    def __init__(self, seed=None):
        self.number, self.closed = 0 if seed is None else seed % 5, 0

    def close(self):
        self.closed += 1


class DialEnv(SimulatorEnv):
    """Allows only odd actions, and says so in its data."""

    _masks = {"action": "action_mask"}  # noqa: RUF012 - the hook

    def __init__(self, simulator, make=None):
        super().__init__()
        self._env, self._make = simulator, make
        self.observation_spec = Composite(number=Unbounded((1,)), action_mask=Categorical(2, (5,), dtype=torch.bool))
        self.action_spec = Categorical(5)

    def _allowed(self, mask_key):
        return [False, True, False, True, False]

    def _reset(self, tensordict=None):
        self._take_seed()
        return {"number": [self._env.number], "action_mask": self._allowed("action_mask")}

    def _step(self, tensordict):
        self._env.number += int(tensordict["action"])
        return {**self._reset(), "reward": [0.0], "done": [False]}


def test_random_actions_follow_the_mask():
    env = DialEnv(Dial())
    assert set(env.rollout(100)["action"].tolist()) == {1, 3}
    alone = torch.stack([env.rand_action()["action"] for _ in range(50)])
    assert set(alone.tolist()) == {1, 3}
    other = TensorDict({"action_mask": torch.tensor([False, False, True, False, False])})
    assert env.rand_action(other)["action"].item() == 2


def test_random_actions_are_the_envs_own():
    env, rounds = DialEnv(Dial(), Dial), []
    for _ in range(2):
        env.set_seed(3)
        rounds.append(env.rollout(30))
    assert bool((rounds[0] == rounds[1]).all())


def test_a_seed_makes_another_simulator_at_the_next_reset():
    env = DialEnv(Dial(), Dial)
    first = env._env
    env.set_seed(7)
    assert env._env is first
    assert env.reset()["number"].item() == 2
    assert first.closed == 1
    assert env._env is not first
    assert env.reset()["number"].item() == 2
    with pytest.raises(NotImplementedError, match="DialEnv: expected an env that makes its simulator"):
        DialEnv(Dial()).set_seed(7)


def test_attributes_are_the_simulators():
    env = DialEnv(Dial())
    assert env.notches == 5
    with pytest.raises(AttributeError, match="neither DialEnv nor the wrapped Dial has 'colour'"):
        env.colour  # noqa: B018
    with pytest.raises(AttributeError, match="_hidden"):
        env._hidden  # noqa: B018


def test_it_is_closed_once():
    env = DialEnv(Dial())
    env.close()
    env.close()
    assert env._env.closed == 1
    DialEnv(object()).close()


def test_modules(monkeypatch):
    assert import_simulator("json", "JSON", "Python") is sys.modules["json"]
    monkeypatch.setitem(sys.modules, "json", None)
    with pytest.raises(MissingDependencyError, match="JSON is not installed: expected Python"):
        import_simulator("json", "JSON", "Python")
