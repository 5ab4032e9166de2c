import pytest

from envkit import MarlGroupMapType
from envkit.libs.agent_groups import agent_groups


def test_numbered_agents_share_the_group_of_their_prefix_in_their_order():
    names = ["red_wolf_1", "shepherd", "red_wolf_0", "dog_x", "_3"]
    assert agent_groups(None, names) == {
        "red_wolf": ["red_wolf_1", "red_wolf_0"],
        "shepherd": ["shepherd"],
        "dog_x": ["dog_x"],
        "_3": ["_3"],
    }


def test_enums_and_mappings():
    names = ["a_0", "a_1"]
    assert agent_groups(MarlGroupMapType.ALL_IN_ONE_GROUP, names) == {"agents": names}
    assert agent_groups(MarlGroupMapType.ONE_GROUP_PER_AGENT, names) == {"a_0": ["a_0"], "a_1": ["a_1"]}
    given = {"second": ("a_1",), "first": ("a_0",)}
    groups = agent_groups(given, names)
    assert list(groups.items()) == [("second", ["a_1"]), ("first", ["a_0"])]


@pytest.mark.parametrize(
    ("group_map", "words"),
    [
        ({"all": ["a_0"]}, "'a_1'"),
        ({"all": ["a_0", "a_1", "b"]}, "'b'"),
        ({"one": ["a_0", "a_1"], "two": ["a_1"]}, "'a_1'"),
    ],
)
def test_groups_are_checked(group_map, words):
    with pytest.raises(ValueError, match=words):
        agent_groups(group_map, ["a_0", "a_1"])


def test_other_group_maps_are_refused():
    with pytest.raises(TypeError, match="expected a mapping, a MarlGroupMapType or None, found 'agents'"):
        agent_groups("agents", ["a_0"])
