"""Who is who among the agents of Unity ML-Agents, whose ids change with every episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from envkit.errors import EnvDataError

__all__ = ["Agent", "Group", "Scene", "Sight"]


class Sight(NamedTuple):
    """What an agent sees: an array for each sensor, and the actions that it may take (bool, None for any)."""

    sensors: list[np.ndarray]
    allowed: np.ndarray | None


@dataclass
class Agent:
    """A place among the agents of a behaviour, which one episode after the other takes.

    Attributes:
        behaviour: its behaviour.
        group: its group.
        index: its place there.
        over: whether its last episode has ended, and no reset has asked for the next one.
        first: what it sees first in the next one, if that has begun already.
    """

    behaviour: str
    group: str
    index: int
    over: bool = False
    first: Sight | None = None


@dataclass
class Group:
    """The latest data of the agents of a group, one row each."""

    sensors: list[np.ndarray]
    allowed: np.ndarray | None
    acting: np.ndarray
    reward: np.ndarray
    group_reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray

    @classmethod
    def of(cls, count: int, shapes: Sequence[Sequence[int]], actions: int) -> Group:
        """An empty one.

        Args:
            count: how many agents.
            shapes: the shape of each sensor's array.
            actions: how many discrete actions there are, those of all branches.
        """
        numbers, flags = np.zeros((2, count, 1), np.float32), np.zeros((2, count, 1), bool)
        sensors = [np.zeros((count, *shape), np.float32) for shape in shapes]
        allowed = np.ones((count, actions), bool) if actions else None
        return cls(sensors, allowed, np.zeros(count, bool), *numbers, *flags)

    def see(self, index: int, sight: Sight, acting: bool) -> None:
        """Writes what an agent sees, and whether it acts next."""
        for column, value in zip(self.sensors, sight.sensors, strict=True):
            column[index] = value
        self.rest(index)
        self.acting[index] = acting
        if self.allowed is not None and sight.allowed is not None:
            self.allowed[index] = sight.allowed

    def rest(self, index: int) -> None:
        """Writes that an agent does not act, and may choose freely."""
        self.acting[index] = False
        if self.allowed is not None:
            self.allowed[index] = True

    def clear(self) -> None:
        """Before a step: no rewards, no ends."""
        for column in (self.reward, self.group_reward, self.terminated, self.truncated):
            column[:] = 0


class Scene:
    """The agents of a Unity environment, and what the simulator says of them."""

    def __init__(self, agents: Sequence[Agent], groups: Mapping[str, Group]) -> None:
        self.agents, self.groups = list(agents), dict(groups)
        self.behaviours = list(dict.fromkeys(agent.behaviour for agent in agents))
        self._by_id: dict[tuple[str, int], Agent] = {}
        self._free: dict[str, list[Agent]] = {}

    def begin(self, env: Any) -> None:
        """Takes in a simulator that has been reset: every agent begins an episode.

        Raises:
            EnvDataError: there are more agents than before, or fewer.
        """
        self._by_id, self._free = {}, {behaviour: [] for behaviour in self.behaviours}
        for group in self.groups.values():
            group.clear()
        for behaviour in self.behaviours:
            places = [agent for agent in self.agents if agent.behaviour == behaviour]
            requests = env.get_steps(behaviour)[0]
            if len(requests) != len(places):
                raise EnvDataError(
                    f"behaviour {behaviour!r}: expected {len(places)} agents after a reset, as after the first one, "
                    f"found {len(requests)}"
                )
            for row, agent in enumerate(places):
                agent.over, agent.first = False, None
                self._by_id[behaviour, int(requests.agent_id[row])] = agent
                self.groups[agent.group].see(agent.index, _sight(requests, row), acting=True)

    def resume(self, agents: Sequence[Agent]) -> None:
        """Begins the next episodes of agents whose last ones are over; where there is none yet, they wait for it."""
        for agent in agents:
            group = self.groups[agent.group]
            for flags in (group.terminated, group.truncated):
                flags[agent.index] = False
            if agent.first is not None:
                group.see(agent.index, agent.first, acting=True)
            agent.over, agent.first = False, None

    def requesting(self, env: Any, behaviour: str) -> list[Agent]:
        """The agents that want an action, in the order in which the simulator wants them."""
        return [self._by_id[behaviour, int(name)] for name in env.get_steps(behaviour)[0].agent_id]

    def advance(self, env: Any) -> None:
        """Takes in a step of the simulator.

        Raises:
            EnvDataError: agents have come that there is no place for.
        """
        for group in self.groups.values():
            group.clear()
        for agent in self.agents:
            if not agent.over:
                self.groups[agent.group].rest(agent.index)
        for behaviour in env.behavior_specs:
            requests, ends = env.get_steps(behaviour)
            if behaviour not in self.behaviours and len(requests):
                raise EnvDataError(
                    f"expected agents of the behaviours {self.behaviours}, as after the first reset, found "
                    f"{len(requests)} of {behaviour!r}"
                )
            for row, name in enumerate(ends.agent_id):
                self._end(behaviour, int(name), ends, row)
            for row, name in enumerate(requests.agent_id):
                self._go_on(behaviour, int(name), requests, row)

    def _end(self, behaviour: str, name: int, ends: Any, row: int) -> None:
        agent = self._by_id.pop((behaviour, name), None)
        if agent is None:
            return  # an episode that was over before it asked for an action
        self._free[behaviour].append(agent)
        agent.first = None
        if agent.over:
            return  # one that nobody has asked for
        agent.over = True
        group = self.groups[agent.group]
        group.see(agent.index, Sight([sensor[row] for sensor in ends.obs], None), acting=False)
        self._earn(agent, ends, row)
        flags = group.truncated if ends.interrupted[row] else group.terminated
        flags[agent.index] = True

    def _go_on(self, behaviour: str, name: int, requests: Any, row: int) -> None:
        agent, sight = self._by_id.get((behaviour, name)), _sight(requests, row)
        if agent is None:
            if not self._free[behaviour]:
                count = sum(place.behaviour == behaviour for place in self.agents)
                raise EnvDataError(
                    f"behaviour {behaviour!r}: expected at most {count} agents, as after the first reset, found "
                    f"another one, of id {name}"
                )
            agent = self._by_id[behaviour, name] = self._free[behaviour].pop(0)
        if agent.over:
            agent.first = sight
        else:
            self.groups[agent.group].see(agent.index, sight, acting=True)
            self._earn(agent, requests, row)

    def _earn(self, agent: Agent, steps: Any, row: int) -> None:
        group = self.groups[agent.group]
        group.reward[agent.index] = steps.reward[row]
        group.group_reward[agent.index] = steps.group_reward[row]


def _sight(requests: Any, row: int) -> Sight:
    masks = requests.action_mask
    # The simulator's masks are True for what is forbidden.
    allowed = None if masks is None else ~np.concatenate([np.asarray(mask[row], bool) for mask in masks])
    return Sight([sensor[row] for sensor in requests.obs], allowed)
