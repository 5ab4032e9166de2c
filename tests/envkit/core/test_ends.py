"""Which trajectories are over."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from envkit import Binary, Composite, terminated_or_truncated


def flag(*values: bool) -> torch.Tensor:
    return torch.tensor(values).unsqueeze(-1)


def test_union_at_every_level():
    data = TensorDict(
        {
            "terminated": flag(False, True),
            "truncated": flag(False, False),
            "agent": {"terminated": flag(False, False), "truncated": flag(True, False)},
            "other": {"done": flag(False, False)},
        },
        [2],
    )
    assert terminated_or_truncated(data)
    assert data["_reset"].tolist() == [[False], [True]]
    assert data["agent", "_reset"].tolist() == [[True], [False]]
    assert data["other", "_reset"].tolist() == [[False], [False]]


def test_nothing_is_over():
    data = TensorDict({"terminated": flag(False, False)}, [2])
    assert not terminated_or_truncated(data)
    assert "_reset" not in data.keys()
    assert not terminated_or_truncated(data, write_full_false=True)
    assert data["_reset"].tolist() == [[False], [False]]


def test_other_key_or_none():
    data = TensorDict({"done": flag(True)}, [1])
    assert terminated_or_truncated(data, key=None)
    assert set(data.keys()) == {"done"}
    assert terminated_or_truncated(data, key="over")
    assert data["over"].item()


def test_spec_says_where():
    spec = Composite(agent=Composite(done=Binary(1, shape=(1, 1), dtype=torch.bool), shape=(1,)), shape=(1,))
    data = TensorDict({"done": flag(True), "agent": {"done": flag(False)}}, [1])
    assert not terminated_or_truncated(data, spec)
    with pytest.raises(KeyError, match="no done flag at"):
        terminated_or_truncated(TensorDict({"done": flag(True)}, [1]), spec)
