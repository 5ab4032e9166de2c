"""Keeping the best."""

from __future__ import annotations

import heapq
from typing import Any, ClassVar, Literal

import torch
from tensordict import NestedKey, TensorDictBase
from torch import Tensor

from agents.replay.storage import Storage
from agents.replay.writer import Writer

__all__ = ["TensorDictMaxValueWriter"]


class TensorDictMaxValueWriter(Writer):
    """Keeps the items of highest rank; a new one takes the place of the lowest, if it ranks higher.

    Args:
        rank_key: the entry of an item that ranks it: ``("next", "reward")`` for steps, say.
        reduction: what makes one number of an entry of several: ``"sum"``, ``"mean"``, ``"max"`` or ``"min"``.

    Raises:
        ValueError: another reduction; (on a write) a rank is NaN.
        TypeError: (on a write) something else than a TensorDict.

    Example:
        >>> from tensordict import TensorDict
        >>> from agents.replay import LazyTensorStorage
        >>> storage, writer = LazyTensorStorage(2), TensorDictMaxValueWriter("score")
        >>> writer.extend(storage, TensorDict({"score": torch.tensor([3.0, 1.0, 2.0, 0.0])}, [4]))
        tensor([0, 1])
        >>> storage.get(torch.arange(2))["score"]
        tensor([3., 2.])
    """

    in_turn: ClassVar[bool] = False

    def __init__(self, rank_key: NestedKey, reduction: Literal["sum", "mean", "max", "min"] = "sum") -> None:
        if reduction not in ("sum", "mean", "max", "min"):
            raise ValueError(
                f"TensorDictMaxValueWriter: reduction: expected 'sum', 'mean', 'max' or 'min', found {reduction!r}"
            )
        self.rank_key, self.reduction = rank_key, reduction
        self._ranks: list[tuple[float, int]] = []  # a heap, the lowest first

    def add(self, storage: Storage, item: Any) -> int | None:
        """Write one TensorDict; return its index, or None if it ranks too low."""
        return self._place(storage, item, self._ranks_of(item, 0)[0])

    def extend(self, storage: Storage, items: Any) -> Tensor:
        """Write the rows of a TensorDict; return the indices written to, int64 ``[n]``, in ascending order."""
        ranks = self._ranks_of(items, 1)
        rows = items.unbind(0)
        written = {self._place(storage, rows[i], rank) for i, rank in enumerate(ranks)} - {None}
        return torch.tensor(sorted(written), dtype=torch.int64)

    def empty(self) -> None:
        """Forget all ranks."""
        self._ranks = []

    def state_dict(self) -> dict[str, Any]:
        """Return the rank of each place."""
        ranks, places = zip(*self._ranks, strict=True) if self._ranks else ((), ())
        return {"ranks": torch.tensor(ranks, dtype=torch.float64), "places": torch.tensor(places, dtype=torch.int64)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the ranks."""
        self._ranks = list(zip(state["ranks"].tolist(), state["places"].tolist(), strict=True))

    def _place(self, storage: Storage, item: TensorDictBase, rank: float) -> int | None:
        if len(self._ranks) < storage.max_size:
            index = len(self._ranks)
            storage.set(index, item)
            heapq.heappush(self._ranks, (rank, index))
            return index
        lowest, index = self._ranks[0]
        if rank <= lowest:
            return None
        storage.set(index, item)
        heapq.heapreplace(self._ranks, (rank, index))
        return index

    def _ranks_of(self, items: Any, dims: int) -> list[float]:
        if not isinstance(items, TensorDictBase):
            raise TypeError(f"TensorDictMaxValueWriter: expected a TensorDict, found {type(items).__name__}")
        value = items.get(self.rank_key)
        rank = value.double().reshape(*value.shape[:dims], -1)
        rank = {"sum": rank.sum, "mean": rank.mean, "max": rank.amax, "min": rank.amin}[self.reduction](-1)
        if rank.isnan().any():
            raise ValueError(f"TensorDictMaxValueWriter: {self.rank_key!r}: expected numbers, found NaN")
        return rank.reshape(-1).tolist()
