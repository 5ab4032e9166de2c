"""Specs from data."""

from __future__ import annotations

from typing import Any

from tensordict import TensorDictBase, is_non_tensor

from envkit.specs.base import TensorSpec
from envkit.specs.composite import Composite
from envkit.specs.continuous import Unbounded
from envkit.specs.nontensor import NonTensor

__all__ = ["make_composite_from_td"]


def make_composite_from_td(data: TensorDictBase, unsqueeze_null_shapes: bool = True) -> Composite:
    """Describe a TensorDict by an :class:`Unbounded` (or :class:`NonTensor`) spec for each entry.

    Args:
        data: the TensorDict; the Composite has its batch size and device.
        unsqueeze_null_shapes: give entries of shape ``()`` the shape ``(1,)``.

    >>> import torch
    >>> from tensordict import TensorDict
    >>> make_composite_from_td(TensorDict({"a": torch.zeros(2), "b": {"c": torch.tensor(1)}}))
    Composite(
        a: Unbounded(shape=[2], dtype=float32),
        b: Composite(
            c: Unbounded(shape=[1], dtype=int64),
            shape=[]),
        shape=[])
    """

    def describe(value: Any) -> TensorSpec:
        if is_non_tensor(value):
            example = value.data if hasattr(value, "data") else value.tolist()
            return NonTensor(value.batch_size, value.device, example_data=example)
        if isinstance(value, TensorDictBase):
            return make_composite_from_td(value, unsqueeze_null_shapes)
        shape = (1,) if unsqueeze_null_shapes and not value.shape else value.shape
        return Unbounded(shape, value.device, value.dtype)

    specs = {key: describe(data.get(key)) for key in data.keys()}
    return Composite(specs, shape=data.batch_size, device=data.device)
