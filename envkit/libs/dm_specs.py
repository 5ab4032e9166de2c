"""Specs of dm_env, which dm_control and Melting Pot describe their data by."""

from __future__ import annotations

from typing import Any

import numpy as np

from envkit.errors import UnsupportedSpaceError
from envkit.specs import Bounded, Categorical, TensorSpec, Unbounded
from envkit.specs.convert import torch_dtype

__all__ = ["spec_from_array"]


def spec_from_array(name: str, spec: Any) -> TensorSpec:
    """The spec of a dm_env one, a number being a vector of one."""
    if not hasattr(spec, "dtype") or not hasattr(spec, "shape"):
        raise UnsupportedSpaceError(f"{name!r}: expected a dm_env.specs.Array, found {type(spec).__name__}")
    if np.dtype(spec.dtype).kind not in "biuf":
        raise UnsupportedSpaceError(f"{name!r}: expected numbers, found {spec}")
    dtype = torch_dtype(spec.dtype)
    if hasattr(spec, "num_values"):
        return Categorical(int(spec.num_values), tuple(spec.shape), dtype=dtype)
    shape = tuple(spec.shape) or (1,)
    low, high = getattr(spec, "minimum", -np.inf), getattr(spec, "maximum", np.inf)
    if np.isneginf(low).all() and np.isposinf(high).all():
        return Unbounded(shape, dtype=dtype)
    return Bounded(low, high, shape, dtype=dtype)
