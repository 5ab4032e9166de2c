"""The memory that a :class:`~envkit.ParallelEnv` shares with its workers."""

from __future__ import annotations

import functools
import weakref

import numpy as np
import torch

from envkit.batched.layout import Applied, Layout, layout_of
from envkit.core.plan import Plan
from envkit.storage import Slab
from envkit.storage.shared import SharedBlock, lease

__all__ = ["Blocks", "Home"]

FREE_BLOCKS = 8  # that are kept for the next slabs
SMALL = 4096  # elements of a row: larger ones are not zeroed when memory is used again, as steps write all of them


class Home:
    """Where a pair of slabs lies: a block of shared memory, laid out for a batch of ``envs``."""

    def __init__(self, block: SharedBlock, place: int, layout: int, envs: tuple[int, ...], rows: int) -> None:
        self.block, self.place, self.layout, self.envs, self.rows = block, place, layout, envs, rows
        # The masks of the next command, and the rows to which envs have come with the last one.
        self.resets: list[Applied]
        self.steps: list[Applied]
        self.progress: np.ndarray
        # Workers that have bound their envs to it, and whether those can be advanced.
        self.bound: dict[int, bool] = {}


class Blocks:
    """All blocks of a batch, and of the batches that are parts of it; those that nothing refers to are used again."""

    def __init__(self) -> None:
        self.layouts: list[Layout] = []
        self._numbers: weakref.WeakKeyDictionary[Plan, int] = weakref.WeakKeyDictionary()
        self._homes: weakref.WeakSet[Home] = weakref.WeakSet()
        self._places = 0
        # Blocks that nothing refers to any more: as they come back, ready for the next slabs, not wanted any more.
        self._returned: list[Home] = []
        self._free: list[Home] = []
        self._dropped: list[Home] = []

    def number_of(self, plan: Plan) -> int | None:
        """The number of the layout for a plan; None if there is no such layout yet."""
        if plan not in self._numbers:
            # Parts of a batch have plans of their own, and the layout of other parts of their size.
            layout = layout_of(plan)
            number = next((i for i, known in enumerate(self.layouts) if known == layout), None)
            if number is None:
                return None
            self._numbers[plan] = number
        return self._numbers[plan]

    def lay_out(self, plan: Plan, layout: Layout) -> None:
        """Adds a layout."""
        self._numbers[plan] = len(self.layouts)
        self.layouts.append(layout)

    def slabs(self, number: int, plan: Plan, envs: tuple[int, ...], rows: int) -> tuple[Slab, Slab]:
        """A pair of slabs in a block that nothing else refers to."""
        layout, home = self.layouts[number], self._reused(number, envs, rows)
        if home is None:
            self._places += 1
            home = Home(SharedBlock(layout.size(rows)), self._places, number, envs, rows)
            self._homes.add(home)
            # Not in the memory that is leased: whatever is counts as a reference to it.
            masks = layout.slabs(home.block.bytes, rows)[2]
            home.resets, home.steps = layout.applied(masks)
            home.progress = layout.progress(masks)
        root, following, _ = layout.slabs(lease(home.block, functools.partial(self._returned.append, home)), rows)
        # Steps and resets write all of what the envs show; a batch of images is not worth being cleared first.
        shown = {*plan.observation_keys, *plan.reward_keys}
        for slab in (root, following):
            slab.home = home
            for key, column in slab.columns.items():
                if isinstance(column, torch.Tensor) and (key not in shown or column[0].numel() <= SMALL):
                    column.zero_()
        return root, following

    def _reused(self, layout: int, envs: tuple[int, ...], rows: int) -> Home | None:
        """A block that was used for slabs of the same kind."""
        self._free += [self._returned.pop() for _ in range(len(self._returned))]
        kind = layout, envs, rows
        home = next((home for home in self._free if (home.layout, home.envs, home.rows) == kind), None)
        if home is not None:
            self._free.remove(home)
        self._dropped += self._free[:-FREE_BLOCKS]
        self._free = self._free[-FREE_BLOCKS:]
        return home

    def unwanted(self) -> list[int]:
        """Places of blocks that workers may forget; said once."""
        return [self._dropped.pop().place for _ in range(len(self._dropped))]

    def homes(self) -> list[Home]:
        """All there are."""
        return list(self._homes)

    def close(self) -> None:
        """Lets go of all blocks; the memory of those that are referred to stays."""
        for blocks in (self._returned, self._free, self._dropped):
            blocks.clear()
        for home in self._homes:
            home.block.forget_descriptor()
