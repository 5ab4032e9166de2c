from __future__ import annotations

import numpy as np
import pytest
import torch
from tensordict import LazyStackedTensorDict, TensorDict

from envkit.errors import SpecError
from envkit.specs import Binary, Bounded, Categorical, Composite, NonTensor, Unbounded, Violation


def tree():
    return Composite(
        {"obs": Bounded(-1, 1, (4, 3)), "agent": {"mode": Categorical(5, (4,)), "text": NonTensor(())}},
        shape=(4,),
    )


def test_construction():
    assert Composite(a=Binary(1), shape=()) == Composite({"a": Binary(1)}, batch_size=())
    assert Composite({("x", "y"): None})["x"].shape == ()
    assert Composite({"shape": Binary(2)}, shape=())["shape"] == Binary(2)
    assert Composite(tree(), shape=(4,)) == tree()
    with pytest.raises(SpecError, match="shape and batch_size to agree"):
        Composite(shape=(1,), batch_size=(2,))
    with pytest.raises(SpecError, match="'a': expected a spec, a mapping or None, found int"):
        Composite(a=3)
    with pytest.raises(SpecError, match="key 3: expected a name or a tuple of names, found int"):
        Composite({3: None})


@pytest.mark.parametrize(
    "make",
    [
        lambda: Composite({"a": {"b": {"c": Unbounded((3,))}}}, shape=(4,)),
        lambda: Composite({("a", "b", "c"): Unbounded((3,))}, shape=(4,)),
        lambda: Composite(a=Composite(b=Composite(c=Unbounded((3,)))), shape=(4,)),
        lambda: Composite(a={"b": {}}, shape=(4,)).set(("a", "b", "c"), Unbounded((3,))),
    ],
)
def test_wrong_shapes_are_named(make):
    with pytest.raises(SpecError, match=r"\('a', 'b', 'c'\): expected a shape that starts with \[4\], found \[3\]"):
        make()


def test_nested_composites_adapt_to_the_shape():
    inner = Composite(a=Unbounded((4, 2)), t=NonTensor(()))
    outer = Composite(inner=inner, shape=(4,))
    assert outer["inner"].shape == outer["inner", "t"].shape == (4,)
    assert inner.shape == ()


def test_shape_setter():
    spec = Composite(a=Unbounded((4, 2)), n={"b": Unbounded((4,))})
    spec.shape = (4,)
    assert spec.shape == spec.batch_size == spec["n"].shape == (4,)
    with pytest.raises(SpecError, match=r"\('n', 'b'\): expected a shape that starts with \[4, 2\]"):
        spec.batch_size = (4, 2)
    assert spec.shape == (4,)


def test_devices():
    spec = Composite(a=Unbounded((2,), device="meta"), n={"b": Unbounded((2,))})
    assert spec.device is None
    assert spec.to("cpu")["a"].device.type == "cpu"
    assert spec.to("cpu").to("cpu") == spec.cpu()
    with pytest.raises(SpecError, match="'a': expected device cpu, found meta"):
        Composite(a=Unbounded((2,), device="meta"), device="cpu")
    with pytest.raises(SpecError, match=r"expected a device for a Composite, found torch\.float64"):
        spec.to(torch.float64)
    spec.device = "cpu"
    assert spec["a"].device == spec.device == torch.device("cpu")
    assert spec.rand().device == torch.device("cpu")
    spec.device = None
    assert spec.zero().device is None
    unmoved = Composite(n=Composite(b=Unbounded((2,), device="meta")), device="meta")
    assert unmoved["n"].device.type == "meta"


def test_dictionary():
    spec = tree()
    assert list(spec) == list(spec.keys()) == ["obs", "agent"]
    assert len(spec) == 2
    assert list(spec.keys(True)) == ["obs", "agent", ("agent", "mode"), ("agent", "text")]
    assert list(spec.keys(True, True)) == ["obs", ("agent", "mode"), ("agent", "text")]
    assert list(spec.keys(False, True)) == ["obs"]
    assert list(spec.values(True, True))[1] is spec["agent"]["mode"] is spec["agent", "mode"]
    assert dict(spec.items(True, True))["agent", "mode"] == Categorical(5, (4,))
    assert [key for key, _ in spec.leaves()] == ["obs", ("agent", "mode"), ("agent", "text")]
    assert "obs" in spec
    assert ("agent", "mode") in spec
    assert ("obs", "mode") not in spec
    assert 3 not in spec
    assert spec.get("nothing", None) is None
    assert spec.pop(("agent", "text")).shape == (4,)
    assert ("agent", "text") not in spec
    assert spec.pop("nothing", 7) == 7
    del spec["agent"]
    assert list(spec) == ["obs"]


@pytest.mark.parametrize("key", ["ob", ("agent", "mood"), ("obs", "x")])
def test_missing_keys_are_explained(key):
    spec = tree()
    for look in (spec.get, spec.__getitem__, spec.pop, spec.__delitem__, spec.separates):
        with pytest.raises(KeyError, match="is not a key; the keys are"):
            look(key)
    with pytest.raises(KeyError, match="did you mean 'obs'"):
        spec["ob"]


def test_update_merges():
    spec = tree()
    mode = spec["agent", "mode"]
    spec.update({"obs": Unbounded((4,)), "agent": {"text": None}, "new": {"x": None}})
    assert spec["agent", "mode"] is mode
    assert spec["agent", "text"] is None
    assert spec["obs"] == Unbounded((4,))
    assert ("new", "x") in spec
    assert spec.update(Composite(obs=None))["obs"] is None


def test_separates_and_empty():
    spec = tree()
    taken = spec.separates(("agent", "mode"), "nothing", default=None)
    assert list(taken.keys(True, True)) == [("agent", "mode")]
    assert ("agent", "mode") not in spec
    assert taken.shape == (4,)
    assert spec.empty().shape == (4,)
    assert spec.empty().is_empty()
    assert not Composite(a={}).is_empty()
    assert Composite(a={}).is_empty(recurse=True)


def test_values():
    spec = tree()
    for make in (spec.rand, spec.zero, spec.one):
        value = make((2,))
        assert isinstance(value, TensorDict)
        assert value.batch_size == value["agent"].batch_size == (2, 4)
        assert value["obs"].shape == (2, 4, 3)
    assert spec.zero()["agent"].get("text").batch_size == (4,)


def test_membership():
    spec = Composite(a=Categorical(3), n={"b": Bounded(0, 1, (2,))}, anything=None)
    good = TensorDict({"a": torch.tensor(1), "n": {"b": torch.zeros(2)}, "extra": torch.zeros(1)})
    assert spec.is_in(good) is True
    assert spec.is_in(good.to_dict()) is True
    assert spec.is_in(good.expand(5)) is True
    bad = {"a": torch.tensor(3), "n": {"b": torch.zeros(2, dtype=torch.int64)}}
    assert spec.is_in(bad) is False
    assert spec.violations(bad) == [
        Violation("a", "a category in [0, 2]", "3"),
        Violation(("n", "b"), "float32 of shape [2]", "int64 of shape [2]"),
    ]
    with pytest.raises(SpecError, match=r"'a': expected a category(.|\n)*\('n', 'b'\): expected float32"):
        spec.assert_is_in(bad)
    assert spec.violations({"n": torch.zeros(2)}) == [
        Violation("a", "Categorical(shape=[], n=3, dtype=int64)", "a missing key"),
        Violation("n", "a TensorDict or mapping with the keys ['b']", "Tensor"),
    ]
    assert spec.violations({"a": torch.tensor(1)})[0].expected == "an entry with the keys ['b']"
    assert spec.is_in({"a": torch.tensor(1)}) is False
    assert spec.is_in(torch.zeros(2)) is False


def test_membership_of_ragged_stacks():
    spec = Composite(obs=Unbounded((3, -1)), fixed=Binary(1))
    steps = [TensorDict({"obs": torch.zeros(3, n), "fixed": torch.zeros(1, dtype=torch.int8)}) for n in (1, 2, 5)]
    rollout = LazyStackedTensorDict(*steps, stack_dim=0)
    assert spec.is_in(rollout)
    steps[1]["obs"] = torch.full((3, 2), torch.nan)
    assert [v.key for v in spec.violations(rollout)] == ["obs"]


def test_type_check():
    spec = Composite(n={"b": Bounded(0, 1, (2,))}, anything=None)
    spec.type_check({"n": {"b": torch.full((2,), 9.0)}})
    spec.type_check({})
    with pytest.raises(SpecError, match=r"\('root', 'n', 'b'\): expected dtype float32, found int64"):
        spec.type_check({"n": {"b": torch.zeros(2, dtype=torch.int64)}}, "root")


def test_project_names_the_entry():
    spec = Composite(n={"b": Bounded(0, 1, (2,))})
    assert spec.project({"n": {"b": torch.full((2,), 9.0)}, "extra": 3}) == {
        "n": {"b": pytest.approx(torch.ones(2))},
        "extra": 3,
    }
    with pytest.raises(SpecError, match=r"\('n', 'b'\): cannot project: expected shape \[2\], found \[3\]"):
        spec.project({"n": {"b": torch.zeros(3)}})
    with pytest.raises(SpecError, match=r"\('n', 'b'\): expected Bounded.*found a missing key"):
        spec.project({"n": {}})
    with pytest.raises(SpecError, match="expected a TensorDict or mapping, found Tensor"):
        spec.project(torch.zeros(2))


def test_encode():
    spec = Composite(a=Categorical(3, start=1), n={"b": Bounded(0, 1, (2,))}, shape=())
    value = spec.encode({"a": 3, "n": {"b": np.zeros(2)}})
    assert spec.is_in(value)
    assert value["a"] == 2
    back = spec.to_numpy(value)
    assert back["a"] == 3
    assert np.array_equal(back["n"]["b"], [0, 0])
    assert spec.encode(value)["a"] == 2
    for wrong, message in [
        ({"a": 1}, "'n': expected an entry with the keys .*found a missing key"),
        ({"a": 1, "n": {"b": [0, 0]}, "x": 1}, "found the unknown key 'x'"),
        ({"a": 1.5, "n": {"b": [0, 0]}}, "'a': expected numbers that int64 can hold, found 1.5"),
        ({"a": 1, "n": {"b": [0, 0, 0]}}, r"\('n', 'b'\): expected shape \[2\], found \[3\]"),
        ([1, 2], "expected a mapping with the keys .*, found list"),
    ]:
        with pytest.raises(SpecError, match=message):
            spec.encode(wrong)
    assert Composite(a=None).encode({"a": torch.ones(2)})["a"].tolist() == [1.0, 1.0]


def test_enumerate():
    spec = Composite(a=Categorical(3), n={"b": Binary(1)}, anything=None)
    members = spec.enumerate()
    assert members.batch_size == (6,)
    assert members["a"].tolist() == [0, 0, 1, 1, 2, 2]
    assert members["n", "b"].flatten().tolist() == [0, 1, 0, 1, 0, 1]
    with pytest.raises(SpecError, match=r"'c': .*continuum"):
        Composite(c=Unbounded((1,))).cardinality()
    with pytest.raises(SpecError, match="at most 10000000 members"):
        Composite(c=Binary(30)).enumerate()


def test_indexing_acts_on_leading_dimensions():
    spec = tree()
    assert spec[0].shape == ()
    assert spec[0]["obs"].shape == (3,)
    assert spec[None, ..., 1:].shape == (1, 3)
    assert spec.unsqueeze(-1)["obs"].shape == (4, 1, 3)
    assert spec.reshape(2, 2)["agent", "mode"].shape == (2, 2)
    assert spec.flatten().shape == (4,)
    with pytest.raises(SpecError, match="at most 1 indexed dimensions"):
        spec[0, 0]
    with pytest.raises(SpecError, match=r"cannot expand to \[5\] a Composite of shape \[4\]"):
        spec.expand(5)


def test_stack():
    first, second = Composite(a=Bounded(0, 1, (2,)), b=None), Composite(a=Bounded(0, 2, (2,)), b=None)
    stacked = torch.stack([first, second], -1)
    assert stacked.shape == (2,)
    assert stacked[1] == second
    for other, message in [
        (
            Composite(a=Categorical(2), b=None),
            "'a': cannot stack specs of different kinds: expected the dtype of Bounded",
        ),
        (Composite(first, shape=(2,)), r"expected a Composite like Composite\("),
        (Binary(1), r"expected a Composite like Composite\("),
    ]:
        with pytest.raises(SpecError, match=message):
            torch.stack([first, other])


def test_stacks_of_unequal_shapes_are_refused_as_entries():
    ragged = torch.stack([Unbounded((2,)), Unbounded((3,))])
    with pytest.raises(SpecError, match=r"'obs': expected a spec of tensors, found .* \[2, \?\].* torch.stack those"):
        Composite(obs=ragged, shape=(2,))


def test_update_keeps_stacks_whole():
    stack = torch.stack([Composite(x=Binary(1)), Composite(y=Binary(1))])
    spec = Composite(agents={"z": Binary(1, shape=(2, 1))})
    assert spec.update({"agents": Composite(w=None)})["agents"].keys() == {"z", "w"}
    assert spec.update({"agents": stack})["agents"] == stack
    with pytest.raises(SpecError, match="cannot update a Composite: expected one set of entries"):
        spec.update(stack)


def test_clone():
    spec = tree()
    deep, shallow = spec.clone(), spec.clone(recurse=False)
    assert deep == shallow == spec
    assert deep["agent"] is not spec["agent"]
    assert shallow["agent"] is spec["agent"]
    del shallow["agent"]
    assert "agent" in spec


def test_repr():
    assert repr(tree()) == (
        "Composite(\n"
        "    obs: Bounded(shape=[4, 3], low=-1.0, high=1.0, dtype=float32),\n"
        "    agent: Composite(\n"
        "        mode: Categorical(shape=[4], n=5, dtype=int64),\n"
        "        text: NonTensor(shape=[4]),\n"
        "        shape=[4]),\n"
        "    shape=[4])"
    )
    assert repr(Composite(device="cpu")) == "Composite(shape=[], device=cpu)"
