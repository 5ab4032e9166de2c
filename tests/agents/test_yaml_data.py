import pytest

from agents.plain_files import MAX_BYTES
from agents.yaml_data import dump_yaml, parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("-.5", -0.5),
        ("5.", 5.0),
        (".inf", float("inf")),
        ("-12", -12),
        ("true", True),
        ("null", None),
        ("", None),
        ("no", "no"),
        ("1:30", "1:30"),
        ("0x10", "0x10"),
        ("2020-01-01", "2020-01-01"),
        ("'1'", "1"),
        ("{a: [1, x]}", {"a": [1, "x"]}),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, value):
    parsed = parse_yaml(text).data
    assert parsed == value
    assert type(parsed) is type(value)


def test_lines_are_known_for_every_entry():
    document = parse_yaml("name: x\nagent:\n  lr: 1e-3\n  sizes:\n    - 64\n    - 32\n")
    assert document.lines[("name",)] == 1
    assert document.lines[("agent", "lr")] == 3
    assert document.lines[("agent", "sizes", 1)] == 6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: !!python/object/apply:os.system [ls]", r"my.yaml:2: plain data has no tag .*os.system"),
        ("a: !!timestamp 2020-01-01", "my.yaml:1: plain data has no tag"),
        ("a: !!binary aGk=", "my.yaml:1: plain data has no tag"),
        ("a: &x [1]\nb: *x", r"my.yaml:2: aliases \(\*name\) are not allowed"),
        ("a: 1\nb: 2\na: 3", "my.yaml:3: 'a' is given twice, first on line 1"),
        ("1: 2", "my.yaml:1: expected a word as key, found '1'"),
        ("? [1, 2]\n: 3", "my.yaml:1: expected a word as key"),
        ("a: b: c", "my.yaml:1: mapping values are not allowed here"),
        ("a: [1", "my.yaml:1"),
        ("!!bool x", "my.yaml"),
        ("9" * 5000, "my.yaml"),
        ("[" * 100_000, "my.yaml: nested too deeply"),
        ("a: 'x" + "x" * MAX_BYTES + "'", "my.yaml: 1,000,006 characters, expected at most 1,000,000"),
    ],
)
def test_what_is_not_plain_data_is_refused_with_its_line(text, message):
    with pytest.raises(ValueError, match=message):
        parse_yaml(text, "my.yaml")


def test_dump_is_read_back_unchanged():
    data = {
        "small": 1e-5,
        "large": 1e22,
        "word of a float": "1e-3",
        "words": ["no", "~", "", "null", "1:30", "0x10", "-.5", "5e3", "=", "<<", "2020-01-01", "é\n x", "\x85"],
        "nothing": None,
        "yes": True,
        "list": [1, 2.0],
        "empty": {},
    }
    text = dump_yaml(data)
    assert parse_yaml(text).data == data
    assert list(parse_yaml(text).data) == list(data)
