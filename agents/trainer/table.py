"""Showing on the console how a training goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from agents.trainer.hook import Hook, Metrics
from agents.trainer.table_logger import TableLogger
from envkit import Logger

if TYPE_CHECKING:
    from agents.trainer.trainer import Trainer

__all__ = ["TableHook"]

# What is counted has no average.
COUNTS = frozenset({"iteration", "steps", "episodes", "steps_per_second"})


class TableHook(Hook):
    """Prints a table every so many iterations: steps, time, steps per second, and averages since the last.

    Metrics that other hooks add, such as :class:`EvaluationHook`, are among them if those hooks come before.

    Args:
        every: number of iterations from one table to the next; what is left at the end is printed as well.
        names: the metrics to show, all by default.
        logger: where the averages of all metrics are kept as well, see :class:`TableLogger`.
        prefix: put before each name there.
        precision: decimals; by default as many as four digits take.
        file: where tables are printed, standard output by default.

    Raises:
        ValueError: ``every`` is below 1.

    Examples:
        >>> import io
        >>> from agents import PPO, PPOConfig
        >>> from envkit import GymEnv
        >>> printed = io.StringIO()
        >>> agent = PPO(GymEnv("CartPole-v1"), PPOConfig(steps_per_env=32))
        >>> metrics = agent.train(max_steps=128, hooks=[TableHook(2, names=["return_mean", "entropy"], file=printed)])
        >>> printed.getvalue().count("iteration "), printed.getvalue().count("entropy")
        (2, 2)
    """

    def __init__(
        self,
        every: int = 1,
        names: Sequence[str] | None = None,
        *,
        logger: Logger | None = None,
        prefix: str = "train/",
        precision: int | None = None,
        file: TextIO | None = None,
    ) -> None:
        if every < 1:
            raise ValueError(f"every: expected at least 1, found {every}")
        self.every, self.names, self.precision = every, names, precision
        self._options = {"logger": logger, "prefix": prefix, "file": file}
        self._waiting = False

    def start(self, trainer: Trainer) -> None:
        """Begins to count steps and time."""
        self._table = TableLogger(**self._options)  # type: ignore[arg-type]
        self._time(trainer)

    def after_iteration(self, trainer: Trainer, metrics: Metrics) -> None:
        """Adds the metrics, and prints the table if it is time."""
        for name, value in metrics.items():
            if name not in COUNTS:
                shown = self.names is None or name in self.names
                self._table.add_log(name, value, self.precision, shown=shown)
        self._waiting = True
        if trainer.learner.iterations % self.every == 0:
            self._print(trainer)

    def end(self, trainer: Trainer, whole: bool) -> None:
        """Prints what was not printed yet."""
        if self._waiting:
            self._print(trainer)

    def _print(self, trainer: Trainer) -> None:
        learner = trainer.learner
        self._time(trainer)
        self._table.add_log("episodes", learner.episodes, precision=0)
        self._table.log(f"iteration {learner.iterations:,}")
        self._waiting = False

    def _time(self, trainer: Trainer) -> None:
        learner = trainer.learner
        self._table.timeit(learner.steps, -1 if learner.horizon is None else learner.horizon)
