from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from envkit import Binary, Bounded, Categorical, Composite, EnvDataError, OneHot, Unbounded, spec_from_space
from envkit.libs.numpy_rows import row_reader, row_writer
from envkit.storage import Slab

SPACES = {
    "box": spaces.Box(-1.0, 1.0, (3,), np.float32),
    "box64": spaces.Box(-1.0, 1.0, (2, 2), np.float64),
    "scalar_box": spaces.Box(-1.0, 1.0, (), np.float32),
    "image": spaces.Box(0, 255, (2, 2, 3), np.uint8),
    "discrete": spaces.Discrete(5),
    "discrete_from_three": spaces.Discrete(5, start=3),
    "multi_discrete": spaces.MultiDiscrete([3, 4]),
    "multi_discrete_from": spaces.MultiDiscrete([3, 4], start=[1, -2]),
    "multi_binary": spaces.MultiBinary(4),
    "dict": spaces.Dict(a=spaces.Discrete(3, start=1), b=spaces.Dict(c=spaces.Box(0, 1, (2,)))),
    "tuple": spaces.Tuple((spaces.Discrete(3), spaces.MultiBinary(2))),
    "text": spaces.Text(5),
}


def bound(spec, rows=3):
    slab = Slab(Composite(x=spec), rows)
    return slab, row_writer(spec, slab.arrays, "x"), row_reader(spec, slab.arrays, "x")


def equal(first, second):
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, tuple):
        return len(first) == len(second) and all(map(equal, first, second))
    return np.array_equal(first, second)


@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize("name", SPACES)
def test_samples_come_back_as_they_were(name, one_hot):
    space = SPACES[name]
    space.seed(0)
    spec = spec_from_space(space, one_hot=one_hot)
    slab, write, read = bound(spec)
    for row in (0, 2, 1, 1):
        sample = space.sample()
        write(row, sample)
        assert equal(read(row), sample)
        assert spec.is_in(slab.reader(slab.columns)(row)["x"])


@pytest.mark.parametrize("name", sorted(SPACES.keys() - {"text"}))
def test_random_values_are_actions_of_the_space(name):
    space = SPACES[name]
    spec = spec_from_space(space)
    slab, _, read = bound(spec)
    for row in range(3):
        slab.writer(slab.columns)(row, Composite(x=spec).rand())
        assert read(row) in space


def test_actions_are_the_simulators_to_change():
    slab, write, read = bound(Unbounded((2,)))
    write(0, np.ones(2, np.float32))
    read(0)[:] = 5.0
    assert slab.columns["x"][0].tolist() == [1.0, 1.0]


def test_values_are_copied():
    slab, write, _ = bound(Unbounded((2,)))
    buffer = np.ones(2, np.float32)
    write(0, buffer)
    buffer[:] = 9.0
    assert slab.columns["x"][0].tolist() == [1.0, 1.0]


def test_discrete_actions_are_hashable_and_index_tables():
    _, write, read = bound(Categorical(4))
    write(1, 2)
    assert {2: "two"}[read(1)] == "two"
    assert [10, 20, 30][read(1)] == 30


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        (Unbounded((2,)), [1.0, 2.0]),
        (Unbounded((2,)), [1, 2]),
        (Unbounded(()), 3.0),
        (Unbounded(()), np.float32(3.0)),
        (Bounded(0, 255, (2,), dtype=torch.uint8), [0, 255]),
        (Categorical(5), np.int64(4)),
        (Categorical(5), np.uint8(4)),
        (Categorical(5), np.array(4)),
        (OneHot(3), 2),
        (Binary(2, (2,)), [0, 1]),
    ],
)
def test_accepts_what_loses_nothing(spec, value):
    slab, write, _ = bound(spec)
    write(0, value)
    assert spec.is_in(slab.columns["x"][0])
    if not isinstance(spec, OneHot):
        assert np.array_equal(slab.arrays["x"][0], value)


@pytest.mark.parametrize(
    ("spec", "value", "message"),
    [
        (Unbounded((4,)), np.ones(1, np.float32), r"'x': expected shape \[4\], found \[1\]"),
        (Unbounded((4,)), np.float32(1.0), r"'x': expected shape \[4\], found \[\]"),
        (Unbounded((2, 3)), np.ones((3, 2), np.float32), r"expected shape \[2, 3\], found \[3, 2\]"),
        (Bounded(0, 255, (1,), dtype=torch.uint8), np.array([300]), "'x': expected dtype uint8, found int64"),
        (Bounded(0, 255, (1,), dtype=torch.uint8), [300], "'x': expected dtype uint8, found int64"),
        (Unbounded((1,), dtype=torch.int64), np.array([0.5]), "'x': expected dtype int64, found float64"),
        (Unbounded((1,)), np.array([None]), "'x': expected dtype float32, found object"),
        (Unbounded((1,)), np.array([1j]), "'x': expected dtype float32, found complex"),
        (Categorical(5), 1.0, "'x': expected an integer, found 1.0"),
        (Categorical(5), np.array([1]), r"'x': expected an integer, found array\(\[1\]\)"),
        (Categorical(5), None, "'x': expected an integer, found None"),
        (Binary(2, (2,)), [0, 0.5], "'x': expected Binary"),
        (OneHot(3), 3, "'x': expected OneHot"),
    ],
)
def test_refuses_what_numpy_would_bend(spec, value, message):
    slab, write, _ = bound(spec)
    with pytest.raises(EnvDataError, match=message):
        write(0, value)
    assert not slab.columns["x"].any()


def test_float64_for_float32_is_cast_with_one_warning(recwarn):
    slab, write, _ = bound(Unbounded((1,)))
    for row in range(3):
        write(row, np.array([0.1 * row]))
    assert [str(w.message) for w in recwarn] == ["'x': expected dtype float32, found float64; it is cast at every step"]
    assert slab.columns["x"].flatten().tolist() == [np.float32(0.1 * row) for row in range(3)]


def test_trees_name_the_entry():
    spec = spec_from_space(SPACES["dict"])
    _, write, _ = bound(spec)
    with pytest.raises(EnvDataError, match=r"\('x', 'b'\) is missing: expected keys \['a', 'b'\], found \['a'\]"):
        write(0, {"a": 1})
    with pytest.raises(EnvDataError, match=r"\('x', 'b'\).*expected a mapping with keys \['c'\], found list"):
        write(0, {"a": 1, "b": [1.0]})
    with pytest.raises(EnvDataError, match=r"\('x', 'b', 'c'\).*expected shape \[2\], found \[3\]"):
        write(0, {"a": 1, "b": {"c": np.ones(3, np.float32)}})


def test_the_root_of_a_tree():
    spec = spec_from_space(SPACES["dict"])
    slab = Slab(spec, 2)
    value = {"a": 3, "b": {"c": np.array([0.25, 0.5], np.float32)}}
    row_writer(spec, slab.arrays, ())(1, value)
    assert slab.columns["a"].tolist() == [0, 2]
    assert equal(row_reader(spec, slab.arrays, ())(1), value)


def test_leaves_of_no_fixed_layout():
    slab, write, read = bound(Unbounded((-1,)))
    for row in range(3):
        write(row, np.ones(row, np.float32))
    assert [len(read(row)) for row in range(3)] == [0, 1, 2]
    assert isinstance(slab.columns["x"], list)
