"""The loop of a training: iterations until a limit is reached, with hooks at set points."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Literal

from agents.trainer.hook import Hook, Metrics
from agents.trainer.learner import Learner

__all__ = ["Trainer"]


class Trainer:
    """Repeats the iterations of a learner until any limit is reached; limits count from its first step, -1 is none.

    Args:
        learner: an agent, or a :class:`LossLearner` around any loss.
        max_iters: limit on iterations.
        max_episodes: limit on finished episodes.
        max_steps: limit on env steps, summed over the envs of a batch. Training stops before an iteration would pass
            it, so that a budget is never overdrawn.
        log_freq: number of iterations between two logs; a hook may ask for more.
        hooks: what else is to be done, in this order at each point.
        on_hook_error: what an exception in a hook does at the end of an iteration: ``"raise"`` ends the training,
            ``"warn"`` says so and goes on.

    Attributes:
        learner: the learner.
        metrics: those of the last iteration.
        stopped: why a hook ended the training, see :meth:`stop`; None if none did.

    Raises:
        ValueError: no limit at all, a budget smaller than one iteration, or a frequency below 1.

    Examples:
        >>> from agents import PPO, PPOConfig, Trainer
        >>> from envkit import GymEnv
        >>> class Stop(Hook):
        ...     def after_iteration(self, trainer, metrics):
        ...         if metrics["steps"] >= 64:
        ...             trainer.stop("enough")
        >>> agent = PPO(GymEnv("CartPole-v1"), PPOConfig(steps_per_env=32))
        >>> trainer = Trainer(agent, max_steps=1_000, hooks=[Stop()])
        >>> trainer.run()["steps"], trainer.stopped
        (64.0, 'enough')
    """

    def __init__(
        self,
        learner: Learner,
        *,
        max_iters: int = -1,
        max_episodes: int = -1,
        max_steps: int = -1,
        log_freq: int = 1,
        hooks: Iterable[Hook] = (),
        on_hook_error: Literal["raise", "warn"] = "raise",
    ) -> None:
        if max(max_iters, max_episodes, max_steps) < 0:
            raise ValueError("train: expected a limit, one of max_iters, max_episodes and max_steps, found none")
        if log_freq < 1:
            raise ValueError(f"log_freq: expected at least 1, found {log_freq}")
        if on_hook_error not in ("raise", "warn"):
            raise ValueError(f"on_hook_error: expected 'raise' or 'warn', found {on_hook_error!r}")
        each = learner.steps_per_iteration
        if 0 <= max_steps < each:
            raise ValueError(f"max_steps: expected at least one iteration of {each} steps, found {max_steps}")
        self.learner, self.hooks, self.log_freq = learner, tuple(hooks), log_freq
        self.metrics: Metrics = {}
        self.stopped: str | None = None
        self._limits = (max_iters, max_episodes, max_steps)
        self._warns = on_hook_error == "warn"
        self._logs = False

    def run(self) -> Metrics:
        """Trains; returns the metrics of the last iteration, empty if there was none.

        An exception ends the training, after :meth:`Hook.end` of all hooks that were started.
        """
        learner, (max_iters, _, max_steps) = self.learner, self._limits
        limits = [limit for limit in (max_steps, max_iters * learner.steps_per_iteration) if limit >= 0]
        learner.horizon = min(limits) if limits else None
        learner.attend(self, self.hooks)
        started: list[Hook] = []
        whole = False
        try:
            for hook in self.hooks:
                hook.start(self)
                started.append(hook)
            whole = True
            mark, mark_steps = time.perf_counter(), learner.steps
            while self.stopped is None and not self._finished():
                whole = False
                self.metrics = learner.step()
                whole = True
                self._logs = learner.iterations % self.log_freq == 0
                self._call(lambda hook: hook.after_iteration(self, self.metrics))
                if self._logs:
                    now = time.perf_counter()
                    self.metrics["steps_per_second"] = (learner.steps - mark_steps) / max(now - mark, 1e-9)
                    mark, mark_steps = now, learner.steps
                    self._call(lambda hook: hook.log(self, self.metrics))
        finally:
            learner.attend(None)
            for hook in started:
                hook.end(self, whole)
        return self.metrics

    def stop(self, reason: str) -> None:
        """Ends the training after this iteration; for hooks."""
        self.stopped = reason

    def log_now(self) -> None:
        """Has this iteration logged, whatever ``log_freq``; for hooks."""
        self._logs = True

    def _finished(self) -> bool:
        max_iters, max_episodes, max_steps = self._limits
        learner = self.learner
        return (
            0 <= max_iters <= learner.iterations
            or 0 <= max_episodes <= learner.episodes
            or 0 <= max_steps < learner.steps + learner.steps_per_iteration
        )

    def _call(self, do: Callable[[Hook], Any]) -> None:
        for hook in self.hooks:
            try:
                do(hook)
            except Exception as error:
                if not self._warns:
                    raise
                warnings.warn(f"{type(hook).__name__} failed, training goes on: {error!r}", stacklevel=4)
