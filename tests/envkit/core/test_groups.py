"""Groups of agents."""

from __future__ import annotations

import pytest

from envkit import MarlGroupMapType, check_marl_grouping


def test_group_maps():
    names = ["a", "b", "c"]
    for kind in MarlGroupMapType:
        check_marl_grouping(kind.get_group_map(names), names)
    assert MarlGroupMapType.ALL_IN_ONE_GROUP.get_group_map(names) == {"agents": names}
    assert MarlGroupMapType.ONE_GROUP_PER_AGENT.get_group_map(names) == {name: [name] for name in names}


@pytest.mark.parametrize(
    ("groups", "names", "message"),
    [
        ({}, [], "at least one agent"),
        ({"g": ["a"]}, ["a", "a"], r"\['a'\] more than once"),
        ({"g": ["a"], "h": []}, ["a"], "in group 'h', found none"),
        ({"g": ["a", "z"]}, ["a"], "unknown agent 'z' in group 'g'"),
        ({"g": ["a"], "h": ["a"]}, ["a"], "'a' in one group, found 'g' and 'h'"),
        ({"g": ["a"]}, ["a", "b"], r"none for \['b'\]"),
    ],
)
def test_bad_groupings(groups, names, message):
    with pytest.raises(ValueError, match=message):
        check_marl_grouping(groups, names)
