"""Judging a trained policy: deterministic episodes from fixed start seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, pstdev
from typing import Any

from agents import BaseAgent
from zoo.building import evaluation_env, load_agent, make_env, torch_threads
from zoo.config import RunConfig, load_config
from zoo.curve import LearningCurve
from zoo.metrics import read_metrics
from zoo.run import RunFolder

__all__ = ["Score", "evaluate", "evaluate_agent", "write_evaluation"]


@dataclass(frozen=True)
class Score:
    """The returns of an evaluation, and the bar they are measured against.

    Attributes:
        returns: Undiscounted return of every episode, in the order of the start seeds.
        lengths: Steps of every episode.
        first_seed: Start seed of the first episode; the others count up from it.
        target: The bar, or None.

    Example:
        >>> score = Score(returns=[490.0, 500.0], lengths=[490, 500], first_seed=10_000, target=475.0)
        >>> print(score)
        495.0 ± 5.0 over 2 episodes (min 490.0, max 500.0; deterministic, start seeds ...): reaches the bar...
        >>> score.reached
        True
    """

    returns: list[float]
    lengths: list[int]
    first_seed: int
    target: float | None

    @property
    def mean(self) -> float:
        """Mean return."""
        return fmean(self.returns)

    @property
    def std(self) -> float:
        """Standard deviation of the returns over episodes."""
        return pstdev(self.returns)

    @property
    def reached(self) -> bool | None:
        """Whether the mean is at the bar or above; None without a bar."""
        return None if self.target is None else self.mean >= self.target

    @property
    def verdict(self) -> str:
        """The comparison with the bar, in words."""
        if self.target is None:
            return "no bar is set"
        return f"{'reaches' if self.reached else 'is below'} the bar of {self.target:g}"

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data, summary first."""
        summary = {
            "mean": self.mean,
            "std": self.std,
            "min": min(self.returns),
            "max": max(self.returns),
            "episodes": len(self.returns),
            "reached": self.reached,
        }
        return {**summary, **asdict(self)}

    def __str__(self) -> str:
        last_seed = self.first_seed + len(self.returns) - 1
        return (
            f"{self.mean:.1f} ± {self.std:.1f} over {len(self.returns)} episodes "
            f"(min {min(self.returns):.1f}, max {max(self.returns):.1f}; deterministic, "
            f"start seeds {self.first_seed} to {last_seed}): {self.verdict}"
        )


def evaluate_agent(agent: BaseAgent, config: RunConfig, *, episodes: int | None = None) -> Score:
    """Play deterministic episodes from the config's start seeds, in an environment of their own.

    Args:
        agent: The agent.
        config: The run; its ``eval`` says how many episodes and from which seeds.
        episodes: Another number of episodes.
    """
    first = config.eval.first_seed
    count = config.eval.episodes if episodes is None else episodes
    env = evaluation_env(config, agent)
    try:
        with torch_threads():
            result = agent.evaluate(env, seeds=range(first, first + count))
    finally:
        env.close()
    return Score(
        returns=[float(value) for value in result.returns],
        lengths=[int(value) for value in result.lengths],
        first_seed=first,
        target=config.target,
    )


def evaluate(folder: RunFolder, *, episodes: int | None = None, overrides: Sequence[str] = ()) -> Score:
    """Evaluate the checkpoint of a run, and write the score into its folder if nothing is overridden.

    Args:
        folder: The run.
        episodes: Another number of episodes than the config's.
        overrides: Changes of the config in the form ``eval.kwargs.opponent=minimax``.

    Raises:
        ConfigError: The config of the run is damaged, or an override is wrong.
        CheckpointError: The checkpoint is damaged or does not fit the environment.
    """
    config = load_config(folder.config, overrides)
    env = make_env(config)
    try:
        agent = load_agent(config, folder.checkpoint, env)
    finally:
        env.close()
    score = evaluate_agent(agent, config, episodes=episodes)
    if not overrides:
        write_evaluation(folder, score)
    return score


def write_evaluation(folder: RunFolder, score: Score) -> None:
    """Write a score into the folder of a run, with what its metrics say about the course of training."""
    records = read_metrics(folder.metrics) if folder.metrics.exists() else []
    folder.write_json(folder.evaluation, {**score.as_dict(), **LearningCurve.of(records).as_dict(score.target)})
