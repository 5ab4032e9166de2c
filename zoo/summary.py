"""Scores of several seeds in a few honest numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
import numpy.typing as npt

__all__ = ["SeedSummary", "interquartile_mean", "mean_interval", "summarize"]

SAMPLES = 2_000


def interquartile_mean(scores: Sequence[float]) -> float:
    """Return the mean of the middle half: a quarter of the scores, rounded down, is left out at either end.

    Source: Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", 2021.

    Example:
        >>> interquartile_mean([0.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0, 100.0])
        12.5
    """
    cut = len(scores) // 4
    return fmean(sorted(scores)[cut : len(scores) - cut])


def mean_interval(values: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the bounds of the 95 % interval of means over seeds, from 2,000 bootstrap samples of the seeds.

    Args:
        values: A row for each seed, float64 of shape (seeds, points).

    Returns:
        Lower and upper bounds, float64 of shape (points,).

    Example:
        >>> low, high = mean_interval(np.array([[1.0, 5.0], [1.0, 7.0]]))
        >>> low.tolist(), high.tolist()
        ([1.0, 5.0], [1.0, 7.0])
    """
    # A fixed seed: the same scores always give the same interval.
    chosen = np.random.default_rng(0).integers(len(values), size=(SAMPLES, len(values)))
    low, high = np.quantile(values[chosen].mean(axis=1), [0.025, 0.975], axis=0)
    return low, high


@dataclass(frozen=True)
class SeedSummary:
    """What several seeds reached.

    Attributes:
        mean: Mean over seeds.
        std: Sample standard deviation over seeds (0 for a single one).
        worst: The lowest score.
        iqm: Interquartile mean.
        iqm_interval: Bounds of its 95 % interval, from 2,000 bootstrap samples of the seeds.
        target: The bar, or None.
        reached: How many seeds are at the bar or above; None without a bar.
    """

    mean: float
    std: float
    worst: float
    iqm: float
    iqm_interval: tuple[float, float]
    target: float | None
    reached: int | None


def summarize(scores: Sequence[float], target: float | None = None) -> SeedSummary:
    """Summarize one score per seed.

    Raises:
        ValueError: There is no score.

    Example:
        >>> summary = summarize([480.0, 500.0, 490.0, 470.0], target=475.0)
        >>> summary.mean, summary.worst, summary.iqm, summary.reached
        (485.0, 470.0, 485.0, 3)
    """
    if not scores:
        raise ValueError("expected the score of at least one seed, found none")
    # A fixed seed: the same scores always print the same interval.
    rng = np.random.default_rng(0)
    samples = np.sort(rng.choice(np.asarray(scores, dtype=np.float64), size=(SAMPLES, len(scores))), axis=1)
    cut = len(scores) // 4
    means = samples[:, cut : len(scores) - cut].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return SeedSummary(
        mean=fmean(scores),
        std=stdev(scores) if len(scores) > 1 else 0.0,
        worst=min(scores),
        iqm=interquartile_mean(scores),
        iqm_interval=(float(low), float(high)),
        target=target,
        reached=None if target is None else sum(score >= target for score in scores),
    )
