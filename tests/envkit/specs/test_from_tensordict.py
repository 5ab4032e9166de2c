from __future__ import annotations

import torch
from tensordict import NonTensorData, NonTensorStack, TensorDict

from envkit.specs import Composite, NonTensor, Unbounded, make_composite_from_td


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
