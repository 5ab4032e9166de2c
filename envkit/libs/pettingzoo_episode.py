"""The two APIs of PettingZoo, seen as one: who acts, what they see, and whose episode is over."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

__all__ = ["Episode", "ParallelEpisode", "Step", "TurnEpisode"]


class Step(NamedTuple):
    """What a step led to: three mappings by agent, and the flags of the env as a whole.

    Agents whose episode was over before are in none of the mappings.
    """

    observations: Mapping[str, Any]
    rewards: Mapping[str, Any]
    infos: Mapping[str, Mapping[str, Any]]
    terminated: bool
    truncated: bool


class Episode(ABC):
    """The episode that a PettingZoo env is in.

    Args:
        env: the env.
        done_on_any: whether it is over once that of any agent is, rather than once those of all are.

    Attributes:
        acting: the agents whose actions the next step takes; none once nobody is left.
        over: the agents whose own episode is over, each with its terminated and its truncated flag.
    """

    def __init__(self, env: Any, done_on_any: bool) -> None:
        self.env, self.done_on_any = env, done_on_any
        self.acting: tuple[str, ...] = ()
        self.over: dict[str, tuple[bool, bool]] = {}
        self._alive: tuple[str, ...] = ()

    def begin(self, **kwargs: Any) -> tuple[Mapping[str, Any], Mapping[str, Mapping[str, Any]]]:
        """Resets the env; returns observations and infos by agent. ``kwargs`` are ``seed`` and ``options``."""
        observations, infos = self._begin(kwargs)
        self.over = {}
        self._alive = tuple(self.env.agents)
        self.acting = self._next()
        return observations, infos

    def step(self, actions: Mapping[str, Any]) -> Step:
        """Executes the actions of :attr:`acting`."""
        before = tuple(self.over)
        observations, rewards, terminations, truncations, infos = self._advance(actions)
        left, over = self.env.agents, self.over
        ended = []
        for name in dict.fromkeys((*self._alive, *left)):
            flags = bool(terminations.get(name, False)), bool(truncations.get(name, False))
            if name in over:
                if name in observations and True not in flags:
                    del over[name]  # it is back
            elif True in flags:
                over[name] = flags
                ended.append(flags)
            elif name not in left:  # gone without a word
                over[name] = True, False
                ended.append(over[name])
        self._alive = tuple(left) if not over else tuple(name for name in left if name not in over)
        self.acting = self._next() if self._alive else ()
        if before:
            gone = [name for name in before if name in over]
            observations, rewards, infos = (_without(part, gone) for part in (observations, rewards, infos))
        return Step(observations, rewards, infos, *self._whole(ended))

    def _whole(self, ended: list[tuple[bool, bool]]) -> tuple[bool, bool]:
        """Whether the env as a whole is terminated, and truncated, when the episodes of some agents have ended."""
        if ended and self.done_on_any:
            return any(terminated for terminated, _ in ended), any(truncated for _, truncated in ended)
        if self._alive:
            return False, False
        # Whoever was cut off would have gone on: then so would have the whole.
        terminated = all(terminated for terminated, _ in self.over.values())
        return terminated, not terminated

    @abstractmethod
    def _begin(self, kwargs: dict[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Mapping[str, Any]]]:
        """Resets the env, and returns what everybody observes and is told."""

    @abstractmethod
    def _advance(self, actions: Mapping[str, Any]) -> tuple[Mapping, Mapping, Mapping, Mapping, Mapping]:
        """Executes actions; returns observations, rewards, terminations, truncations and infos by agent."""

    @abstractmethod
    def _next(self) -> tuple[str, ...]:
        """The agents who act next, while there is one alive."""


class ParallelEpisode(Episode):
    """That of a ``ParallelEnv``, in which all agents act at once."""

    def _begin(self, kwargs: dict[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Mapping[str, Any]]]:
        return self.env.reset(**kwargs)

    def _advance(self, actions: Mapping[str, Any]) -> tuple[Mapping, Mapping, Mapping, Mapping, Mapping]:
        return self.env.step(actions)

    def _next(self) -> tuple[str, ...]:
        return tuple(self.env.agents)


class TurnEpisode(Episode):
    """That of an ``AECEnv``, in which agents act one after the other.

    Everybody is observed after every step. The steps by which an AEC env takes the dead out of the game, one by one,
    are made here, as part of the step at which they die; they cost nobody a turn.
    """

    def _begin(self, kwargs: dict[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Mapping[str, Any]]]:
        env = self.env
        env.reset(**kwargs)
        return {name: env.observe(name) for name in env.agents}, dict(env.infos)

    def _advance(self, actions: Mapping[str, Any]) -> tuple[Mapping, Mapping, Mapping, Mapping, Mapping]:
        env = self.env
        env.step(actions[env.agent_selection])
        # Copies: the steps of the dead clear all of it.
        rewards, terminations, truncations = dict(env.rewards), dict(env.terminations), dict(env.truncations)
        infos = dict(env.infos)
        dying = [name for name in env.agents if terminations[name] or truncations[name]]
        observations = {name: env.observe(name) for name in dying}
        if len(dying) < len(env.agents):
            while env.agents and (env.terminations[env.agent_selection] or env.truncations[env.agent_selection]):
                env.step(None)
        # Who is next, and may see what is allowed, is known only now.
        observations |= {name: env.observe(name) for name in env.agents if name not in observations}
        return observations, rewards, terminations, truncations, infos

    def _next(self) -> tuple[str, ...]:
        return (self.env.agent_selection,)


def _without(part: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: value for name, value in part.items() if name not in names}
