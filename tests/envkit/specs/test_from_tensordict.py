from __future__ import annotations

import pytest
import torch
from tensordict import LazyStackedTensorDict, NonTensorData, NonTensorStack, TensorDict

from envkit.errors import SpecError
from envkit.specs import Composite, NonTensor, StackedComposite, Unbounded, make_composite_from_td


def test_all_entries_are_described():
    data = TensorDict(
        {
            "a": torch.zeros(4, 3),
            "n": {"flag": torch.zeros(4, dtype=torch.bool)},
            "text": NonTensorData("hi", batch_size=(4,)),
            "texts": NonTensorStack("p", "q", "r", "s"),
        },
        batch_size=(4,),
    )
    spec = make_composite_from_td(data)
    assert spec == Composite(
        a=Unbounded((4, 3)),
        n={"flag": Unbounded((4,), dtype=torch.bool)},
        text=NonTensor((4,), example_data="hi"),
        texts=NonTensor((4,), example_data=["p", "q", "r", "s"]),
        shape=(4,),
    )
    assert spec.is_in(data)


def test_null_shapes():
    data = TensorDict({"a": torch.tensor(1.0)})
    assert make_composite_from_td(data)["a"].shape == (1,)
    assert make_composite_from_td(data, unsqueeze_null_shapes=False)["a"].shape == ()


def test_dynamic_shapes_spare_the_batch_size():
    data = TensorDict({"a": torch.zeros(4, 3), "b": torch.zeros(4), "n": {"c": torch.zeros(4, 2, 5)}}, 4)
    data["n"].batch_size = (4, 2)
    spec = make_composite_from_td(data, dynamic_shape=True)
    assert spec["a"].shape == (4, -1)
    assert spec["b"].shape == (4,)
    assert spec["n"].shape == (4, 2)
    assert spec["n", "c"].shape == (4, 2, -1)
    assert spec.is_in(data)


def lazy(*parts, dim=0):
    return LazyStackedTensorDict.lazy_stack([TensorDict(part) for part in parts], dim)


def test_lazy_stacks_of_equal_elements_are_plain():
    data = lazy({"a": torch.zeros(2), "text": NonTensorData("p")}, {"a": torch.ones(2), "text": NonTensorData("q")})
    spec = make_composite_from_td(data)
    assert spec == Composite(a=Unbounded((2, 2)), text=NonTensor((2,), example_data=["p", "q"]), shape=(2,))
    assert spec.is_in(data)


def test_lazy_stacks_of_unequal_elements_are_stacks():
    agents = lazy({"a": torch.zeros(2), "x": torch.zeros(1)}, {"a": torch.zeros(3)})
    data = TensorDict({"agents": agents, "b": torch.zeros(2, 1)}, batch_size=2)
    spec = make_composite_from_td(data)
    assert isinstance(spec["agents"], StackedComposite)
    assert spec["agents"].exclusive_keys() == {"x": [0]}
    assert spec["agents"][1] == Composite(a=Unbounded((3,)))
    assert spec.is_in(data)
    with pytest.raises(SpecError, match=r"\('n', 'a'\): cannot stack"):
        make_composite_from_td(TensorDict({"n": lazy({"a": torch.zeros(1)}, {"a": torch.zeros(1, 1)})}, 2))
