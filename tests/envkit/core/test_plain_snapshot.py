"""Snapshots as plain data."""

from __future__ import annotations

import collections
import random
import threading

import gymnasium
import numpy as np
import pytest
import torch
from tensordict import TensorDict

from envkit import (
    Bounded,
    EnvBase,
    GymEnv,
    GymWrapper,
    PettingZooEnv,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    Unbounded,
    VecNorm,
    VmasEnv,
    plain_snapshot,
    restore_plain_snapshot,
    step_mdp,
)

IDS = ["CartPole-v1", "Pendulum-v1", "Acrobot-v1", "MountainCar-v0", "FrozenLake-v1", "Blackjack-v1"]
MUJOCO = ["HalfCheetah-v5", "Ant-v5", "InvertedDoublePendulum-v5"]


class Thing:
    """Something that is a key for being that very thing."""

    def __init__(self):
        self.size = 1


class Drawing(EnvBase):
    """Draws from generators of every kind, and keeps things in containers of every kind."""

    def __init__(self, torch_seed=0):
        super().__init__()
        self.observation_spec = Unbounded((4,))
        self.action_spec = Bounded(-1.0, 1.0, shape=(1,))
        self.ours = torch.Generator().manual_seed(torch_seed)
        self.python, self.old, self.new = random.Random(0), np.random.RandomState(0), np.random.default_rng(0)
        self.seen = {"last": collections.deque([0.0], maxlen=3), ("a", 1): {1, 2}, "words": np.array(["up", "down"])}
        self.alias = self.seen["last"]
        self.thing = Thing()
        self.ranks, self.kinds = {self.thing: 2, (Thing(), "second"): 3}, [{int, float}]

    def _draw(self):
        drawn = [self.python.random(), self.old.rand(), self.new.random(), torch.rand((), generator=self.ours).item()]
        self.alias.append(drawn[0])
        return torch.tensor(drawn) + sum(self.seen["last"])

    def _reset(self, tensordict=None):
        return TensorDict({"observation": self._draw()})

    def _step(self, tensordict):
        done = torch.tensor([self.new.random() < 0.2])
        return TensorDict({"observation": self._draw(), "reward": tensordict["action"], "terminated": done})

    def _set_seed(self, seed):
        self.python.seed(seed)


MAKERS = {
    **{name: lambda name=name: GymEnv(name) for name in IDS},
    "batch": lambda: TransformedEnv(SerialEnv(2, lambda: GymEnv("CartPole-v1")), StepCounter(max_steps=9)),
    "normalised": lambda: TransformedEnv(SerialEnv(2, lambda: GymEnv("Pendulum-v1")), VecNorm(["observation"])),
    "drawing": Drawing,
}


def all_plain(value):
    if isinstance(value, dict):
        return all(type(key) is str and all_plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(all_plain, value))
    return isinstance(value, (str, int, float, bool, type(None), torch.Tensor, np.ndarray, np.generic))


def onward(env, start):
    return env.rollout(50, tensordict=start.clone(), auto_reset=False, break_when_any_done=False)


def check_goes_on(make, tools):
    env = make()
    env.set_seed(3)
    start = step_mdp(env.rollout(30, break_when_any_done=False)[..., -1].clone())
    if bool(start["done"].any()):
        start = env.maybe_reset(start)
    kept = plain_snapshot(env)
    assert all_plain(kept)
    expected = onward(env, start)
    other = make()
    other.set_seed(8)
    other.rollout(4)
    for _ in range(2):  # it serves more than once
        restore_plain_snapshot(other, kept)
        tools.assert_same(onward(other, start), expected)
    restore_plain_snapshot(make(), kept)  # also one that was never run


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_another_env_goes_on_from_it(make, tools):
    check_goes_on(make, tools)


@pytest.mark.parametrize("task", ["simple_spread_v3", "simple_speaker_listener_v4"])
def test_groups_of_agents(task, tools):
    """Their simulator holds a picture that nothing depends on."""
    pytest.importorskip("mpe2")
    check_goes_on(lambda: PettingZooEnv(task, parallel=True, max_cycles=9), tools)


def test_vmas(tools):
    pytest.importorskip("vmas")
    check_goes_on(lambda: VmasEnv("balance", num_envs=2, max_steps=9), tools)


@pytest.mark.parametrize("name", MUJOCO)
def test_mujoco(name, tools):
    pytest.importorskip("mujoco")
    check_goes_on(lambda: GymEnv(name), tools)


def test_what_is_one_object_stays_one():
    env = Drawing()
    env.thing.size = 5
    env.ranks[env.thing] = 7
    other = Drawing()
    restore_plain_snapshot(other, plain_snapshot(env))
    assert next(iter(other.ranks)) is other.thing
    assert other.ranks[other.thing] == 7
    assert other.thing.size == 5
    assert [type(key) for key in other.ranks] == [Thing, tuple]
    assert other.kinds == [{int, float}]
    assert other.alias is other.seen["last"]
    assert other.seen["last"].maxlen == 3
    assert other.seen["a", 1] == {1, 2}
    assert other.seen["words"].tolist() == ["up", "down"]


def test_tuples_with_names_and_pictures():
    class Place(collections.namedtuple("Place", ["name", "counts"])):
        __slots__ = ()

    class Surface:
        """As pygame's, of which not every release can be copied."""

        __module__ = "pygame.surface"

        def __init__(self, width):
            self.width = width

    env, other = Drawing(), Drawing()
    env.place, other.place = Place("here", [1, 2]), Place("there", [])
    env.screen, other.screen = Surface(2), Surface(3)
    kept = plain_snapshot(env)
    assert all_plain(kept)
    restore_plain_snapshot(other, kept)
    assert other.place == Place("here", [1, 2])
    assert type(other.place) is Place
    assert other.screen.width == 3  # its own
    other.place = ("here", [1])
    with pytest.raises(ValueError, match=r"expected .*Place at .*'place'.*, found builtins.tuple"):
        restore_plain_snapshot(other, kept)


def test_references_to_one_of_several():
    env, other = Drawing(), Drawing()
    for one, chosen in ((env, 0), (other, 1)):
        one.goal = None  # met before the things of which it is one
        one.things = [Thing(), Thing()]
        one.things[0].size, one.things[1].size = 10, 20
        one.goal = one.things[chosen]
    for _ in range(2):
        restore_plain_snapshot(other, plain_snapshot(env))
        assert other.goal is other.things[0]
        assert other.things[0] is not other.things[1]
        assert [thing.size for thing in other.things] == [10, 20]


def test_what_cannot_be_read_is_named():
    class Odd(gymnasium.Wrapper):
        def __init__(self, env):
            super().__init__(env)
            self.bell = threading.Event().wait

    class Slotted:
        __slots__ = ("value",)

    env = Drawing()
    env.odd = Slotted()
    with pytest.raises(TypeError, match=r"\['odd'\]: expected something whose state can be read, found .*Slotted"):
        plain_snapshot(env)
    env.odd = {Slotted(): 1}
    with pytest.raises(TypeError, match=r"a key of .*\['odd'\]: expected something whose state .* found .*Slotted"):
        plain_snapshot(env)
    env.odd = np.array([object()])
    with pytest.raises(TypeError, match="expected numbers or strings, found an array of object"):
        plain_snapshot(env)
    with pytest.raises(TypeError, match="expected a simulator that can be copied"):
        plain_snapshot(GymWrapper(Odd(gymnasium.make("CartPole-v1"))))


def test_an_env_that_is_made_otherwise():
    kept = plain_snapshot(GymEnv("CartPole-v1"))
    with pytest.raises(ValueError, match=r"snapshot: expected .*CartPoleEnv at .*, found .*PendulumEnv in this env"):
        restore_plain_snapshot(GymEnv("Pendulum-v1"), kept)


def test_only_generators_of_numpy_are_made():
    env = Drawing()
    env.late = np.random.default_rng(1)
    kept = plain_snapshot(env)

    def spoil(value):
        if isinstance(value, dict) and value.get("bit_generator") == "PCG64":
            value["bit_generator"] = "default_rng"
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            spoil(item)

    spoil(kept)
    with pytest.raises(ValueError, match=r"default_rng|PCG64"):
        restore_plain_snapshot(Drawing(), kept)
