"""SMACv2 without StarCraft II, as a package to be put into ``sys.modules``.

Modelled on the source of SMACv2 1.0.0 (oxwhirl/smacv2 on GitHub): the calls of ``StarCraft2Env``, which takes its seed
at construction, returns ``(reward, terminated, info)`` from a step, keeps the dead in its lists with zeros to see and
action 0 to do, flags the step limit in the info only with ``continuing_episode``, and answers ``(0, True, {})`` to a
step in which it lost the game's process; and those of ``StarCraftCapabilityEnvWrapper``, whose distributions have
generators of their own.
"""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np

MAPS = {"3m": (3, 3, 60), "2s3z": (5, 5, 120), "10gen_terran": (5, 5, 200)}


class StarCraft2Env:
    started = 0

    def __init__(self, map_name="8m", seed=None, continuing_episode=False, capability_config=None, limit=None):
        self.map_name, self._seed, self.continuing_episode = map_name, seed, continuing_episode
        self.n_agents, self.n_enemies, self.episode_limit = MAPS[map_name]
        self.episode_limit = limit or self.episode_limit
        self.capability_config = capability_config or {}
        self.n_actions = 6 + self.n_enemies
        self._random = np.random.default_rng(seed)
        self._episode_steps, self.allies = 0, np.zeros(self.n_agents)
        self.crash = self.closed = False
        StarCraft2Env.started += 1

    def get_env_info(self):
        return {
            "state_shape": self.n_agents + self.n_enemies,
            "obs_shape": 2 + self.n_enemies,
            "n_actions": self.n_actions,
            "n_agents": self.n_agents,
            "episode_limit": self.episode_limit,
        }

    def reset(self, episode_config=None):
        self._episode_steps = 0
        self.strength = (episode_config or {}).get("team_gen", np.ones(self.n_agents))
        self.allies = np.full(self.n_agents, 1.0) * self.strength
        self.enemies = np.full(self.n_enemies, 1.0)
        return self.get_obs(), self.get_state()

    def get_obs(self):
        return [
            np.array([health, i, *self.enemies], dtype=np.float32) if health > 0 else np.zeros(2 + self.n_enemies)
            for i, health in enumerate(self.allies)
        ]

    def get_state(self):
        return np.concatenate([self.allies, self.enemies]).astype(np.float32)

    def get_avail_actions(self):
        alive = [0, 1, 1, 1, 1, 1, *(int(health > 0) for health in self.enemies)]
        dead = [1] + [0] * (self.n_actions - 1)
        return [alive if health > 0 else dead for health in self.allies]

    def step(self, actions):
        assert all(type(action) is int for action in actions)
        allowed = self.get_avail_actions()
        for i, action in enumerate(actions):
            assert allowed[i][action] == 1, f"Agent {i} cannot perform action {action}"
        if self.crash:
            self.crash = False
            return 0, True, {}
        before = self.enemies.sum()
        for action in actions:
            if action >= 6:
                self.enemies[action - 6] = max(0.0, self.enemies[action - 6] - 0.25)
        for i in range(self.n_agents):
            if self._random.random() < 0.08:
                self.allies[i] = max(0.0, self.allies[i] - 0.5)
        self._episode_steps += 1
        reward, terminated = before - self.enemies.sum(), False
        info = {"battle_won": False}
        info["dead_allies"] = int((self.allies == 0).sum())
        info["dead_enemies"] = int((self.enemies == 0).sum())
        if info["dead_enemies"] == self.n_enemies:
            terminated, info["battle_won"] = True, True
            reward += 20
        elif info["dead_allies"] == self.n_agents:
            terminated = True
        elif self._episode_steps >= self.episode_limit:
            terminated = True
            if self.continuing_episode:
                info["episode_limit"] = True
        return reward, terminated, info

    def render(self, mode="human"):
        assert mode == "rgb_array"
        return np.full((4, 4, 3), self._episode_steps, dtype=np.uint8)

    def close(self):
        self.closed = True


class WeightedTeamsDistribution:
    __module__ = "smacv2.env.starcraft2.distributions"

    def __init__(self, config):
        self.rng = np.random.default_rng()
        self.n_units = config["n_units"]

    def generate(self):
        return {"team_gen": self.rng.uniform(0.5, 1.5, self.n_units)}


class ReflectPosition:
    __module__ = "smacv2.env.starcraft2.distributions"

    def __init__(self, config):
        self.pos_generator = WeightedTeamsDistribution(config)

    def generate(self):
        return {"start_positions": self.pos_generator.generate()["team_gen"]}


class StarCraftCapabilityEnvWrapper:
    def __init__(self, **kwargs):
        self.distribution_config = kwargs["capability_config"]
        self.env_key_to_distribution_map = {
            key: {"team_gen": WeightedTeamsDistribution, "start_positions": ReflectPosition}[key](config)
            for key, config in self.distribution_config.items()
        }
        self.env = StarCraft2Env(**kwargs)

    def reset(self):
        config = {}
        for distribution in self.env_key_to_distribution_map.values():
            config = {**config, **distribution.generate()}
        self.drawn = config
        return self.env.reset(config)

    def __getattr__(self, name):
        if name == "env":
            raise AttributeError(name)
        return getattr(self.env, name)


def install(monkeypatch):
    """Makes ``import smacv2`` give this package."""
    names = ["", ".env", ".env.starcraft2", ".env.starcraft2.maps", ".env.starcraft2.maps.smac_maps"]
    modules = {name: ModuleType(f"smacv2{name}") for name in [*names, ".env.starcraft2.wrapper"]}
    modules[".env"].StarCraft2Env = StarCraft2Env
    modules[".env.starcraft2.wrapper"].StarCraftCapabilityEnvWrapper = StarCraftCapabilityEnvWrapper
    modules[".env.starcraft2.maps.smac_maps"].get_smac_map_registry = lambda: MAPS
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, f"smacv2{name}", module)
