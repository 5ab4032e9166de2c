import json
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.plain_files import MAX_BYTES, read_plain, write_plain
from envkit.errors import MissingDependencyError

TEXTS = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=8),
    st.sampled_from(["1e-3", "-.5E7", "no", "null", "~", "1:30", "0x1f", "*a", "&a", "- b", "a: b", "", "2001-01-01"]),
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS)
PLAIN = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))


@pytest.mark.parametrize("name", ["a.json", "a.yaml", "a.yml"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.dictionaries(TEXTS, PLAIN, max_size=4))
def test_what_is_read_is_what_was_written(name, data, tmp_path):
    found = read_plain(write_plain(tmp_path / name, data))
    assert json.dumps(found) == json.dumps(data)  # which tells 1 from 1.0 and True
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_numbers_are_numbers_in_yaml(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("lr: 1e-3\nlow: -2E+2\nhigh: .5e1\nname: 1e-3x\nsteps: 10\n")
    assert read_plain(file) == {"lr": 0.001, "low": -200.0, "high": 5.0, "name": "1e-3x", "steps": 10}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", "[1]", "expected a mapping of names to values, found list"),
        ("a.json", "{", "a.json: "),
        ("a.json", '{"a": NaN}', "a: expected a finite number, found nan"),
        ("a.json", '{"a": ' + "[" * 100_000, "a.json: nested too deeply"),
        ("a.json", b'{"a": "\xff"}', "a.json: expected UTF-8 text, found .* at byte 7"),
        ("a.json", " " * (MAX_BYTES + 1), "expected at most 1,000,000 bytes"),
        ("a.yaml", " " * (MAX_BYTES + 1), "expected at most 1,000,000 bytes"),
        ("a.yaml", "a: [", r"a.yaml:1: .*"),
        ("a.yaml", "a: !!python/object/apply:os.system [true]", "a.yaml:1: plain data has no tag"),
        ("a.yaml", "a: !!python/name:os.system", "a.yaml:1: plain data has no tag"),
        ("a.yaml", "a: &x [1]\nb: *x", r"a.yaml:2: aliases \(\*name\) are not allowed"),
        ("a.yaml", "b: {1: 2}", "a.yaml:1: expected a word as key, found '1'"),
        ("a.yaml", "b: .inf", "b: expected a finite number, found inf"),
        ("a.yaml", "", "found NoneType"),
        ("a.toml", "a = 1", r"ends with one of \['.json', '.yaml', '.yml'\], found '.toml'"),
    ],
)
def test_what_is_not_read(name, content, words, tmp_path):
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=words):
        read_plain(file)


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        ({"a": [0, {"b": print}]}, TypeError, r"a\[1\].b: expected plain data, found <built-in function print>"),
        ({"a": (1, 2)}, TypeError, "a: expected plain data"),
        ({"a": {3: 4}}, TypeError, "a: expected a word as key, found 3"),
        ({"a": float("inf")}, ValueError, "a: expected a finite number"),
        ({"a": "x" * MAX_BYTES}, ValueError, "expected at most"),
    ],
)
def test_what_is_not_written_leaves_the_file_as_it_was(data, error, words, tmp_path):
    file = write_plain(tmp_path / "a.json", {"a": 1})
    with pytest.raises(error, match=words):
        write_plain(file, data)
    assert read_plain(file) == {"a": 1}


def test_without_pyyaml_there_is_json(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "yaml", None)
    monkeypatch.delitem(sys.modules, "agents.yaml_data", raising=False)
    assert read_plain(write_plain(tmp_path / "a.json", {"a": 1})) == {"a": 1}
    with pytest.raises(MissingDependencyError, match=r"envkit\[zoo\]"):
        write_plain(tmp_path / "a.yaml", {"a": 1})


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_plain(tmp_path / "a.json")
