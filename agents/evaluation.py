"""How good a policy is: returns of whole episodes from known starts."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from envkit import EnvBase, ExplorationType, set_exploration_type

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True)
class Evaluation:
    """Undiscounted returns and lengths of episodes, one per start seed; of several agents, the mean return."""

    seeds: list[int] = field(default_factory=list)
    returns: list[float] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)

    @property
    def mean(self) -> float:
        """Mean return."""
        return statistics.fmean(self.returns)

    @property
    def std(self) -> float:
        """Standard deviation of the returns over episodes."""
        return statistics.pstdev(self.returns)

    @property
    def min(self) -> float:
        """Return of the worst episode."""
        return min(self.returns)

    @property
    def max(self) -> float:
        """Return of the best episode."""
        return max(self.returns)


def evaluate(
    env: EnvBase, policy: Any, seeds: Iterable[int] = range(10_000, 10_100), *, max_steps: int = 100_000
) -> Evaluation:
    """Runs one episode from each start seed with the deterministic form of a policy.

    Args:
        env: an env without batch.
        policy: a TensorDict module that writes the action.
        seeds: start seeds: the same seeds are the same starts, for any policy.
        max_steps: where an episode that does not end is cut.

    Raises:
        ValueError: the env has a batch.

    Examples:
        >>> from envkit import GymEnv
        >>> env = GymEnv("CartPole-v1")
        >>> left = lambda td: td.set("action", env.action_spec.zero())
        >>> evaluate(env, left, seeds=[1, 2]).lengths
        [10, 9]
    """
    if env.batch_size:
        raise ValueError(f"evaluate: expected an env without batch, found batch size {list(env.batch_size)}")
    result = Evaluation()
    groups = env.plan.done_groups
    # An agent of several may be done while others go on.
    apart = len(groups) > 1 or groups[0].shape.numel() > 1
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        for seed in seeds:
            env.set_seed(seed)
            episode = env.rollout(max_steps, policy, break_when_any_done=not apart, break_when_all_done=apart)
            result.seeds.append(seed)
            reward = episode["next"][env.reward_key].double()
            result.returns.append(float(reward.sum() / reward[0].numel()))
            result.lengths.append(episode.batch_size[-1])
    return result
