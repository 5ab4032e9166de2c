"""Choices in proportion to priorities."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import torch
from tensordict import NestedKey
from torch import Tensor

from agents.replay.sampler import Sampler
from agents.replay.storage import Storage
from agents.replay.sum_tree import SumTree

__all__ = ["PrioritizedSampler"]


class PrioritizedSampler(Sampler):
    r"""Chooses item :math:`i` with probability :math:`P(i) = p_i^\alpha / \sum_k p_k^\alpha`, with replacement.

    A new item has the greatest priority there was, so that each is likely to be seen once. What is chosen comes with
    ``"_weight"``, float32 ``[n]``: the importance :math:`(N P(i))^{-\beta}`, divided by the greatest of the batch.

    Args:
        max_capacity: how many items the storage may have at most.
        alpha: how much priorities count: 0 for uniform choices.
        beta: how much of the bias is taken back; it may be changed at any time, :attr:`beta` to 1 in the end.
        eps: added to priorities, so that none is 0.
        reduction: what makes one priority of several for one item: ``"max"``, ``"min"``, ``"mean"`` or ``"median"``.

    Raises:
        ValueError: an option has another value; (when a buffer takes it) the storage is larger.

    References:
        Schaul et al., "Prioritized Experience Replay", ICLR 2016, equation (1) and section 3.4.

    Example:
        >>> from agents.replay import ListStorage, ReplayBuffer
        >>> buffer = ReplayBuffer(ListStorage(10), PrioritizedSampler(10, alpha=1.0, beta=1.0), collate_fn=list)
        >>> _ = buffer.extend("abc")
        >>> buffer.update_priority([0, 1, 2], torch.tensor([0.0, 5.0, 0.0]))
        >>> buffer.sample(4)
        ['b', 'b', 'b', 'b']
    """

    def __init__(
        self,
        max_capacity: int,
        alpha: float,
        beta: float,
        eps: float = 1e-8,
        reduction: Literal["max", "min", "mean", "median"] = "max",
    ) -> None:
        for name, value in (("alpha", alpha), ("beta", beta), ("eps", eps)):
            if not value >= 0:
                raise ValueError(f"PrioritizedSampler: {name}: expected at least 0, found {value}")
        if reduction not in ("max", "min", "mean", "median"):
            raise ValueError(
                f"PrioritizedSampler: reduction: expected 'max', 'min', 'mean' or 'median', found {reduction!r}"
            )
        self.max_capacity, self.alpha, self.beta, self.eps, self.reduction = max_capacity, alpha, beta, eps, reduction
        self._greatest = 1.0
        self._length = 0

    def bind(self, storage: Storage) -> None:
        """Give the items that a storage holds already the priority of new ones.

        Raises:
            ValueError: there may be more than ``max_capacity`` of them.
        """
        if storage.max_size > self.max_capacity:
            raise ValueError(
                f"PrioritizedSampler: expected a storage of at most max_capacity={self.max_capacity} items, found "
                f"max_size={storage.max_size}"
            )
        self._tree = SumTree(storage.max_size)
        self._greatest, self._length = 1.0, 0
        if len(storage):
            self.written(torch.arange(len(storage)))

    @property
    def new_weight(self) -> float:
        """The weight of a new item, its priority to the power of alpha."""
        return (self._greatest + self.eps) ** self.alpha

    @property
    def weights(self) -> Tensor:
        """What each item is drawn in proportion to: priorities to the power of alpha, float64 ``[length]``."""
        return torch.from_numpy(self._tree.weights[: self._length].copy())

    def written(self, index: Tensor) -> None:
        """Give new items the greatest priority."""
        if len(index):
            places = index.numpy()
            self._tree.update(places, self.new_weight)
            self._length = max(self._length, int(places.max()) + 1)

    def sample(self, length: int, batch_size: int, generator: torch.Generator | None = None) -> Tensor:
        """Return ``batch_size`` indices below ``length``."""
        shares = torch.rand(batch_size, dtype=torch.float64, generator=generator)
        return torch.from_numpy(self._tree.find(shares.numpy()))

    def info(self, index: Tensor) -> dict[NestedKey, Tensor]:
        """``"_weight"``, the importance of each item."""
        drawn = self._tree.weights.take(index.numpy())
        return {"_weight": torch.from_numpy(((drawn / drawn.min()) ** -self.beta).astype(np.float32))}

    def update_priority(self, index: int | Tensor | Iterable[int], priority: float | Tensor) -> None:
        """Change priorities.

        Args:
            index: of items, ``[n]``, or one.
            priority: one for all, or ``[n, *more]``: of several for one item, :attr:`reduction` makes one.

        Raises:
            ValueError: a priority is negative or no number, or there are more or fewer than items.
            IndexError: an index is none of an item.
        """
        places = torch.as_tensor(index).cpu().reshape(-1).numpy()
        if not len(places):
            return
        if places.view(np.uint64).max() >= self._length:  # negative ones look very large
            raise IndexError(
                f"update_priority: expected indices below {self._length}, found {places.min()} to {places.max()}"
            )
        given = torch.as_tensor(priority).detach().cpu()
        values = given.double().numpy().reshape(-1)
        if len(values) not in (1, len(places)):
            if not given.ndim or len(given) != len(places):
                raise ValueError(
                    f"update_priority: expected one priority for each of {len(places)} items, found shape "
                    f"{list(given.shape)}"
                )
            values = getattr(np, self.reduction)(values.reshape(len(places), -1), axis=1)
        greatest = values.max()
        if not (values.min() >= 0 and greatest < np.inf):  # and not if it is NaN
            wrong = values[~((values >= 0) & (values < np.inf))]
            raise ValueError(f"update_priority: expected finite numbers of at least 0, found {wrong[0]}")
        self._greatest = max(self._greatest, float(greatest))
        self._tree.update(places, (values + self.eps) ** self.alpha)

    def refresh(self) -> None:
        """Nothing to forget: priorities belong to the items."""

    def state_dict(self) -> dict[str, Any]:
        """Return the weights of all items, and the greatest priority."""
        return {"weights": self.weights, "greatest": self._greatest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over weights and greatest priority.

        Raises:
            ValueError: there are more than the storage may have items.
        """
        weights = state["weights"].numpy()
        if len(weights) > self._tree.size:
            raise ValueError(f"PrioritizedSampler: expected at most {self._tree.size} weights, found {len(weights)}")
        self._tree.fill(weights)
        self._length, self._greatest = len(weights), float(state["greatest"])
