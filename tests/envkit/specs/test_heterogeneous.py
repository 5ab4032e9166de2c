from __future__ import annotations

import pytest
import torch

from envkit.errors import SpecError
from envkit.specs import (
    Bounded,
    Composite,
    NonTensor,
    Unbounded,
    check_no_exclusive_keys,
    consolidate_spec,
    contains_lazy_spec,
)


def team():
    first = Composite(a=Unbounded((2,)), n={"x": Bounded(0, 1, (3,))}, text=NonTensor((1,)), any=None)
    second = Composite(a=Unbounded((4,)), n={}, deep={"y": {"z": Unbounded((1,))}})
    return Composite(agents=torch.stack([first, second]))


def test_contains_lazy_spec():
    assert contains_lazy_spec(team())
    assert contains_lazy_spec(torch.stack([Unbounded((2,)), Unbounded((3,))]))
    assert contains_lazy_spec(Composite(n={"a": torch.stack([Unbounded((2,)), Bounded(0, 1, (2,))])}))
    assert not contains_lazy_spec(Composite(a=Unbounded((2,)), n={}, b=None))


def test_consolidate_fills_in_empty_entries():
    spec = team()
    assert not check_no_exclusive_keys(spec)
    whole = consolidate_spec(spec)
    assert check_no_exclusive_keys(whole)
    assert whole["agents"][1]["n", "x"] == Unbounded((0,))
    assert whole["agents"][1]["text"] == NonTensor((0,))
    assert whole["agents"][0]["deep", "y", "z"].shape == (0,)
    assert whole["agents"][0]["n"] == spec["agents"][0]["n"]
    assert whole.is_in(whole.rand((3,)))
    assert spec == team()
    assert consolidate_spec(Unbounded((2,))) == Unbounded((2,))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (Unbounded(()), "'a': expected a dimension after the batch size that can be empty"),
        (torch.stack([Unbounded((1,)), Bounded(0, 1, (1,))]), "'a': expected a leaf or a Composite that only some"),
    ],
)
def test_consolidate_refuses_what_cannot_be_empty(entry, message):
    with pytest.raises(SpecError, match=message):
        consolidate_spec(torch.stack([Composite(a=entry), Composite()]))
