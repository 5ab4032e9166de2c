"""What all agents share: the loop around their update."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from agents.evaluation import Evaluation, evaluate
from envkit import EnvBase, ExplorationType, set_exploration_type

__all__ = ["BaseAgent"]

Metrics = dict[str, float]


class BaseAgent(ABC):
    """An env, networks, and a way of learning.

    A subclass sets ``env`` and ``policy`` and defines :meth:`step`, one iteration of collecting and learning. It
    keeps the counts ``iterations``, ``steps`` (env steps, summed over the envs of a batch) and ``episodes``.
    """

    env: EnvBase
    policy: Any
    iterations: int = 0
    steps: int = 0
    episodes: int = 0
    horizon: int | None = None
    """Number of steps after which annealed quantities reach their end, set by :meth:`train`."""

    @abstractmethod
    def step(self) -> Metrics:
        """One iteration; returns what there is to say about it."""

    @property
    @abstractmethod
    def steps_per_iteration(self) -> int:
        """Env steps of one iteration."""

    def train(
        self,
        *,
        max_iters: int = -1,
        max_episodes: int = -1,
        max_steps: int = -1,
        log_freq: int = 1,
        eval_env: EnvBase | None = None,
        eval_freq: int | None = None,
        callback: Callable[[Metrics], Any] | None = None,
    ) -> Metrics:
        """Repeats :meth:`step` until a limit is reached; limits count from the agent's first step, -1 is none.

        Args:
            max_iters: limit on iterations.
            max_episodes: limit on finished episodes.
            max_steps: limit on env steps, summed over the envs of a batch. Training stops before an iteration
                would pass it, so that a budget is never overdrawn.
            log_freq: number of iterations between calls of ``callback``.
            eval_env: env without batch to evaluate the policy in.
            eval_freq: number of iterations between evaluations of 20 episodes; never by default.
            callback: called with the metrics. An exception it raises ends the training and leaves the agent as it is.

        Returns:
            The metrics of the last iteration.

        Raises:
            ValueError: ``eval_freq`` without ``eval_env``, or a budget smaller than one iteration.
        """
        if eval_freq is not None and eval_env is None:
            raise ValueError("train: eval_freq needs an eval_env, found None")
        each = self.steps_per_iteration
        if 0 <= max_steps < each:
            raise ValueError(f"max_steps: expected at least one iteration of {each} steps, found {max_steps}")
        limits = [limit for limit in (max_steps, max_iters * each) if limit >= 0]
        self.horizon = min(limits) if limits else None
        metrics: Metrics = {}
        mark, mark_steps = time.perf_counter(), self.steps
        while not (
            0 <= max_iters <= self.iterations
            or 0 <= max_episodes <= self.episodes
            or 0 <= max_steps < self.steps + each
        ):
            metrics = self.step()
            if eval_freq is not None and self.iterations % eval_freq == 0:
                metrics["eval_return_mean"] = self.evaluate(eval_env, range(10_000, 10_020)).mean  # type: ignore[arg-type]
            if callback is not None and self.iterations % log_freq == 0:
                now = time.perf_counter()
                metrics["steps_per_second"] = (self.steps - mark_steps) / max(now - mark, 1e-9)
                mark, mark_steps = now, self.steps
                callback(metrics)
        return metrics

    def evaluate(self, env: EnvBase, seeds: Iterable[int] = range(10_000, 10_100)) -> Evaluation:
        """One episode from each start seed with the deterministic policy; see :func:`~agents.evaluation.evaluate`."""
        return evaluate(env, self.policy, seeds)

    def select_action(
        self, state: TensorDictBase | Tensor | Any, step: int = 0, *, deterministic: bool = False
    ) -> Tensor:
        """The action for an observation: a TensorDict, or the value of the only observation entry.

        Args:
            state: one observation or a batch of them.
            step: number of the env step, for agents whose exploration changes over time.
            deterministic: the most likely action instead of a sampled one.
        """
        if not isinstance(state, TensorDictBase):
            key = self.env.observation_keys[0]
            value = torch.as_tensor(state)
            lead = value.ndim - len(self.env.observation_spec[key].shape) + self.env.batch_dims
            state = TensorDict({key: value}, value.shape[:lead])
        kind = ExplorationType.DETERMINISTIC if deterministic else ExplorationType.RANDOM
        with torch.no_grad(), set_exploration_type(kind):
            return self.policy(state.copy()).get(self.env.action_key)
