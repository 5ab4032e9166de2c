"""Which agents of a simulator share a group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from envkit.core.groups import MarlGroupMapType, check_marl_grouping

__all__ = ["GroupMap", "agent_groups"]

GroupMap = Mapping[str, Sequence[str]] | MarlGroupMapType | None


def agent_groups(group_map: GroupMap, agent_names: Sequence[str]) -> dict[str, list[str]]:
    """The agents of each group, by the name of the group, checked.

    Args:
        group_map: the agents of each group, one of :class:`~envkit.MarlGroupMapType`, or None: agents called
            ``"<group>_<number>"`` are in ``<group>``, and each other agent is in a group named after it.
        agent_names: the agents of the simulator; the default and the enum keep their order.

    Raises:
        ValueError: an agent is in no group, in two, or unknown to the simulator; see
            :func:`~envkit.check_marl_grouping`.
        TypeError: ``group_map`` is none of the three.

    Examples:
        >>> agent_groups(None, ["wolf_0", "wolf_1", "shepherd"])
        {'wolf': ['wolf_0', 'wolf_1'], 'shepherd': ['shepherd']}
        >>> agent_groups({"all": ["b", "a"]}, ["a", "b"])
        {'all': ['b', 'a']}
    """
    if group_map is None:
        groups: dict[str, list[str]] = {}
        for name in agent_names:
            groups.setdefault(_prefix(name), []).append(name)
    elif isinstance(group_map, MarlGroupMapType):
        groups = group_map.get_group_map(agent_names)
    elif isinstance(group_map, Mapping):
        groups = {group: list(members) for group, members in group_map.items()}
    else:
        raise TypeError(f"group_map: expected a mapping, a MarlGroupMapType or None, found {group_map!r}")
    check_marl_grouping(groups, agent_names)
    return groups


def _prefix(name: str) -> str:
    prefix, separator, number = name.rpartition("_")
    return prefix if prefix and separator and number.isdecimal() else name
