"""R11: what is out of bounds in an env's first steps is a warning."""

from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from envkit import Collector, GymWrapper, ParallelEnv, SerialEnv, StepCounter, TransformedEnv

SEEN, UNSEEN = 90, 105


class Drifts(gymnasium.Env):
    """Leaves its bounds at one step."""

    def __init__(self, at):
        self.observation_space, self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32), spaces.Discrete(2)
        self.at, self.count = at, 0

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.count += 1
        observation = np.zeros(2, np.float32)
        observation[1] = 5.0 if self.count == self.at else 0.0
        return observation, 0.0, False, False, {}


MAKERS = {
    "single": lambda at: GymWrapper(Drifts(at)),
    "transformed": lambda at: TransformedEnv(GymWrapper(Drifts(at)), StepCounter()),
    "serial": lambda at: SerialEnv(2, lambda: GymWrapper(Drifts(at))),
    "parallel": lambda at: ParallelEnv(2, lambda: GymWrapper(Drifts(at)), mp_start_method="fork"),
}


def rollout(env):
    env.rollout(120)


def by_hand(env):
    td = env.reset()
    for _ in range(120):
        td = env.step_mdp(env.step(env.rand_action(td)))


def collector(env):
    for _ in Collector(env, frames_per_batch=60 * env.numel(), total_frames=120 * env.numel()):
        pass


@pytest.fixture(params=MAKERS)
def make(request):
    made = []

    def build(at):
        made.append(MAKERS[request.param](at))
        return made[-1]

    yield build
    for env in made:
        env.close()


@pytest.mark.parametrize("run", [rollout, by_hand, collector])
def test_is_said_once(run, make):
    env = make(SEEN)
    text = r"'observation' returned by .*_step is out of bounds: expected .*found 5"
    with pytest.warns(UserWarning, match=text) as said:
        run(env)
    run(env)
    assert len(said) == 1


@pytest.mark.parametrize("run", [rollout, by_hand, collector])
def test_is_not_looked_for_later(run, make):
    env = make(UNSEEN)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(env)


def test_first_data_is_looked_at_as_well():
    class Starts(Drifts):
        def reset(self, **kwargs):
            return np.full(2, 3.0 if self.count else 0.0, np.float32), {}

        def step(self, action):
            observation, reward, *_ = super().step(action)
            return observation, reward, self.count == 3, False, {}

    with pytest.warns(UserWarning, match=r"'observation' returned by GymWrapper._reset is out of bounds"):
        GymWrapper(Starts(0)).rollout(10, break_when_any_done=False)
