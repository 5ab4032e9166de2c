"""What an agent reads off the specs of its env, and what it asks of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tensordict import NestedKey
from torch import Tensor

from envkit import Bounded, Categorical, EnvBase, SpecError, TensorSpec, Unbounded

__all__ = ["Spaces"]


class Spaces:
    """The one action, reward and done flag of an env, and the observations that an agent sees.

    Args:
        env: the env.
        agent: name of the agent, for messages.
        observation_keys: what it sees, all observations by default.
        actions: kinds of actions it can take, ``"discrete"`` or ``"continuous"``.

    Attributes:
        count: number of envs in the batch.
        observation_keys: what the networks see.
        action_key, reward_key, done_key, terminated_key: where the others stand.
        discrete: whether actions are indices.
        action_size: number of actions, or of numbers in one.

    Raises:
        SpecError: the env has something else.
    """

    def __init__(
        self,
        env: EnvBase,
        agent: str,
        observation_keys: Sequence[NestedKey] | None = None,
        actions: Sequence[str] = ("discrete", "continuous"),
    ) -> None:
        self.agent, self._env, self.count = agent, env, env.numel()
        self.action = self._action(env.action_spec, actions)
        self.action_key = env.action_key
        self.discrete = isinstance(self.action, Categorical)
        one = self.action.shape[env.batch_dims :]
        self.action_size: int = self.action.n if isinstance(self.action, Categorical) else one.numel()
        self.reward_key, self.done_key, self.terminated_key = self._reward_and_done()
        self.observation_keys = list(env.observation_keys if observation_keys is None else observation_keys)
        for key in self.observation_keys:
            if key not in env.observation_keys:
                raise SpecError(f"{agent}: unknown observation {key!r}; the env has {env.observation_keys}")

    def _action(self, leaf: TensorSpec, actions: Sequence[str]) -> TensorSpec:
        one = leaf.shape[self._env.batch_dims :]
        found = None
        if type(leaf) is Categorical and not one:
            found = "discrete"
        elif isinstance(leaf, (Bounded, Unbounded)) and leaf.dtype.is_floating_point and len(one) == 1:
            found = "continuous"
        if found not in actions:
            kinds = {"discrete": "an index (Categorical)", "continuous": "a vector of floats"}
            expected = " or ".join(kinds[kind] for kind in actions)
            raise SpecError(f"{self.agent}: expected one action, {expected}, found {leaf}")
        return leaf

    def _reward_and_done(self) -> tuple[NestedKey, NestedKey, NestedKey]:
        env = self._env
        rewards, groups = env.reward_keys, env.plan.done_groups
        if len(rewards) != 1 or len(groups) != 1:
            dones = [group.done for group in groups]
            raise SpecError(f"{self.agent}: expected one reward and one done flag, found {rewards} and {dones}")
        done = groups[0].done
        for key, leaf in ((rewards[0], env.full_reward_spec[rewards[0]]), (done, env.done_spec[done])):
            one = leaf.shape[env.batch_dims :]
            if one.numel() != 1:
                raise SpecError(f"{self.agent}: expected {key!r} of shape [1], found {list(one)}")
        return rewards[0], done, groups[0].terminated

    def observation_width(self) -> int:
        """Sum of the widths of the observations, which have to be float32 vectors.

        Raises:
            SpecError: one of them is something else.
        """
        width = 0
        for key in self.observation_keys:
            leaf = self._env.observation_spec[key]
            one = leaf.shape[self._env.batch_dims :]
            if leaf.dtype != torch.float32 or len(one) != 1:
                raise SpecError(
                    f"{self.agent}: expected {key!r} to be a float32 vector, found {leaf.dtype} of shape {list(one)}; "
                    f"transform it, leave it out of observation_keys, or pass networks of your own"
                )
            width += one[0]
        return width

    def action_bounds(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest action of one env, shape ``[action_size]`` each; infinite where there is no bound."""
        leaf, dims = self.action, self._env.batch_dims
        one = leaf[(0,) * dims] if dims else leaf
        if isinstance(one, Bounded):
            return one.space.low.clone(), one.space.high.clone()
        return torch.full(one.shape, -torch.inf), torch.full(one.shape, torch.inf)

    def finite_action_bounds(self) -> tuple[Tensor, Tensor]:
        """As :meth:`action_bounds`.

        Raises:
            SpecError: an action has no bound.
        """
        low, high = self.action_bounds()
        if not (low.isfinite().all() and high.isfinite().all()):
            raise SpecError(f"{self.agent}: expected actions with finite bounds, found {self.action}")
        return low, high

    def describe(self) -> dict[str, str]:
        """What a checkpoint has to agree about with an env: one env's observations and action."""
        lead = self._env.batch_dims
        leaves = {str(key): self._env.observation_spec[key] for key in self.observation_keys}
        out = {name: f"{list(leaf.shape[lead:])} {leaf.dtype}" for name, leaf in leaves.items()}
        if self.discrete:
            return {**out, "action": f"{self.action_size} {self.action.dtype}"}
        low, high = (bound.tolist() for bound in self.action_bounds())
        return {**out, "action": f"{list(self.action.shape[lead:])} {self.action.dtype} from {low} to {high}"}

    def keys(self) -> list[Any]:
        """The observation keys as JSON has them."""
        return [list(key) if isinstance(key, tuple) else key for key in self.observation_keys]
