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
        """Repeats :meth:`step` until any limit is reached; limits count from the agent's first step, -1 is none.

        Args:
            max_iters: limit on iterations.
            max_episodes: limit on finished episodes.
            max_steps: limit on env steps, summed over the envs of a batch. Training stops before an iteration
                would pass it, so that a budget is never overdrawn.
            log_freq: number of iterations between calls of ``callback``; those that evaluate call it as well.
            eval_env: env without batch to evaluate the policy in, other than the one that is learnt in.
            eval_freq: number of iterations between evaluations of 20 episodes; never by default.
            callback: called with the metrics. An exception it raises ends the training and leaves the agent as it is.

        Returns:
            The metrics of the last iteration.

        Raises:
            ValueError: no limit at all, a budget smaller than one iteration, a frequency below 1, or ``eval_freq``
                without an ``eval_env`` that fits it.
        """
        if max(max_iters, max_episodes, max_steps) < 0:
            raise ValueError("train: expected a limit, one of max_iters, max_episodes and max_steps, found none")
        if log_freq < 1:
            raise ValueError(f"log_freq: expected at least 1, found {log_freq}")
        if eval_freq is not None:
            self._check_evaluation(eval_freq, eval_env)
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
            evaluates = eval_freq is not None and self.iterations % eval_freq == 0
            if evaluates:
                metrics["eval_return_mean"] = self.evaluate(eval_env, range(10_000, 10_020)).mean  # type: ignore[arg-type]
            if callback is not None and (evaluates or self.iterations % log_freq == 0):
                now = time.perf_counter()
                metrics["steps_per_second"] = (self.steps - mark_steps) / max(now - mark, 1e-9)
                mark, mark_steps = now, self.steps
                callback(metrics)
        return metrics

    def _check_evaluation(self, eval_freq: int, eval_env: EnvBase | None) -> None:
        if eval_freq < 1:
            raise ValueError(f"eval_freq: expected at least 1, found {eval_freq}")
        if eval_env is None:
            raise ValueError("train: eval_freq needs an eval_env, found None")
        if eval_env is self.env:
            raise ValueError("eval_env: expected another env than the one that is learnt in, which is amid an episode")
        if eval_env.batch_size:
            raise ValueError(f"eval_env: expected an env without batch, found batch size {list(eval_env.batch_size)}")

    def evaluate(self, env: EnvBase, seeds: Iterable[int] = range(10_000, 10_100)) -> Evaluation:
        """One episode from each start seed with the deterministic policy; see :func:`~agents.evaluation.evaluate`.

        In the env that is learnt in, the episodes that were going on are given up.
        """
        result = evaluate(env, self.policy, seeds)
        if env is self.env:
            self.restart()
        return result

    def restart(self) -> None:  # noqa: B027 - agents that keep no episode going have nothing to do
        """Goes on learning with new episodes, after the env was run by someone else."""

    def select_action(
        self, state: TensorDictBase | Tensor | Any, step: int = 0, *, deterministic: bool = False
    ) -> Tensor:
        """The action for an observation: a TensorDict, or the value of the only observation entry.

        Args:
            state: one observation or a batch of them.
            step: number of the env step, for agents whose exploration changes over time.
            deterministic: the most likely action instead of a sampled one.

        Raises:
            ValueError: ``state`` is one value where the env has several observations, or of another shape.
        """
        if not isinstance(state, TensorDictBase):
            state = self._observed(state)
        kind = ExplorationType.DETERMINISTIC if deterministic else ExplorationType.RANDOM
        with torch.no_grad(), set_exploration_type(kind):
            return self.policy(state.copy()).get(self.env.action_key)

    def _observed(self, value: Tensor | Any) -> TensorDict:
        """The value of the only observation entry, or a batch of values, as a TensorDict."""
        keys = self.env.observation_keys
        if len(keys) != 1:
            raise ValueError(f"state: expected a TensorDict with {keys}, found {type(value).__name__}")
        leaf = self.env.observation_spec[keys[0]]
        shape = leaf.shape[self.env.batch_dims :]
        value = torch.as_tensor(value, dtype=leaf.dtype)
        lead = value.ndim - len(shape)
        if lead < 0 or value.shape[lead:] != shape:
            raise ValueError(f"{keys[0]!r}: expected shape [*batch, *{list(shape)}], found {list(value.shape)}")
        return TensorDict({keys[0]: value}, value.shape[:lead])
