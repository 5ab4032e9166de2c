"""What an agent reads off the specs of its env, and what it asks of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase
from torch import Tensor

from envkit import Bounded, Categorical, EnvBase, SpecError, TensorSpec, Unbounded
from envkit.core.plan import path_of
from envkit.transforms.keys import sibling

__all__ = ["Spaces"]


class Spaces:
    """The one action, reward and done flag of an env, and the observations that an agent sees.

    :class:`~agents.algorithms.team_spaces.TeamSpaces` are those of agents that learn together. Shapes below have a
    dimension ``*team`` for them; here it is none.

    Args:
        env: the env.
        agent: name of the agent, for messages.
        observation_keys: what it sees, all observations but the mask of actions by default.
        actions: kinds of actions it can take, ``"discrete"`` or ``"continuous"``.

    Attributes:
        count: number of envs in the batch.
        streams: number of sequences of episodes: one for each env, or for each agent where episodes are its own.
        group: path of the level where the agent's entries stand.
        team: number of agents that learn together, as a shape; empty for a single one.
        observation_keys: what the networks see.
        action_key, reward_key, done_key, terminated_key: where the others stand; the flags are those of the episode.
        flag_keys: all done and terminated flags that matter to an agent.
        alive_key: the flag that says that an agent's part of an episode is over before the episode is, if there is one.
        discrete: whether actions are indices.
        action_size: number of actions, or of numbers in one.
        mask_key: where the env says which actions are possible: an observation named ``"action_mask"`` or ``"mask"``
            beside the action, boolean, one entry for each action; None where there is none.

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
        self.agent, self._env = agent, env
        self.count = self.streams = env.numel()
        self.group, self.team = self._group()
        self.action = self._action(env.action_spec, actions)
        self.action_key = env.action_key
        self.discrete = isinstance(self.action, Categorical)
        one = self._of_one(self.action)
        self.action_size: int = self.action.n if isinstance(self.action, Categorical) else one.numel()
        self.mask_key = self._mask()
        self.alive_key: NestedKey | None = None
        self.reward_key, self.done_key, self.terminated_key = self._reward_and_done()
        self.flag_keys: list[NestedKey] = self._flags()
        self.observation_keys = self._seen() if observation_keys is None else list(observation_keys)
        for key in self.observation_keys:
            if key not in env.observation_keys:
                raise SpecError(f"{agent}: unknown observation {key!r}; the env has {env.observation_keys}")

    def _group(self) -> tuple[tuple[str, ...], torch.Size]:
        """The level of the only action, and how many agents it has."""
        env = self._env
        if len(env.action_keys) == 1 and (path := path_of(env.action_key)[:-1]):
            agents = env.full_action_spec[path].shape[env.batch_dims :]
            if agents:
                raise SpecError(
                    f"{self.agent}: expected the action of one agent, found those of {agents.numel()} at "
                    f"{env.action_key!r}; IPPO, MAPPO, MADDPG, IndependentDQN, VDN and QMIX learn in groups"
                )
        return (), torch.Size()

    def _of_one(self, leaf: TensorSpec) -> torch.Size:
        """The shape of one agent's entry."""
        return leaf.shape[self._env.batch_dims + len(self.team) :]

    def _seen(self) -> list[NestedKey]:
        """What the networks see if nothing is said about it."""
        return [key for key in self._env.observation_keys if key != self.mask_key]

    def _mask(self) -> NestedKey | None:
        for name in ("action_mask", "mask"):
            leaf = self._env.observation_spec.get(sibling(self.action_key, name), None)
            expected = (*self.action.shape, self.action_size)
            if self.discrete and leaf is not None and leaf.dtype is torch.bool and tuple(leaf.shape) == expected:
                return sibling(self.action_key, name)
        return None

    @property
    def mask_keys(self) -> list[NestedKey]:
        """``mask_key``, if there is one."""
        return [] if self.mask_key is None else [self.mask_key]

    def _flags(self) -> list[NestedKey]:
        return [self.done_key, self.terminated_key]

    def _action(self, leaf: TensorSpec, actions: Sequence[str]) -> TensorSpec:
        one = self._of_one(leaf)
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
        """Sum of the widths of an agent's observations, which have to be float32 vectors.

        Raises:
            SpecError: one of them is something else.
        """
        width = 0
        for key in self.observation_keys:
            leaf = self._env.observation_spec[key]
            one = self._of_one(leaf)
            if leaf.dtype != torch.float32 or len(one) != 1:
                raise SpecError(
                    f"{self.agent}: expected {key!r} to be a float32 vector, found {leaf.dtype} of shape {list(one)}; "
                    f"transform it, leave it out of observation_keys, or pass networks of your own"
                )
            width += one[0]
        return width

    def action_bounds(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest action in one env, ``[*team, action_size]`` each; infinite where there is no bound."""
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
            agents = f"{self.team.numel()} agents, " if self.team else ""
            return {**out, "action": f"{agents}{self.action_size} {self.action.dtype}"}
        low, high = (bound.tolist() for bound in self.action_bounds())
        return {**out, "action": f"{list(self.action.shape[lead:])} {self.action.dtype} from {low} to {high}"}

    # ------------------------------------------------------------------- data

    def reward(self, following: TensorDictBase) -> Tensor:
        """The rewards of steps, ``[*batch, *team]``, from what stands under ``"next"``."""
        return following[self.reward_key].squeeze(-1)

    def done(self, following: TensorDictBase) -> Tensor:
        """Whether steps ended an agent's part of the episode, ``[*batch, *team]``."""
        return following[self.done_key].squeeze(-1)

    def terminated(self, following: TensorDictBase) -> Tensor:
        """Whether they did so by the env's rules, ``[*batch, *team]``."""
        return following[self.terminated_key].squeeze(-1)

    def alive(self, rows: TensorDictBase) -> Tensor | None:
        """Which agents take part in steps, ``[*batch, *team]``; None if it is all of them, always."""
        return None if self.alive_key is None else ~rows[self.alive_key].squeeze(-1)

    def episodes(self, following: TensorDictBase) -> tuple[Tensor, Tensor]:
        """Rewards of consecutive steps, and whether they ended an episode; ``[streams, time]`` each."""
        shape = (self.count, -1)
        return following[self.reward_key].reshape(shape), following[self.done_key].reshape(shape)

    def keys(self) -> list[Any]:
        """The observation keys as JSON has them."""
        return [list(key) if isinstance(key, tuple) else key for key in self.observation_keys]
