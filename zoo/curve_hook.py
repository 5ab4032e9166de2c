"""Evaluating a policy at set points of its training."""

from __future__ import annotations

from typing import Any

import torch

from agents import BaseAgent, Hook, Trainer
from envkit import ExplorationType
from zoo.building import evaluation_env, share_statistics
from zoo.clock import TrainingClock
from zoo.config import RunConfig

__all__ = ["CurveHook"]

MAX_STEPS = 100_000
"""Where an episode that does not end is cut, as in :func:`agents.evaluate`."""


class CurveHook(Hook):
    """Adds ``"eval_return_mean"`` and ``"eval_return_std"`` to the metrics, some times in the course of a training.

    The points are spread evenly over the steps that are reached, so that the last one judges the final policy. The
    episodes are played side by side, each from a start seed of its own, with the statistics that normalise
    observations at that point. Training takes no notice: it gives the same numbers as without.

    Args:
        config: The run; its ``eval`` says how often, how many episodes, and from which seeds.
        agent: What is trained.
        clock: Told what is time of evaluations.
    """

    def __init__(self, config: RunConfig, agent: BaseAgent, clock: TrainingClock) -> None:
        self._config, self._agent, self._clock = config, agent, clock
        self._last_step = config.total_steps - config.total_steps % agent.steps_per_iteration
        first = config.eval.first_seed
        self._seeds = range(first, first + config.eval.curve_episodes)
        self._simulators: Any = evaluation_env(config, agent, len(self._seeds))

    def start(self, trainer: Trainer) -> None:
        """Begin to count from where the agent stands."""
        self._reached = self._points()

    def after_iteration(self, trainer: Trainer, metrics: dict[str, float]) -> None:
        """Evaluate if another point was reached."""
        reached = self._points()
        if reached > self._reached:
            self._reached = reached
            with self._clock.evaluating():
                returns = self._returns()
            metrics["eval_return_mean"] = returns.mean().item()
            metrics["eval_return_std"] = returns.std(correction=0).item()

    def end(self, trainer: Trainer, whole: bool) -> None:
        """Close the environment of the evaluations."""
        self._simulators.close()

    def _points(self) -> int:
        return self._agent.steps * self._config.eval.points // self._last_step

    def _returns(self) -> torch.Tensor:
        env = self._simulators
        share_statistics(self._config, self._agent, env)
        # A policy may draw numbers even where it does not use them: training is to find the generator as it was.
        with torch.random.fork_rng(devices=[]):
            env.set_seeds(self._seeds)
            episodes = env.rollout(
                MAX_STEPS,
                self._agent.policy,
                break_when_any_done=False,
                break_when_all_done=True,
                exploration_type=ExplorationType.DETERMINISTIC,
            )
        # A step that was not made, because its episode had ended before the others, earns 0. Of agents it is the mean.
        reward = episodes["next"][env.reward_key].double()
        return reward.flatten(1).sum(1) / reward[0, 0].numel()
