"""``torch.stack`` of specs: which class of spec comes out."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from envkit.specs.base import TORCH_FUNCTIONS, TensorSpec
from envkit.specs.composite import Composite
from envkit.specs.spec_stack import SpecStack
from envkit.specs.stacked import Stacked
from envkit.specs.stacked_composite import StackedComposite

__all__ = ["stack"]


def stack(specs: Sequence[TensorSpec], dim: int = 0) -> TensorSpec:
    """Return the spec of stacks of values, one of each spec; ``torch.stack`` of specs calls it.

    - Equal specs give that spec with one more dimension.
    - Unequal ones are merged where a spec of their class describes the result: bounds, numbers of categories and
      masks are stacked, Composites are merged entry by entry.
    - What remains of leaves (other classes, shapes or fields) gives a :class:`Stacked`, and what remains of
      Composites (other keys, entries of unequal shapes) a :class:`StackedComposite`.

    Raises:
        SpecError: if a leaf meets a Composite, or leaves differ in dtype, device or number of dimensions, or
            Composites in shape or device; the message shows both.

    >>> from envkit.specs import Bounded, Unbounded
    >>> torch.stack([Bounded([0.0], 1), Bounded([0.5], 2)])
    Bounded(shape=[2, 1], low=[[0.0], [0.5]], high=[[1.0], [2.0]], dtype=float32)
    >>> torch.stack([Bounded(0, 1, (2,)), Unbounded((3,))])
    Stacked(
        Bounded(shape=[2], low=0.0, high=1.0, dtype=float32),
        Unbounded(shape=[3], dtype=float32),
        shape=[2, ?], stack_dim=0)
    """
    specs = list(specs)
    first = specs[0]
    position = first._dim(dim, extra=1)
    if all(spec == first for spec in specs):
        wide = first.unsqueeze(position)
        return wide.expand(*wide.shape[:position], len(specs), *wide.shape[position + 1 :])
    # Made first, as it refuses what has no stack at all.
    kind: type[SpecStack] = StackedComposite if isinstance(first, Composite) else Stacked
    unmerged = kind(*specs, dim=position)
    merged = first._merged(specs, position)
    return unmerged if merged is None else merged


TORCH_FUNCTIONS[torch.stack] = stack
