"""What a block of shared memory holds."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from tensordict import NestedKey

from envkit.core.plan import Plan
from envkit.specs import Categorical, Composite, Unbounded
from envkit.storage import Slab

__all__ = ["Applied", "Layout", "layout_of"]

PROGRESS = "row"

Applied = tuple[NestedKey, torch.Tensor]
"""A mask by its key, in shared memory."""


class Layout(NamedTuple):
    """A pair of slabs of a batch of envs, and the masks of the next command, one after the other in memory."""

    root: Composite
    following: Composite
    masks: Composite
    reset_keys: list[NestedKey]
    step_keys: list[NestedKey]

    def slabs(self, memory: np.ndarray, rows: int) -> tuple[Slab, Slab, Slab]:
        """The slabs in a block's bytes."""
        out, first = [], 0
        for spec, count in self._parts(rows):
            out.append(Slab(spec, count, memory=memory[first:]))
            first += Slab.size_of(spec, count)
        return out[0], out[1], out[2]

    def applied(self, masks: Slab, where: Any = slice(None)) -> tuple[list[Applied], list[Applied]]:
        """The reset masks and the step masks of some envs, each in the order in which commands number them."""
        held: dict[Any, Any] = masks.columns
        resets = [(key, held[key][0, where]) for key in self.reset_keys]
        return resets, [(key, held[key][0, where]) for key in self.step_keys]

    def progress(self, masks: Slab, where: Any = slice(None)) -> np.ndarray:
        """The rows to which some envs have come, int64 ``[envs]``."""
        column: Any = masks.columns[PROGRESS]
        return column[0, where].numpy().reshape(len(column[0, where]), -1)[:, 0]

    def size(self, rows: int) -> int:
        """Bytes for slabs of so many rows."""
        return max(1, sum(Slab.size_of(spec, count) for spec, count in self._parts(rows)))

    def _parts(self, rows: int) -> list[tuple[Composite, int]]:
        return [(self.root, rows + 1), (self.following, rows), (self.masks, 1)]


def layout_of(plan: Plan) -> Layout:
    """The layout for a batch of this plan, all of whose leaves have a fixed shape; the memory is the CPU's."""
    shapes = {group.reset: group.shape for group in plan.done_groups}
    step_keys: list[NestedKey] = []
    for prefix in ((), *plan.levels):
        shape = plan.level_shape(prefix)
        if shape is not None:
            key: NestedKey = (*prefix, "_step") if prefix else "_step"
            step_keys.append(key)
            shapes[key] = shape
    masks: Composite = Composite(shape=plan.batch_size)
    for key, shape in shapes.items():
        masks[key] = Categorical(2, shape=shape, dtype=torch.bool)
    masks[PROGRESS] = Unbounded((*plan.batch_size, 1), dtype=torch.int64)
    root, following = (spec if spec.device is None else spec.to("cpu") for spec in (plan.root_spec, plan.next_spec))
    return Layout(root, following, masks, plan.reset_keys, step_keys)
