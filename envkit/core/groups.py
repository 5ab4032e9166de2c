"""Groups of agents: which agents share a nested TensorDict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

__all__ = ["MarlGroupMapType", "check_marl_grouping"]


class MarlGroupMapType(Enum):
    """The usual ways to group agents.

    Examples:
        >>> MarlGroupMapType.ALL_IN_ONE_GROUP.get_group_map(["a", "b"])
        {'agents': ['a', 'b']}
        >>> MarlGroupMapType.ONE_GROUP_PER_AGENT.get_group_map(["a", "b"])
        {'a': ['a'], 'b': ['b']}
    """

    ALL_IN_ONE_GROUP = 1
    """One group, ``"agents"``, with an agent dimension: for agents that are alike."""
    ONE_GROUP_PER_AGENT = 2
    """A group for each agent, named after it: for agents that differ."""

    def get_group_map(self, agent_names: Sequence[str]) -> dict[str, list[str]]:
        """The names of the agents of each group."""
        if self is MarlGroupMapType.ALL_IN_ONE_GROUP:
            return {"agents": list(agent_names)}
        return {name: [name] for name in agent_names}


def check_marl_grouping(group_map: Mapping[str, Sequence[str]], agent_names: Sequence[str]) -> None:
    """Checks that every agent is in exactly one group.

    Raises:
        ValueError: there are no agents, two of one name, an empty group, or an agent that is unknown, missing, or in
            two groups.

    Examples:
        >>> check_marl_grouping({"red": ["a", "b"], "blue": ["c"]}, ["a", "b", "c"])
    """
    if not agent_names:
        raise ValueError("group_map: expected at least one agent, found none")
    twice = sorted({name for name in agent_names if list(agent_names).count(name) > 1})
    if twice:
        raise ValueError(f"group_map: expected agents of different names, found {twice} more than once")
    home: dict[str, str] = {}
    for group, members in group_map.items():
        if not members:
            raise ValueError(f"group_map: expected agents in group {group!r}, found none")
        for name in members:
            if name not in agent_names:
                raise ValueError(f"group_map: unknown agent {name!r} in group {group!r}; the agents are {agent_names}")
            if name in home:
                raise ValueError(f"group_map: expected agent {name!r} in one group, found {home[name]!r} and {group!r}")
            home[name] = group
    missing = [name for name in agent_names if name not in home]
    if missing:
        raise ValueError(f"group_map: expected every agent in a group, found none for {missing}")
