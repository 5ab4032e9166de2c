"""Evaluating while training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from agents.evaluation import Evaluation
from agents.trainer.hook import Hook, Metrics
from envkit import EnvBase

if TYPE_CHECKING:
    from agents.trainer.trainer import Trainer

__all__ = ["EvaluationHook"]


class EvaluationHook(Hook):
    """Evaluates an agent every so often, in an env of its own, and adds ``"eval_return_mean"`` to the metrics.

    Args:
        eval_env: env without batch, other than the one that is learnt in.
        every: number of env steps from one evaluation to the next, or, with ``unit="iterations"``, of iterations.
        seeds: start seeds of the episodes.
        unit: what ``every`` counts.

    Attributes:
        history: env steps and result of each evaluation.

    Raises:
        ValueError: ``every`` is below 1, or the env has a batch.
    """

    def __init__(
        self, eval_env: EnvBase, every: int, seeds: Iterable[int] = range(10_000, 10_020), *, unit: str = "steps"
    ) -> None:
        if every < 1:
            raise ValueError(f"every: expected at least 1, found {every}")
        if unit not in ("steps", "iterations"):
            raise ValueError(f"unit: expected 'steps' or 'iterations', found {unit!r}")
        if eval_env.batch_size:
            raise ValueError(f"eval_env: expected an env without batch, found batch size {list(eval_env.batch_size)}")
        self.eval_env, self.every, self.seeds, self.unit = eval_env, every, list(seeds), unit
        self.history: list[tuple[int, Evaluation]] = []

    def start(self, trainer: Trainer) -> None:
        """Refuses to evaluate in the env that is amid an episode."""
        if self.eval_env is getattr(trainer.learner, "env", None):
            raise ValueError("eval_env: expected another env than the one that is learnt in, which is amid an episode")
        self._reached = self._count(trainer) // self.every

    def after_iteration(self, trainer: Trainer, metrics: Metrics) -> None:
        """Evaluates if it is time, and has the result logged."""
        reached = self._count(trainer) // self.every
        if reached == self._reached:
            return
        self._reached = reached
        agent: Any = trainer.learner
        result = agent.evaluate(self.eval_env, self.seeds)
        self.history.append((agent.steps, result))
        metrics["eval_return_mean"] = result.mean
        trainer.log_now()

    def _count(self, trainer: Trainer) -> int:
        return trainer.learner.steps if self.unit == "steps" else trainer.learner.iterations
