"""Specs from data."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import LazyStackedTensorDict, TensorDictBase, is_non_tensor

from envkit.specs.base import TensorSpec
from envkit.specs.composite import Composite
from envkit.specs.continuous import Unbounded
from envkit.specs.keys import named_call
from envkit.specs.nontensor import NonTensor
from envkit.specs.stacked_composite import StackedComposite

__all__ = ["make_composite_from_td"]


def make_composite_from_td(
    data: TensorDictBase, unsqueeze_null_shapes: bool = True, dynamic_shape: bool = False
) -> Composite:
    """Describe a TensorDict by an :class:`Unbounded` (or :class:`NonTensor`) spec for each entry.

    Args:
        data: the TensorDict; the Composite has its batch size and device. A lazy stack whose elements differ in
            keys or shapes is described by a :class:`StackedComposite`.
        unsqueeze_null_shapes: give entries of shape ``()`` the shape ``(1,)``.
        dynamic_shape: leave the last size of each entry open (-1), unless it belongs to the batch size.

    Raises:
        SpecError: if elements of a lazy stack differ in the dtype or number of dimensions of an entry; the message
            names it.

    >>> from tensordict import TensorDict
    >>> make_composite_from_td(TensorDict({"a": torch.zeros(2), "b": {"c": torch.tensor(1)}}))
    Composite(
        a: Unbounded(shape=[2], dtype=float32),
        b: Composite(
            c: Unbounded(shape=[1], dtype=int64),
            shape=[]),
        shape=[])
    >>> make_composite_from_td(TensorDict({"a": torch.zeros(4, 2)}, 4), dynamic_shape=True)["a"].shape
    torch.Size([4, -1])
    """
    options = (unsqueeze_null_shapes, dynamic_shape)
    if isinstance(data, LazyStackedTensorDict):
        elements = [make_composite_from_td(element, *options) for element in data.tensordicts]
        stacked: Any = torch.stack(elements, data.stack_dim)  # type: ignore[arg-type]
        if isinstance(stacked, StackedComposite):
            return stacked

    def describe(value: Any) -> TensorSpec:
        if is_non_tensor(value):
            example = value.data if hasattr(value, "data") else value.tolist()
            return NonTensor(value.batch_size, value.device, example_data=example)
        if isinstance(value, TensorDictBase):
            return make_composite_from_td(value, *options)
        shape = value.shape
        if unsqueeze_null_shapes and not shape:
            shape = torch.Size((1,))
        elif dynamic_shape and len(shape) > data.batch_dims:
            shape = torch.Size((*shape[:-1], -1))
        return Unbounded(shape, value.device, value.dtype)

    specs = {key: named_call(key, describe, data.get(key)) for key in data.keys()}
    return Composite(specs, shape=data.batch_size, device=data.device)
