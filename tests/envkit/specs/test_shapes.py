from __future__ import annotations

import pytest
import torch

from envkit.errors import SpecError
from envkit.specs.shapes import as_size, compact, describe_shape, index_op, matches


def test_as_size():
    assert as_size(3) == torch.Size([3])
    assert as_size(iter((1, -1))) == torch.Size([1, -1])
    with pytest.raises(SpecError, match=r"-1 for an unknown size, found \(2, -3\)"):
        as_size((2, -3))


@pytest.mark.parametrize(
    ("found", "expected", "answer"),
    [
        ((2, 3), (2, 3), True),
        ((5, 2, 3), (2, 3), True),
        ((5, 2, 3), (), True),
        ((3,), (2, 3), False),
        ((3, 2), (2, 3), False),
        ((5, 9, 3), (-1, 3), True),
        ((3,), (-1, 3), False),
        ((9, 4), (-1, 3), False),
        ((), (-1,), False),
    ],
)
def test_matches(found, expected, answer):
    assert matches(torch.Size(found), torch.Size(expected)) is answer


def test_describe_shape():
    assert describe_shape((2, -1)) == "[2, ?]"


def test_compact_keeps_what_is_stored():
    tensor = torch.arange(3)[:, None].expand(3, 4)
    assert compact(tensor).shape == (3, 1)
    assert torch.equal(compact(tensor).expand(3, 4), tensor)


@pytest.mark.parametrize(
    "index",
    [
        0,
        -1,
        slice(1, None),
        (0, 1),
        (..., 1),
        (None, ..., 0),
        (slice(None), [1, 0]),
        torch.tensor([[True] * 4] * 3),
    ],
)
def test_index_op_leaves_trailing_dimensions(index):
    values = torch.arange(24).reshape(3, 4, 2)
    picked = index_op(index, 2)(values)
    assert torch.equal(picked[..., 0], values[..., 0][index])
    assert torch.equal(picked[..., 1], values[..., 1][index])


def test_index_op_refuses_trailing_dimensions():
    with pytest.raises(SpecError, match="at most 2 indexed dimensions, found 3"):
        index_op((0, 0, 0), 2)
    with pytest.raises(SpecError, match="at most one ellipsis, found 2"):
        index_op((..., ...), 2)
