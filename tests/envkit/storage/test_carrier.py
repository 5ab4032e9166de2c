"""The short cuts give what the public ways of TensorDict give."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import LazyStackedTensorDict, NonTensorData, TensorDict

from envkit.storage import entries, peek, put, unchecked

few = settings(deadline=None, max_examples=30, derandomize=True)
names = st.sampled_from("abcd")
sizes = st.lists(st.integers(0, 3), max_size=2).map(torch.Size)


@st.composite
def contents(draw):
    """A batch size, and first-level entries that fit it, nested TensorDicts among them."""
    size = draw(sizes)
    values = {}
    for name in draw(st.sets(names)):
        tensor = torch.randn((*size, *draw(sizes)))
        values[name] = TensorDict({"x": tensor}, size) if draw(st.booleans()) else tensor
    return size, values


@few
@given(contents(), st.sampled_from([None, torch.device("cpu")]))
def test_unchecked_equals_the_constructor(content, device):
    size, values = content
    values = {
        name: TensorDict(v, size, device=device) if isinstance(v, TensorDict) else v for name, v in values.items()
    }
    found, expected = unchecked(dict(values), size, device), TensorDict(values, size, device=device)
    assert type(found) is TensorDict
    assert found.batch_size == expected.batch_size
    assert found.device == expected.device
    assert found.names == expected.names
    assert not found.is_locked
    assert list(found.keys(True)) == list(expected.keys(True))
    assert all(found[key] is value for key, value in expected.items(True, True))


def test_unchecked_behaves_like_any_other():
    td = unchecked({"a": torch.zeros(2, 3)}, torch.Size([2]))
    td["b", "c"] = torch.ones(2)
    assert td[0]["b", "c"] == 1
    assert torch.stack([td, td.clone()]).batch_size == (2, 2)
    assert td.to(torch.float64)["a"].dtype is torch.float64
    td.names = ["time"]
    assert td.names == ["time"]
    td.lock_()
    with pytest.raises(RuntimeError):
        td["a"] = torch.ones(2, 3)
    with pytest.raises(RuntimeError):
        td.unlock_().set("wrong", torch.zeros(3))


def test_unchecked_takes_over_the_dict():
    source = {"a": torch.zeros(2)}
    unchecked(source, torch.Size([2]))["b"] = torch.ones(2)
    assert set(source) == {"a", "b"}


@few
@given(contents())
def test_entries(content):
    size, values = content
    td = TensorDict(values, size)
    found = entries(td)
    assert list(found) == list(td.keys())
    assert all(found[name] is td.get(name) for name in found)


def test_entries_of_other_carriers():
    rows = [TensorDict({"a": torch.tensor(float(i))}) for i in range(2)]
    assert torch.equal(entries(LazyStackedTensorDict.lazy_stack(rows))["a"], torch.tensor([0.0, 1.0]))
    td = TensorDict({"a": torch.zeros(2)}, [2])
    with td.view(2, 1) as view:
        assert entries(view)["a"].shape == (2, 1)


@pytest.mark.parametrize("key", ["a", "b", "absent", ("b", "c"), ("b", "absent"), ("absent", "c")])
@pytest.mark.parametrize("lazy", [False, True])
def test_peek_equals_get(key, lazy):
    td = TensorDict({"a": torch.zeros(2), "b": {"c": torch.ones(2)}}, [2])
    if lazy:
        td = LazyStackedTensorDict.lazy_stack([td, td.clone()])
    found, expected = peek(td, key), td.get(key, None)
    assert (found is None) is (expected is None)
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected)


@pytest.mark.parametrize(
    "value", [torch.ones(2), TensorDict({"x": torch.ones(2)}, [2]), NonTensorData("text", batch_size=[2])]
)
@pytest.mark.parametrize("lazy", [False, True])
def test_put_equals_set(value, lazy):
    def make():
        td = TensorDict({"a": torch.zeros(2)}, [2])
        return LazyStackedTensorDict.lazy_stack(list(td.unbind(0))) if lazy else td

    found, expected = make(), make()
    put(found, "new", value)
    expected.set("new", value)
    assert set(found.keys(True)) == set(expected.keys(True))
    if isinstance(value, torch.Tensor):
        assert torch.equal(found["new"], expected["new"])


def test_put_respects_locks():
    td = TensorDict({"a": torch.zeros(2)}, [2]).lock_()
    with pytest.raises(RuntimeError):
        put(td, "b", torch.zeros(2))
