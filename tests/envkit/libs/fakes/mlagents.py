"""ML-Agents without Unity, as a package to be put into ``sys.modules``.

Modelled on mlagents-envs 0.28.0: ``UnityEnvironment`` and its ``base_env`` types as far as they are used, the registry,
and what its documentation says of scenes: agents ask for decisions at their own pace, their order is free, an episode
that ends is in the ``TerminalSteps`` under its id, and the next one of that agent has a new id, in the same message or
in a later one; a mask is True for what is forbidden, with one array for each branch.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from types import ModuleType
from typing import NamedTuple

import numpy as np


class ObservationSpec(NamedTuple):
    shape: tuple[int, ...]
    name: str


class ActionTuple:
    def __init__(self, continuous, discrete):
        self.continuous, self.discrete = continuous, discrete


class ActionSpec(NamedTuple):
    continuous_size: int
    discrete_branches: tuple[int, ...]

    @property
    def discrete_size(self):
        return len(self.discrete_branches)

    def empty_action(self, n_agents):
        return ActionTuple(
            np.zeros((n_agents, self.continuous_size), np.float32), np.zeros((n_agents, self.discrete_size), np.int32)
        )


class BehaviorSpec(NamedTuple):
    observation_specs: list[ObservationSpec]
    action_spec: ActionSpec


@dataclass
class Steps:
    """``DecisionSteps`` or ``TerminalSteps``."""

    obs: list[np.ndarray]
    reward: np.ndarray
    agent_id: np.ndarray
    group_reward: np.ndarray
    action_mask: list[np.ndarray] | None = None
    interrupted: np.ndarray | None = None

    def __len__(self):
        return len(self.agent_id)


class Scene(NamedTuple):
    """Behaviours with their specs, numbers of agents, and how often these ask for decisions."""

    behaviours: dict[str, tuple[BehaviorSpec, int, int]]
    respawn: int = 0  # how many steps an agent is away
    limit: int = 15


BALL = BehaviorSpec([ObservationSpec((3,), "VectorSensor_size3"), ObservationSpec((2, 2), "")], ActionSpec(2, ()))
KICKER = BehaviorSpec([ObservationSpec((2,), "Rays")], ActionSpec(0, (3, 2)))
HYBRID = BehaviorSpec([ObservationSpec((2,), "Rays"), ObservationSpec((2,), "Rays")], ActionSpec(1, (4,)))
SCENES = {
    "3DBall": Scene({"3DBall?team=0": (BALL, 3, 1)}),
    "Lonely": Scene({"Lonely": (BALL, 1, 1)}),
    "Soccer": Scene({"Soccer?team=0": (KICKER, 2, 1), "Soccer?team=1": (KICKER, 2, 2)}, respawn=2),
    "Mixed": Scene({"Keeper?team=0": (HYBRID, 1, 1), "Striker?team=0": (KICKER, 2, 1)}),
}


class UnityEnvironment:
    started = 0

    def __init__(self, file_name=None, worker_id=0, seed=0, no_graphics=False):
        assert 0 <= seed < 2**31
        self.scene = SCENES[file_name or "3DBall"]
        self.random = np.random.default_rng(seed)
        self.next_id, self.closed, self.extra = 0, False, 0
        self._state, self._actions = {}, {}
        UnityEnvironment.started += 1

    @property
    def behavior_specs(self):
        return {name: spec for name, (spec, _, _) in self.scene.behaviours.items()} if self._state else {}

    def reset(self):
        self.time, self.away = 0, []
        self.alive = {name: {} for name in self.scene.behaviours}
        for name, (_, count, _) in self.scene.behaviours.items():
            for _ in range(count + self.extra):
                self._spawn(name)
        self._tell({}, {})

    def _spawn(self, behaviour):
        self.alive[behaviour][self.next_id] = {"at": self.random.uniform(-1, 1), "age": 0}
        self.next_id += 1

    def set_actions(self, behaviour, action):
        spec, asked = self.scene.behaviours[behaviour][0], self._state[behaviour][0]
        assert action.continuous.shape == (len(asked), spec.action_spec.continuous_size)
        assert action.discrete.shape == (len(asked), spec.action_spec.discrete_size)
        self._actions[behaviour] = action

    def step(self):
        self.time += 1
        ends, rewards = {}, {}
        for name, (spec, _, _) in self.scene.behaviours.items():
            asked = self._state[name][0]
            action = self._actions.get(name) or spec.action_spec.empty_action(len(asked))
            for row, agent in enumerate(asked.agent_id):
                chosen = action.discrete[row]
                for branch, mask in zip(chosen, asked.action_mask or [], strict=False):
                    assert not mask[row][branch] or not self._actions.get(name), "a forbidden action"
                self.alive[name][agent]["at"] += 0.5 * float(action.continuous[row].sum()) + 0.3 * float(chosen.sum())
            over = {}
            for agent, body in self.alive[name].items():
                body["age"] += 1
                body["at"] += self.random.normal() * 0.2
                rewards[agent] = -abs(body["at"])
                if abs(body["at"]) > 1.5 or body["age"] >= self.scene.limit:
                    over[agent] = dict(body, interrupted=abs(body["at"]) <= 1.5)
            for agent in over:
                del self.alive[name][agent]
                self.away.append((self.time + self.scene.respawn, name))
            ends[name] = over
        due = [name for time, name in self.away if time <= self.time]
        self.away = [(time, name) for time, name in self.away if time > self.time]
        for name in due:
            self._spawn(name)
        self._actions = {}
        self._tell(ends, rewards)

    def _tell(self, ends, rewards):
        for name, (spec, _, period) in self.scene.behaviours.items():
            asking = [agent for agent, body in self.alive[name].items() if body["age"] == 0 or self.time % period == 0]
            asking = [asking[i] for i in self.random.permutation(len(asking))] if self.time else asking
            bodies = [self.alive[name][agent] for agent in asking]
            over = ends.get(name, {})
            self._state[name] = (
                replace(self._steps(spec, asking, bodies, rewards), action_mask=self._forbidden(spec, bodies)),
                replace(
                    self._steps(spec, list(over), list(over.values()), rewards),
                    interrupted=np.array([body["interrupted"] for body in over.values()], bool),
                ),
            )

    def _steps(self, spec, agents, bodies, rewards):
        obs = [
            np.array([np.full(sensor.shape, body["at"]) + i for body in bodies], np.float32).reshape(-1, *sensor.shape)
            for i, sensor in enumerate(spec.observation_specs)
        ]
        reward = np.array([rewards.get(agent, 0.0) for agent in agents], np.float32)
        return Steps(obs, reward, np.array(agents, np.int32), 0.5 * reward)

    def _forbidden(self, spec, bodies):
        if not spec.action_spec.discrete_branches:
            return None
        masks = [np.zeros((len(bodies), size), bool) for size in spec.action_spec.discrete_branches]
        for row, body in enumerate(bodies):
            masks[0][row, -1] = body["at"] > 0
        return masks

    def get_steps(self, behaviour):
        return self._state[behaviour]

    def close(self):
        self.closed = True


class Entry:
    def __init__(self, name):
        self.name = name

    def make(self, **kwargs):
        return UnityEnvironment(self.name, **kwargs)


def install(monkeypatch):
    """Makes ``import mlagents_envs`` give this package."""
    names = "mlagents_envs", "mlagents_envs.environment", "mlagents_envs.registry"
    package, environment, registry = map(ModuleType, names)
    environment.UnityEnvironment = UnityEnvironment
    registry.default_registry = {name: Entry(name) for name in ("3DBall", "Soccer")}
    for module in (package, environment, registry):
        monkeypatch.setitem(sys.modules, module.__name__, module)
