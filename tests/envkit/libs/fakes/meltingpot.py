"""Melting Pot without its engine, as a package to be put into ``sys.modules``.

Modelled on the source of dm-meltingpot 2.4.1: ``substrate.SUBSTRATES``, ``get_config`` (with ``default_player_roles``)
and ``build_from_config``; a ``Substrate`` speaks dm_env with one entry per player, shows numbers without dimensions and
what is called ``WORLD.RGB`` to all players, has a discount of 0 at the first step, starts the next episode when it is
stepped after the last step of one, and draws the seed of its first episode from Python's global generator, from which
the others are counted on. (Its engine also differs from run to run, which is left out.)
"""

from __future__ import annotations

import random
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

dm_env = pytest.importorskip("dm_env")
specs = dm_env.specs

WORLDS = {"commons_harvest__open": 3, "clean_up": 2, "coins": 2}
LENGTH = 40


class Substrate:
    def __init__(self, players, length=LENGTH, wide=False, discount=0.0):
        self.players, self.length, self.wide, self.discount = players, length, wide, discount
        self.seed = random.randint(1, 2**32 - 1)
        self.episodes, self.over, self.closed = 0, True, False

    def observation_spec(self):
        own = {
            "RGB": specs.Array((8, 8, 3), np.uint8, "RGB"),
            "READY_TO_SHOOT": specs.Array((), np.float64, "READY_TO_SHOOT"),
            "INVENTORY": specs.Array((2,), np.float64, "INVENTORY"),
            "WORLD.RGB": specs.Array((12, 16, 3), np.uint8, "WORLD.RGB"),
            "COLLECTIVE_REWARD": specs.Array((), np.float64, "COLLECTIVE_REWARD"),
        }
        wide = {**own, "INVENTORY": specs.Array((3,), np.float64, "INVENTORY")}
        return tuple(wide if self.wide and i == 0 else own for i in range(self.players))

    def reward_spec(self):
        return (specs.Array((), np.float64, "reward"),) * self.players

    def action_spec(self):
        return (specs.DiscreteArray(8, np.int64, "action"),) * self.players

    def reset(self):
        self.random = np.random.default_rng((self.seed + self.episodes) % 2**32)
        self.episodes += 1
        self.steps, self.over = 0, False
        self.rewards = (0.0,) * self.players
        return dm_env.TimeStep(dm_env.StepType.FIRST, self.rewards, 0.0, self.look())

    def step(self, actions):
        if self.over:
            return self.reset()
        assert len(actions) == self.players
        for spec, action in zip(self.action_spec(), actions, strict=True):
            spec.validate(np.int64(action))
        self.steps += 1
        self.rewards = tuple(float(action) * 0.1 + self.random.normal() for action in actions)
        self.over = self.steps >= self.length or self.random.random() < 0.01
        kind = dm_env.StepType.LAST if self.over else dm_env.StepType.MID
        return dm_env.TimeStep(kind, self.rewards, self.discount if self.over else 1.0, self.look())

    def look(self):
        world = self.random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        self.seen = tuple(
            {
                name: world if name == "WORLD.RGB" else self.random.integers(0, 9, spec.shape).astype(spec.dtype)[()]
                for name, spec in own.items()
            }
            for own in self.observation_spec()
        )
        for own in self.seen:
            own["COLLECTIVE_REWARD"] = np.float64(sum(self.rewards))
        return self.seen

    def observation(self):
        return self.seen

    def close(self):
        self.closed = True


def install(monkeypatch):
    """Makes ``import meltingpot`` give this package."""
    package, substrate = ModuleType("meltingpot"), ModuleType("meltingpot.substrate")
    substrate.SUBSTRATES = frozenset(WORLDS)
    substrate.get_config = lambda name: SimpleNamespace(
        name=name, default_player_roles=("default",) * WORLDS[name], options={}
    )
    substrate.build_from_config = lambda config, *, roles: Substrate(len(roles), **config.options)
    package.substrate = substrate
    monkeypatch.setitem(sys.modules, "meltingpot", package)
    monkeypatch.setitem(sys.modules, "meltingpot.substrate", substrate)
