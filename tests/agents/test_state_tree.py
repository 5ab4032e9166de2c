"""State taken apart for a file, and put together again."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agents.state_tree import join_state, split_state

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5))
NAMES = st.one_of(st.text(max_size=5), st.sampled_from(["$tensor", "$array", "$tuple", "$pairs", "a.b", "a"]))
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(NAMES, inner, max_size=3),
        st.dictionaries(st.integers(), inner, max_size=3),
    ),
)


def through_json(plain):
    return json.loads(json.dumps(plain))


@given(TREES)
def test_plain_values_come_back(state):
    plain, tensors = split_state(state)
    assert tensors == {}
    found = join_state(through_json(plain), tensors)
    assert repr(found) == repr(state)  # which tells 1 from 1.0 and True


def test_tensors_come_back_under_their_names():
    state = {"net": {"w": torch.ones(2), "b": torch.tensor(3)}, "list": [torch.zeros(1, dtype=torch.bool)]}
    plain, tensors = split_state(state)
    assert sorted(tensors) == ["list.0", "net.b", "net.w"]
    found = join_state(through_json(plain), tensors)
    assert torch.equal(found["net"]["w"], torch.ones(2))
    assert found["list"][0].dtype is torch.bool


def test_paths_that_read_alike_are_told_apart():
    state = {"a": {"b": torch.zeros(1)}, "a.b": torch.ones(1)}
    plain, tensors = split_state(state)
    assert len(tensors) == 2
    found = join_state(through_json(plain), tensors)
    assert (found["a"]["b"].item(), found["a.b"].item()) == (0.0, 1.0)


def test_arrays_come_back_as_arrays():
    state = {"words": np.arange(4, dtype=np.uint8), "number": np.float64(2.5)}
    plain, tensors = split_state(state)
    found = join_state(through_json(plain), tensors)
    assert isinstance(found["words"], np.ndarray)
    assert found["words"].dtype == np.uint8
    assert found["words"].tolist() == [0, 1, 2, 3]
    assert found["number"] == 2.5


def test_gradients_stay_behind():
    _, tensors = split_state({"w": torch.ones(1, requires_grad=True)})
    assert not tensors["w"].requires_grad


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": [0, print]}, r"found builtin_function_or_method at 'a.1'"),
        ({"a": {"b": {1, 2}}}, r"found set at 'a.b'"),
        (object(), "found object at ''"),
    ],
)
def test_what_no_file_holds(state, message):
    with pytest.raises(TypeError, match=message):
        split_state(state)


def test_a_missing_tensor_is_named():
    plain, _ = split_state({"a": {"w": torch.ones(1)}})
    with pytest.raises(KeyError, match=r"a\.w"):
        join_state(plain, {})
