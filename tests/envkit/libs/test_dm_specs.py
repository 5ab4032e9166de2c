from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from envkit import Bounded, Categorical, Unbounded
from envkit.errors import UnsupportedSpaceError
from envkit.libs.dm_specs import spec_from_array


def array(shape, dtype, **further):
    """Looks as dm_env's specs do, which not everyone has."""
    return SimpleNamespace(shape=shape, dtype=np.dtype(dtype), **further)


@pytest.mark.parametrize(
    ("given", "spec"),
    [
        (array((3,), "float64"), Unbounded((3,), dtype=torch.float64)),
        (array((), "float32"), Unbounded((1,), dtype=torch.float32)),
        (array((2,), "float32", minimum=-1.0, maximum=1.0), Bounded(-1.0, 1.0, (2,), dtype=torch.float32)),
        (array((2,), "float32", minimum=-np.inf, maximum=np.inf), Unbounded((2,), dtype=torch.float32)),
        (array((4, 4, 3), "uint8", minimum=0, maximum=255), Bounded(0, 255, (4, 4, 3), dtype=torch.uint8)),
        (array((), "int64", num_values=5), Categorical(5, (), dtype=torch.int64)),
    ],
)
def test_kinds(given, spec):
    assert spec_from_array("it", given) == spec


def test_bounded_on_one_side():
    spec = spec_from_array("it", array((2,), "float32", minimum=np.array([0.0, -np.inf]), maximum=np.inf))
    assert isinstance(spec, Bounded)
    assert spec.is_in(torch.tensor([0.0, -5.0]))
    assert not spec.is_in(torch.tensor([-1.0, 0.0]))


def test_errors_name_the_key():
    with pytest.raises(UnsupportedSpaceError, match=r"'it': expected a dm_env.specs.Array, found int"):
        spec_from_array("it", 3)
    with pytest.raises(UnsupportedSpaceError, match="'it': expected numbers, found"):
        spec_from_array("it", array((), "<U3"))
