"""Going back to an earlier state, and closing."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from tensordict import TensorDict, TensorDictBase

from envkit import (
    Bounded,
    CartPoleEnv,
    ClosedEnvError,
    Collector,
    EnvBase,
    GymEnv,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    Unbounded,
)

MAKERS = {
    "cartpole": lambda: GymEnv("CartPole-v1"),
    "mujoco": lambda: GymEnv("InvertedPendulum-v5"),
    "serial": lambda: SerialEnv(2, lambda: GymEnv("Pendulum-v1")),
    "transformed": lambda: TransformedEnv(SerialEnv(2, lambda: GymEnv("CartPole-v1")), StepCounter(max_steps=7)),
    "native": lambda: CartPoleEnv(batch_size=(3,)),
}


def play(env: EnvBase, tensordict: TensorDictBase, steps: int = 40) -> TensorDictBase:
    rows = []
    for _ in range(steps):
        row, tensordict = env.step_and_maybe_reset(env.rand_action(tensordict))
        rows.append(row.clone())
    return torch.stack(rows)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_the_same_again(make, tools):
    env = make()
    env.set_seed(3)
    start = env.reset()
    for _ in range(5):
        _, start = env.step_and_maybe_reset(env.rand_action(start))
    kept = env.snapshot()
    first = play(env, start.clone())
    for _ in range(2):  # a snapshot serves more than once
        env.restore(kept)
        tools.assert_same(play(env, start.clone()), first)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_copies_go_their_own_way(make, tools):
    env = make()
    env.set_seed(3)
    start = env.reset()
    for _ in range(3):
        _, start = env.step_and_maybe_reset(env.rand_action(start))
    twin = make()
    twin.restore(env.snapshot())
    expected = play(twin, start.clone())
    play(copy.deepcopy(env), copy.deepcopy(env).reset())
    tools.assert_same(play(env, start.clone()), expected)


def test_a_used_env_can_be_pickled():
    env = GymEnv("CartPole-v1")
    env.rollout(5)
    env.step(env.rand_action(env.reset()))
    twin = pickle.loads(pickle.dumps(env))
    assert twin.rollout(5).batch_size[0] >= 1


def test_what_cannot_be_copied():
    class Stuck(GymEnv):
        def __init__(self):
            super().__init__("CartPole-v1")
            self.handle = (i for i in range(3))

    with pytest.raises(TypeError, match="snapshot of Stuck: expected a simulator that can be copied"):
        Stuck().snapshot()


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_closed_env_cannot_be_run(make):
    env = make()
    td = env.rand_action(env.reset())
    collector = Collector(env, frames_per_batch=env.numel() * 2)
    env.close(), env.close()
    assert env.is_closed
    for run in (env.reset, lambda: env.step(td), lambda: env.rollout(3), collector.next):
        with pytest.raises(ClosedEnvError, match="is closed: expected an open env"):
            run()


def test_an_author_may_keep_anything(tools):
    class Kept(EnvBase):
        def __init__(self):
            super().__init__()
            self.observation_spec = Unbounded((1,))
            self.action_spec = Bounded(-1.0, 1.0, shape=(1,))
            self.register_buffer("total", torch.zeros(1))
            self.history = []

        def _set_seed(self, seed):
            self.seed = seed

        def _reset(self, tensordict=None):
            return TensorDict({"observation": self.total.clone()})

        def _step(self, tensordict):
            self.total += tensordict["action"]
            self.history.append(self.total.item())
            return TensorDict({"observation": self.total.clone(), "reward": torch.zeros(1), "done": torch.zeros(1) > 0})

    env = Kept()
    env.set_seed(0)
    env.rollout(3)
    kept, history = env.snapshot(), list(env.history)
    flags = {name: torch.zeros(1) > 0 for name in ("done", "terminated")}
    td = TensorDict({"observation": env.total.clone(), **flags})
    first = play(env, td.clone(), 5)
    env.restore(kept)
    assert env.history == history
    tools.assert_same(play(env, td.clone(), 5), first)
