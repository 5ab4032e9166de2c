from __future__ import annotations

import copy
import pickle

import pytest
import torch
from tensordict import LazyStackedTensorDict, TensorDict

from envkit.errors import LockedSpecError, SpecError
from envkit.specs import Binary, Bounded, Categorical, Composite, NonTensor, StackedComposite, Unbounded


def walker():
    return Composite(obs=Unbounded((2,)), act=Bounded(-1, 1, (1,)), arm={"grip": Categorical(3)})


def flyer():
    return Composite(obs=Unbounded((4,)), act=Bounded(-2, 2, (1,)), arm={}, wing=Binary(2))


def team():
    return torch.stack([walker(), flyer()])


def test_keys_are_those_that_all_elements_have():
    spec = team()
    assert isinstance(spec, StackedComposite)
    assert isinstance(spec, Composite)
    assert list(spec) == ["obs", "act", "arm"]
    assert spec.exclusive_keys() == {"wing": [1], ("arm", "grip"): [0]}
    assert spec["obs"].shape == (2, -1)
    assert spec["act"] == torch.stack([walker()["act"], flyer()["act"]])
    assert "wing" not in spec
    assert spec.get("wing", None) is None
    with pytest.raises(KeyError, match=r"only elements \[1\] of the stack have it"):
        spec["wing"]
    assert (spec.shape, spec.stack_dim, spec.device) == ((2,), 0, None)
    assert spec.has_dynamic_shape
    assert not spec.is_empty()


def test_unequal_keys_deep_down_leave_the_rest_merged():
    spec = torch.stack([Composite(a=Binary(1), n={"x": Binary(1)}), Composite(a=Binary(1), n={"y": Binary(1)})])
    assert type(spec) is Composite
    assert isinstance(spec["n"], StackedComposite)
    value = spec.rand((3,))
    assert isinstance(value["n"], LazyStackedTensorDict)
    assert spec.is_in(value)
    assert spec.is_in(LazyStackedTensorDict.lazy_stack([spec[0].rand(), spec[1].rand()]))
    assert not spec.has_dynamic_shape


def test_values_are_lazy_stacks():
    spec = team()
    value = spec.rand((5,))
    assert isinstance(value, LazyStackedTensorDict)
    assert (value.batch_size, value.stack_dim) == ((5, 2), 1)
    assert spec.is_in(value)
    assert spec.is_in(list(value.unbind(1)))
    assert walker().is_in(value[:, 0])
    assert spec["obs"].is_in(value.get("obs", as_list=True))
    rollout = LazyStackedTensorDict.lazy_stack([spec.rand() for _ in range(3)], 0)
    assert spec.is_in(rollout)


def test_violations_name_key_and_element():
    spec = team()
    value = spec.zero()
    value.tensordicts[1]["act"] = torch.full((1,), 9.0)
    del value.tensordicts[0]["arm", "grip"]
    assert [(v.key, v.found) for v in spec.violations(value)] == [
        (("arm", "grip"), "a missing key in element 0"),
        ("act", "9.0 at index [0] in element 1"),
    ]
    assert spec.is_in(value) is False
    for wrong in (TensorDict(), TensorDict(batch_size=3), [TensorDict()], 3, {"obs": 1}):
        assert spec.is_in(wrong) is False
        assert spec.violations(wrong)[0].expected.startswith("a stack of 2 TensorDicts along dim 0")


def test_project_encode_to_numpy():
    spec = team()
    value = spec.one((3,))
    value.tensordicts[0]["act"] = torch.full((3, 1), 9.0)
    projected = spec.project(value)
    assert spec.is_in(projected)
    assert value[0, 0]["act"] == 9
    assert projected[0, 0]["act"] == 1
    given = [
        {"obs": [1, 2], "act": [0.5], "arm": {"grip": 2}},
        {"obs": [1, 2, 3, 4], "act": [1.5], "arm": {}, "wing": [0, 1]},
    ]
    encoded = spec.encode(given)
    assert spec.is_in(encoded)
    arrays = spec.to_numpy(encoded)
    assert arrays[1]["wing"].tolist() == [0, 1]
    assert torch.equal(spec.encode(arrays)[1]["obs"], encoded[1]["obs"])
    assert spec.is_in(spec.encode(encoded))
    with pytest.raises(SpecError, match=r"'wing': element 1: expected .* found a missing key"):
        spec.encode([given[0], {**given[1], "wing": None}])
    with pytest.raises(SpecError, match="expected 2 values along dim 0, found a list of length 1"):
        spec.encode(given[:1])
    with pytest.raises(SpecError, match="'act'"):
        spec.type_check([TensorDict(), TensorDict({"act": torch.zeros(1, dtype=torch.int64)})])


def test_enumerate():
    spec = torch.stack([Composite(a=Categorical(2)), Composite(a=Categorical(2), b=Categorical(2))])
    assert spec.cardinality() == 8
    members = spec.enumerate()
    assert members.batch_size == (8, 2)
    assert spec.is_in(members)
    assert len({str([e.to_dict() for e in m.tensordicts]) for m in members.unbind(0)}) == 8


def test_indexing_and_shapes():
    spec = team()
    assert spec[0] == walker()
    assert spec[-1] == flyer()
    assert spec.unbind() == (walker(), flyer())
    assert spec[[1, 0]] == torch.stack([flyer(), walker()])
    assert spec[1:] == torch.stack([flyer()])
    wide = spec.expand(3, 2)
    assert (wide.shape, wide.stack_dim) == ((3, 2), 1)
    assert wide[1] == spec
    assert wide[:, 1] == flyer().expand(3)
    assert wide.is_in(wide.rand((4,)))
    assert wide.flatten(0, 1)[3] == flyer()
    assert wide.reshape(6).unflatten(0, (3, 2)) == wide
    assert spec.unsqueeze(0).squeeze(0) == spec
    assert torch.stack([walker().expand(3), flyer().expand(3)], 1) == wide


def test_as_an_entry():
    spec = Composite(agents=team().expand(4, 2), done=Binary(1, shape=(4, 1)), shape=(4,))
    assert list(spec.keys(True, True)) == [("agents", "obs"), ("agents", "act"), "done"]
    assert spec["agents", "obs"].shape == (4, 2, -1)
    assert spec.is_in(spec.rand((3,)))
    assert spec[0]["agents"] == team()
    assert spec.expand(2, 4).is_in(spec.expand(2, 4).rand())
    assert spec.violations({"done": spec["done"].rand()})[0].key == "agents"
    spec.set(("agents", "new"), Binary(1, shape=(4, 2, 1)))
    assert spec["agents"][0, 1]["new"] == Binary(1, shape=(1,))
    del spec["agents", "new"]
    assert spec == Composite(agents=team().expand(4, 2), done=Binary(1, shape=(4, 1)), shape=(4,))
    with pytest.raises(SpecError, match=r"'agents': expected a shape that starts with \[4\], found \[2\]"):
        Composite(agents=team(), shape=(4,))


def test_entries_are_set_in_all_elements():
    spec = team()
    spec["flag"] = Binary(1, shape=(2, 1))
    spec["n", "m"] = torch.stack([Unbounded((1,)), Unbounded((2,))])
    spec["map"] = {"x": Binary(1, shape=(2, 1))}
    spec["any"] = None
    assert spec[0]["n", "m"] == Unbounded((1,))
    assert spec[1]["n", "m"] == Unbounded((2,))
    assert spec[1]["map", "x"] == Binary(1, shape=(1,))
    assert spec["any"] is None
    spec.update({"flag": Binary(2, shape=(2, 2)), "arm": {"z": None}})
    assert spec[0]["arm"].keys() == {"grip", "z"}
    assert spec[1]["flag"] == Binary(2, shape=(2,))
    spec.update(torch.stack([Composite(only=None), Composite()]))
    assert spec.exclusive_keys()["only"] == [0]
    taken = spec.separates("obs", "flag")
    assert taken["obs"].shape == (2, -1)
    assert "obs" not in spec
    assert not spec.pop("act").is_locked
    assert "act" not in spec[0]
    before = spec.clone()
    with pytest.raises(SpecError, match=r"'bad': expected a shape that starts with \[2\]"):
        spec["bad"] = Binary(3)
    with pytest.raises(SpecError, match="'bad': expected a spec, a mapping or None, found int"):
        spec["bad"] = 3
    for missing in (lambda: spec.pop("wing"), lambda: spec.separates("obs"), lambda: spec.__delitem__("obs")):
        with pytest.raises(KeyError):
            missing()
    assert spec.separates("obs", default=None).is_empty()
    assert spec == before


def test_entries_read_are_views_that_refuse_changes():
    spec = team()
    with pytest.raises(LockedSpecError, match="set it through the stack"):
        spec["arm"].set("x", None)
    with pytest.raises(LockedSpecError):
        spec["arm"].unlock_()
    spec[0].set("x", None)
    assert spec == team()


def test_shape_and_device():
    spec = team().expand(3, 2)
    spec.shape = (3, 2)
    assert spec == team().expand(3, 2)
    with pytest.raises(SpecError, match=r"shape: expected 2 at dim 1, where the stack is, found \[3\]"):
        spec.batch_size = (3,)
    spec.device = "cpu"
    assert spec[0].device == spec.device == torch.device("cpu")
    assert spec.to("cpu") is spec
    assert team().to("cpu").device == torch.device("cpu")
    with pytest.raises(SpecError, match="dtype"):
        spec.to(torch.float64)


def test_lock():
    spec = Composite(agents=team(), shape=(2,)).lock_()
    for change in (
        lambda: spec["agents"].set("x", None),
        lambda: spec.set(("agents", "x"), None),
        lambda: spec["agents"].update({"x": None}),
        lambda: spec["agents"].pop("obs"),
        lambda: spec["agents"].separates("obs"),
        lambda: setattr(spec["agents"], "shape", (2,)),
        lambda: setattr(spec["agents"], "device", "cpu"),
        lambda: spec["agents"].unlock_(),
    ):
        with pytest.raises(LockedSpecError):
            change()
    assert spec["agents"] == team()
    spec.unlock_()
    spec.set(("agents", "x"), None)


def test_copies():
    spec = team()
    for twin in (spec.clone(), spec.clone(recurse=False), copy.deepcopy(spec), pickle.loads(pickle.dumps(spec))):
        assert twin == spec
        assert list(twin) == list(spec)
        twin["x"] = None
        assert "x" not in spec
    spec.lock_()
    restored = pickle.loads(pickle.dumps(spec))
    assert restored.is_locked
    restored.unlock_()["x"] = None
    assert spec != torch.stack([flyer(), walker()])
    assert spec != walker()


def test_none_in_some_elements():
    spec = torch.stack([Composite(a=None), Composite(a=Binary(1))])
    assert isinstance(spec, StackedComposite)
    assert spec["a"] is None
    assert spec.is_in([{}, {"a": torch.ones(1, dtype=torch.int8)}])
    assert not spec.is_in([{}, {}])


def test_a_plain_composite_refuses_lazy_stacks_of_unequal_shapes():
    spec = Composite(obs=Unbounded((2, 2)), shape=(2,))
    value = LazyStackedTensorDict.lazy_stack([TensorDict({"obs": torch.zeros(n)}) for n in (2, 3)], 0)
    assert spec.is_in(value) is False
    assert spec.violations(value)[0][:2] == ("obs", "a tensor of shape [2, 2]")
    for refused in (spec.project, spec.encode, spec.type_check):
        with pytest.raises(SpecError, match="'obs'"):
            refused(value)


def test_stacks_of_stacks():
    spec = torch.stack([team(), torch.stack([flyer(), walker()])])
    assert spec.shape == (2, 2)
    assert spec[1, 1] == walker()
    assert spec.is_in(spec.rand((3,)))


def test_wrong_elements():
    with pytest.raises(SpecError, match="expected at least one"):
        StackedComposite()
    with pytest.raises(SpecError, match="'obs': cannot stack specs of different kinds: expected the dtype"):
        torch.stack([walker(), Composite(obs=Unbounded((2,), dtype=torch.int64))])
    with pytest.raises(SpecError, match="expected a Composite like"):
        torch.stack([walker(), walker().to("cpu")])
    with pytest.raises(SpecError, match="expected a Composite like"):
        torch.stack([walker(), NonTensor(())])


def test_repr():
    spec = torch.stack([Composite(a=Binary(1), b=Binary(1)), Composite(a=Binary(2))])
    assert repr(spec) == (
        "StackedComposite(\n"
        "    a: Stacked(\n"
        "        Binary(shape=[1], dtype=int8),\n"
        "        Binary(shape=[2], dtype=int8),\n"
        "        shape=[2, ?], stack_dim=0),\n"
        "    b (element 0): Binary(shape=[1], dtype=int8),\n"
        "    shape=[2], stack_dim=0)"
    )
