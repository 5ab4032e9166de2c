import pytest

from zoo.errors import RunFolderError
from zoo.names import check_name


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
