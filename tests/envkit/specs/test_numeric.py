from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envkit.specs.numeric import is_integral, limits, narrow, to_integers, widen

few = settings(deadline=None, max_examples=60, derandomize=True)
INTS = [
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int64,
    torch.uint16,
    torch.uint32,
    torch.uint64,
]


@few
@given(st.sampled_from(INTS), st.data())
def test_widen_keeps_order_and_inverts(dtype, data):
    low, high = limits(dtype)
    numbers = data.draw(st.lists(st.integers(low, high), min_size=1, max_size=5))
    value = torch.tensor(numbers, dtype=dtype)
    wide = widen(value)
    assert torch.equal(narrow(wide, dtype), value)
    assert torch.equal(
        wide.argsort(stable=True), torch.from_numpy(np.array(numbers, dtype=object).argsort(kind="stable"))
    )


@few
@given(st.sampled_from(INTS[1:]), st.sampled_from(INTS[1:]), st.data())
def test_to_integers_between_integers(source, target, data):
    number = data.draw(st.integers(*limits(source)))
    low, high = limits(torch.uint64 if target is torch.uint64 else torch.int64)
    found = to_integers(torch.tensor(number, dtype=source), target)
    # Numbers that the target holds arrive; others may stop at the limit of 64 bits, or be left for a clamp.
    expected = min(max(number, low), high)
    assert found == widen(torch.tensor(expected, dtype=torch.uint64 if target is torch.uint64 else torch.int64))


@pytest.mark.parametrize(
    ("number", "rounded"),
    [(0.4, 0), (2.6, 3), (-2.6, -3), (float("nan"), 0), (1e30, 2**63 - 1024), (-1e30, -(2**63))],
)
def test_to_integers_from_floats(number, rounded):
    assert to_integers(torch.tensor(number), torch.int64).item() == rounded


def test_to_integers_from_floats_to_unsigned():
    value = torch.tensor([-3.0, 2.0, 1e30])
    assert narrow(to_integers(value, torch.uint64), torch.uint64).tolist() == [0, 2, 2**64 - 2048]
    assert to_integers(torch.tensor(2 + 3j), torch.int64).item() == 2


def test_kinds():
    assert is_integral(torch.uint16)
    assert not is_integral(torch.bfloat16)
    assert not is_integral(torch.complex64)
    assert limits(torch.bool) == (0, 1)
