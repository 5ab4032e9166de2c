"""What the two loops share: an env, a policy, and when to stop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from tensordict import NestedKey, TensorDictBase

from envkit.core.masks import Masks, any_true
from envkit.core.policies import Policy, on_tensordicts

if TYPE_CHECKING:
    from envkit.core.env import EnvBase

__all__ = ["Loop"]


class Loop(ABC):
    """Steps one env with one policy, and keeps what is recorded.

    Args:
        env: what is stepped.
        policy: a callable that reads a TensorDict and writes actions into it, along with anything else it likes, which
            is recorded too; or see :func:`~envkit.core.policies.on_tensordicts`. None draws actions at random. It runs
            without gradients.
        policy_device: where the policy wants its input; None hands it over as it is.
        batch_size: batch size of what is stepped, for a batch-unlocked env.
    """

    def __init__(
        self,
        env: EnvBase,
        policy: Policy | None,
        policy_device: torch.device | None = None,
        batch_size: torch.Size | None = None,
    ) -> None:
        self.env, self.policy_device = env, policy_device
        self.plan = env.plan if batch_size is None else env.plan_for(batch_size)
        if policy is None and not env.draws_from_spec:
            policy = env.rand_action
        self.policy: Policy | None = None
        self.reads: frozenset | None = None
        self.rows = 0
        if policy is not None:
            self.follow(policy)

    def follow(self, policy: Policy) -> None:
        """Goes on with another policy, from the next row that is asked for."""
        self.policy, self.reads = on_tensordicts(policy, self.plan)

    @abstractmethod
    def _flags(self, row: int) -> dict[NestedKey, torch.Tensor]:
        """The done flags after the step of ``row``, by reset key."""

    @abstractmethod
    def step_at(self, row: int) -> TensorDictBase:
        """The data of the step of ``row``."""

    @abstractmethod
    def done(self, start: int, stop: int) -> list[torch.Tensor]:
        """The done flags after the steps of rows ``start`` to ``stop``: ``[stop - start, *group]`` for each group."""

    @abstractmethod
    def truncate(self, row: int, masks: Masks | None = None) -> None:
        """Marks the step of ``row`` as truncated where it is not done anyway, and inside ``masks`` by reset key."""

    @abstractmethod
    def proceed(self, row: int) -> None:
        """After a run without ``last``: prepares the row after ``row``, and resets what is done there."""

    @abstractmethod
    def onward(self) -> TensorDictBase:
        """What the next run starts from, for :meth:`start_from` of another loop; the policy's memory is among it."""

    @abstractmethod
    def start_from(self, tensordict: TensorDictBase) -> None:
        """Takes the content of ``tensordict`` for the first row."""

    def _undone(self, row: int) -> dict[NestedKey, torch.Tensor]:
        return self.plan.step_masks(self._flags(row))

    def ended(self, row: int) -> bool:
        """Whether anything was done after the step of ``row``."""
        return any_true(self._flags(row))

    def all_ended(self, row: int) -> bool:
        """Whether everything was done after the step of ``row``."""
        return not any_true(self._undone(row))
