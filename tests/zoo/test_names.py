import pytest

from zoo.errors import RunFolderError
from zoo.names import check_name, closest, did_you_mean


@pytest.mark.parametrize("name", ["a", "CartPole-v1", "0", "x" * 100, "a..b", "console", "20260101-120000-seed0"])
def test_good_names(name):
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        "/a",
        "-a",
        ".a",
        "_a",
        "a b",
        "a\n",
        "a\0",
        "é",
        "x" * 101,
        "NUL",
        "con.txt",
    ],
)
def test_bad_names(name):
    with pytest.raises(RunFolderError, match="cannot name a folder"):
        check_name(name)


def test_closest_ignores_case_and_puts_the_nearest_first():
    assert closest("GAMA", ["lr", "gamma", "gae_lambda"])[0] == "gamma"
    assert closest("zzz", ["lr", "gamma"]) == []
    assert did_you_mean("zzz", ["lr", "gamma"]) == ""
    assert did_you_mean("epoch", ["epochs", "lr"]) == "; did you mean epochs?"
