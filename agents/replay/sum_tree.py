"""Drawing in proportion to weights that change."""

from __future__ import annotations

import numpy as np

__all__ = ["SumTree"]

WIDTH = 16
TOP = 4096  # so many sums are added up in each draw
SHY = 1 - 2.0**-52


class SumTree:
    """Non-negative weights, and the sums of each 16 of them, of each 16 of those, and so on.

    A draw descends by one matrix product a level, for all draws at once; a change adds up the groups that it touches
    anew, in the same order as :meth:`fill` does, so that sums never drift, and depend on nothing but the weights.

    Args:
        size: number of weights, all 0 at first.

    Example:
        >>> tree = SumTree(1_000)
        >>> tree.update(np.array([3, 700]), np.array([1.0, 3.0]))
        >>> tree.total, tree.find(np.array([0.0, 0.2, 0.3, 0.99])).tolist()
        (4.0, [3, 3, 700, 700])
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._levels = []
        while True:
            inner = size > TOP
            self._levels.append(np.zeros(-(-size // WIDTH) * WIDTH if inner else size))
            if not inner:
                break
            size = -(-size // WIDTH)
        self._groups = [level.reshape(-1, WIDTH) for level in self._levels[:-1]]
        # By this a product with a group gives what comes before each member, from the last one to the first.
        self._before = np.triu(np.ones((WIDTH, WIDTH)), 1)[:, ::-1].copy()

    @property
    def weights(self) -> np.ndarray:
        """All weights, float64 ``[size]``, to be read only."""
        return self._levels[0][: self.size]

    @property
    def total(self) -> float:
        """Their sum."""
        return float(self._levels[-1].cumsum()[-1])

    def update(self, index: np.ndarray, weights: np.ndarray | float) -> None:
        """Changes the weights at ``index``; of several for one place, the last is taken."""
        self._levels[0][index] = weights
        for level, groups in enumerate(self._groups):
            index = index // WIDTH
            self._levels[level + 1][index] = _summed(groups.take(index, 0))

    def fill(self, weights: np.ndarray) -> None:
        """Replaces the first weights, ``[n]``, and all others by 0."""
        self._levels[0][:] = 0
        self._levels[0][: len(weights)] = weights
        for level, groups in enumerate(self._groups):
            self._levels[level + 1][: len(groups)] = _summed(groups)

    def find(self, where: np.ndarray) -> np.ndarray:
        """The places at which the sum of the weights up to there first exceeds a share of the total.

        Args:
            where: shares in [0, 1), ``[n]``.

        Returns:
            int64 ``[n]``, where weights are positive if the total is.
        """
        sums = self._levels[-1].cumsum()
        rest = np.minimum(where * sums[-1], sums[-1] * SHY)
        place = sums.searchsorted(rest, "right")
        rest = np.maximum(rest - (sums[place] - self._levels[-1][place]), 0)
        rows = np.arange(0, len(where) * WIDTH, WIDTH)
        for groups in reversed(self._groups):
            group = groups.take(place, 0)
            before = group @ self._before
            # Rounding must not carry a draw beyond the last positive weight of its group.
            rest = np.minimum(rest, (before[:, 0] + group[:, -1]) * SHY)
            back = (before <= rest[:, None]).argmax(1)
            rest -= before.take(rows + back)
            place = place * WIDTH + (WIDTH - 1 - back)
        return place


def _summed(groups: np.ndarray) -> np.ndarray:
    """Sums of groups ``[n, WIDTH]``, from the first member to the last: the same for one group and for many."""
    return np.ascontiguousarray(groups.T).sum(0)
