"""The evaluations made while a policy was trained, and what is read off them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["LearningCurve"]

SUSTAINED = 3
"""How many evaluations in a row have to pass a threshold for the first of them to count."""


@dataclass(frozen=True)
class LearningCurve:
    """How good a policy was in the course of its training.

    Attributes:
        steps: Environment steps at each evaluation.
        returns: Mean return of each evaluation.
        train_return: Mean return of the last 100 training episodes, with exploration (TR); None before the first.

    Example:
        >>> curve = LearningCurve([10, 20, 30, 40], [480.0, 300.0, 490.0, 500.0], train_return=450.0)
        >>> curve.max, curve.steps_to(475), curve.steps_to(300)
        (500.0, None, 10)
    """

    steps: list[int]
    returns: list[float]
    train_return: float | None

    @classmethod
    def of(cls, records: Iterable[Mapping[str, Any]]) -> LearningCurve:
        """Take the curve out of the metrics of a run.

        Example:
            >>> LearningCurve.of([{"steps": 20, "return_mean": 9.0, "eval_return_mean": 8.0}])
            LearningCurve(steps=[20], returns=[8.0], train_return=9.0)
        """
        steps, returns, train_return = [], [], None
        for record in records:
            train_return = record.get("return_mean")
            if (value := record.get("eval_return_mean")) is not None:
                steps.append(int(record["steps"]))
                returns.append(value)
        return cls(steps, returns, train_return)

    @property
    def max(self) -> float | None:
        """Mean return of the best evaluation (MX); None without any."""
        return max(self.returns, default=None)

    def steps_to(self, threshold: float) -> int | None:
        """Return the steps at the first evaluation that passes, and whose next two do; None if there is none."""
        for n in range(len(self.returns) - SUSTAINED + 1):
            if min(self.returns[n : n + SUSTAINED]) >= threshold:
                return self.steps[n]
        return None

    def as_dict(self, target: float | None) -> dict[str, Any]:
        """Return what stands beside the final evaluation of a run, as plain data."""
        return {
            "train_return": self.train_return,
            "curve_max": self.max,
            "steps_to_threshold": None if target is None else self.steps_to(target),
        }
