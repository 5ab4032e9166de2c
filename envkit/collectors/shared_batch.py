"""Batches in memory that a collector shares with its workers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from tensordict import TensorDict, TensorDictBase, is_leaf_nontensor

from envkit.specs import Composite, make_composite_from_td
from envkit.storage import Slab

__all__ = ["BatchLayout"]


class BatchLayout(NamedTuple):
    """What a batch of a worker looks like: one row for each of its envs.

    Attributes:
        rows: number of rows of one worker.
        spec: what is in a row, of shape ``[*rest of the batch, time]``.
    """

    rows: int
    spec: Composite

    @classmethod
    def of(cls, batch: TensorDictBase) -> BatchLayout | None:
        """The layout of ``batch``, ``[rows, *rest, time]``; None if some of it is no tensor of a fixed shape."""
        if type(batch) is not TensorDict or not _all_plain(batch):
            return None
        return cls(batch.batch_size[0], make_composite_from_td(batch[0], unsqueeze_null_shapes=False))

    def size(self, workers: int) -> int:
        """Bytes of the batches of so many workers."""
        return Slab.size_of(self.spec, workers * self.rows)

    def slab(self, memory: np.ndarray, workers: int) -> Slab:
        """The batches of so many workers in a block's bytes, one worker's rows after the other's."""
        return Slab(self.spec, workers * self.rows, memory=memory)

    def fits(self, batch: TensorDictBase) -> bool:
        """Whether a batch of a worker can be kept in its rows."""
        if type(batch) is not TensorDict or batch.batch_size != (self.rows, *self.spec.shape):
            return False
        leaves = dict(batch.items(True, True, is_leaf=is_leaf_nontensor))
        known = dict(self.spec.items(True, True))
        return leaves.keys() == known.keys() and all(
            isinstance(value, torch.Tensor) and value.shape[1:] == known[key].shape and value.dtype is known[key].dtype
            for key, value in leaves.items()
        )

    def write(self, slab: Slab, worker: int, batch: TensorDictBase) -> None:
        """Copies a worker's batch into its rows."""
        first = worker * self.rows
        for key, column in slab.columns.items():
            column[first : first + self.rows] = batch.get(key)

    def batch(self, slab: Slab, worker: int | None = None) -> TensorDictBase:
        """The batch of a worker, or those of all of them one after the other, over the slab's memory."""
        start, stop = (0, slab.rows) if worker is None else (worker * self.rows, (worker + 1) * self.rows)
        return named(slab.tensordict(stop, start))


def named(batch: TensorDictBase) -> TensorDictBase:
    """``batch``, with the name of its last dimension."""
    batch.names = [*[None] * (batch.ndim - 1), "time"]
    return batch


def _all_plain(batch: TensorDictBase) -> bool:
    return all(
        isinstance(value, (torch.Tensor, TensorDict)) and (isinstance(value, torch.Tensor) or _all_plain(value))
        for value in batch.values()
    )
