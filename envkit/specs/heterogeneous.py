"""Specs that hold stacks of unequal specs: found, and made alike."""

from __future__ import annotations

from typing import Any

import torch

from envkit.specs.base import TensorSpec
from envkit.specs.composite import Composite
from envkit.specs.continuous import Unbounded
from envkit.specs.keys import EntryError, split_key
from envkit.specs.nontensor import NonTensor
from envkit.specs.spec_stack import SpecStack
from envkit.specs.stacked_composite import StackedComposite

__all__ = ["check_no_exclusive_keys", "consolidate_spec", "contains_lazy_spec"]


def contains_lazy_spec(spec: TensorSpec) -> bool:
    """Whether ``spec`` is, or has among its entries, a :class:`Stacked` or :class:`StackedComposite`.

    >>> from envkit.specs import Bounded
    >>> stack = torch.stack([Unbounded((2,)), Bounded(0, 1, (2,))])
    >>> contains_lazy_spec(Composite(a=stack, shape=(2,))), contains_lazy_spec(Unbounded((2,)))
    (True, False)
    """
    if isinstance(spec, SpecStack):
        return True
    return isinstance(spec, Composite) and any(contains_lazy_spec(s) for s in spec.values() if s is not None)


def check_no_exclusive_keys(spec: TensorSpec) -> bool:
    """Whether all elements of each :class:`StackedComposite` in ``spec`` have the same keys.

    >>> stack = torch.stack([Composite(a=Unbounded((2,))), Composite(b=Unbounded((2,)))])
    >>> check_no_exclusive_keys(stack), check_no_exclusive_keys(consolidate_spec(stack))
    (False, True)
    """
    if isinstance(spec, StackedComposite):
        return not spec.exclusive_keys() and all(check_no_exclusive_keys(e) for e in spec.unbind(spec.stack_dim))
    return not isinstance(spec, Composite) or all(check_no_exclusive_keys(s) for s in spec.values() if s is not None)


def consolidate_spec(spec: TensorSpec) -> Any:
    """Give all elements of each :class:`StackedComposite` the same keys.

    An element that lacks an entry gets an empty one: of the entry's dtype and number of dimensions, in which the
    sizes after the batch size are 0.

    Raises:
        SpecError: if an entry has no dimension after the batch size, or is a stack, so that nothing like it is
            empty; the message names it.

    >>> stack = torch.stack([Composite(a=Unbounded((2,))), Composite(b=Unbounded((3,)))])
    >>> consolidate_spec(stack)[0]
    Composite(
        a: Unbounded(shape=[2], dtype=float32),
        b: Unbounded(shape=[0], dtype=float32),
        shape=[])
    """
    if isinstance(spec, StackedComposite):
        elements = [consolidate_spec(element) for element in spec.unbind(spec.stack_dim)]
        for key, owners in spec.exclusive_keys().items():
            example = elements[owners[0]][key]
            for i, element in enumerate(elements):
                if i not in owners:
                    element.set(key, _empty(example, key, len(element.shape)))
        return torch.stack(elements, spec.stack_dim)
    if isinstance(spec, Composite):
        consolidated = spec.clone()
        for name, entry in spec.items():
            if isinstance(entry, Composite):
                consolidated.set(name, consolidate_spec(entry))
        return consolidated
    return spec.clone()


def _empty(spec: Any, key: Any, batch_dims: int) -> Any:
    """Return a spec like ``spec`` whose values have no elements."""
    if spec is None:
        return None
    if isinstance(spec, SpecStack):
        raise EntryError(key, f"expected a leaf or a Composite that only some elements have, found {spec}")
    if isinstance(spec, Composite):
        entries = {k: _empty(s, (*split_key(key), k), batch_dims) for k, s in spec.items()}
        return Composite(entries, shape=spec.shape, device=spec.device)
    if len(spec.shape) == batch_dims:
        raise EntryError(key, f"expected a dimension after the batch size that can be empty, found {spec}")
    shape = torch.Size((*spec.shape[:batch_dims], *[0] * (len(spec.shape) - batch_dims)))
    if isinstance(spec, NonTensor) or spec.dtype is None:
        return NonTensor(shape, spec.device)
    return Unbounded(shape, spec.device, spec.dtype)
