"""What agents that learn together read off the specs of their env."""

from __future__ import annotations

import torch
from tensordict import NestedKey, TensorDictBase
from torch import Tensor

from agents.algorithms.spaces import Spaces
from envkit import SpecError
from envkit.core.plan import path_of

__all__ = ["TeamSpaces"]

NOT_SEEN = ("info", "mask", "action_mask")


class TeamSpaces(Spaces):
    """The actions of one group of agents, what they see and earn, and the flags that end their episodes.

    The entries of a group stand in a nested TensorDict, ``(group, "action")`` ``[*batch, agents, ...]``. A reward at
    the root, ``[*batch, 1]``, is that of each agent. Done flags stand at the root, where they are those of the episode;
    or in the group, ``[*batch, agents, 1]``, for the part that each agent has in it; or in both places. What the
    networks see by default is all observations of the group besides ``"info"`` and masks.

    Arguments are those of :class:`Spaces`.

    Raises:
        SpecError: there are several groups or none, its agents are of different kinds, or the env has rewards, flags or
            actions of another kind.
    """

    def _group(self) -> tuple[tuple[str, ...], torch.Size]:
        env = self._env
        if len(env.action_keys) != 1:
            raise SpecError(
                f"{self.agent}: expected one group of agents, found actions {env.action_keys}; "
                f"agents of one kind can be put into one, such as by group_map=MarlGroupMapType.ALL_IN_ONE_GROUP"
            )
        group = path_of(env.action_key)[:-1]
        agents = env.full_action_spec[group].shape[env.batch_dims :] if group else torch.Size()
        if len(agents) != 1:
            raise SpecError(
                f"{self.agent}: expected the action of a group of agents, such as ('agents', 'action') within a spec "
                f"of shape [agents], found {env.action_key!r} within one of shape {list(agents)}"
            )
        if unequal := [key for key in env.plan.unequal if path_of(key)[: len(group)] == group]:
            raise SpecError(
                f"{self.agent}: expected agents of one kind in the group {group[-1]!r}, found observations or actions "
                f"of several at {unequal}"
            )
        return group, agents

    def _seen(self) -> list[NestedKey]:
        depth = len(self.group)
        paths = [path_of(key) for key in self._env.observation_keys]
        return [path for path in paths if path[:depth] == self.group and path[depth] not in NOT_SEEN]

    def _reward_and_done(self) -> tuple[NestedKey, NestedKey, NestedKey]:
        env, rewards = self._env, self._env.reward_keys
        groups = {path_of(group.done)[:-1]: group for group in env.plan.done_groups}
        dones = [group.done for group in groups.values()]
        if len(rewards) != 1 or set(groups) - {(), self.group}:
            raise SpecError(
                f"{self.agent}: expected one reward, and done flags at the root or in the group {self.group[-1]!r}, "
                f"found {rewards} and {dones}"
            )
        leaves = [(rewards[0], env.full_reward_spec[rewards[0]]), *((key, env.full_done_spec[key]) for key in dones)]
        for key, leaf in leaves:
            expected = [*self.team, 1] if self._is_own(key) else [1]
            found = list(leaf.shape[env.batch_dims :])
            if found != expected:
                raise SpecError(f"{self.agent}: expected {key!r} of shape {expected}, found {found}")
        if len(groups) > 1:
            self.alive_key = groups[self.group].done
        elif () not in groups:
            self.streams *= self.team.numel()
        outermost = groups[min(groups, key=len)]
        return rewards[0], outermost.done, outermost.terminated

    def _flags(self) -> list[NestedKey]:
        return [key for group in self._env.plan.done_groups for key in (group.done, group.terminated)]

    def _is_own(self, key: NestedKey) -> bool:
        """Whether an entry has a number for each agent, rather than one for all."""
        return path_of(key)[: len(self.group)] == self.group

    def _of_each(self, data: TensorDictBase, key: NestedKey) -> Tensor:
        entry = data[key]
        return entry.squeeze(-1) if self._is_own(key) else entry.expand(*entry.shape[:-1], *self.team)

    @property
    def state_keys(self) -> list[NestedKey]:
        """What tells the state of the env: an observation ``"state"`` at the root, else what all agents see."""
        return ["state"] if "state" in self._env.observation_keys else self.observation_keys

    def state_width(self) -> int:
        """How many numbers the state has."""
        leaves = [self._env.observation_spec[key] for key in self.state_keys]
        return sum(leaf.shape[self._env.batch_dims :].numel() for leaf in leaves)

    # ------------------------------------------------------------------- data

    def state(self, rows: TensorDictBase) -> Tensor:
        """The state of the env before, or after, steps; ``[batch, state_width]``, for one batch dimension."""
        return torch.cat([rows[key].flatten(1).float() for key in self.state_keys], -1)

    def reward(self, following: TensorDictBase) -> Tensor:
        """See :meth:`Spaces.reward`."""
        return self._of_each(following, self.reward_key)

    def team_reward(self, following: TensorDictBase) -> Tensor:
        """The mean of the agents' rewards, ``[*batch]``."""
        reward = following[self.reward_key].squeeze(-1)
        return reward.mean(-1) if self._is_own(self.reward_key) else reward

    def done(self, following: TensorDictBase) -> Tensor:
        """See :meth:`Spaces.done`; the end of the episode is that of each agent's part."""
        return self._any(following, self.flag_keys[::2])

    def terminated(self, following: TensorDictBase) -> Tensor:
        """See :meth:`Spaces.terminated`."""
        return self._any(following, self.flag_keys[1::2])

    def _any(self, following: TensorDictBase, keys: list[NestedKey]) -> Tensor:
        return torch.stack([self._of_each(following, key) for key in keys]).any(0)

    def episodes(self, following: TensorDictBase) -> tuple[Tensor, Tensor]:
        """See :meth:`Spaces.episodes`; the reward is the mean over agents, unless each has episodes of its own."""
        done = following[self.done_key].squeeze(-1)
        if not self._is_own(self.done_key):
            return self.team_reward(following).reshape(self.count, -1), done.reshape(self.count, -1)
        shape = (self.count, -1, *self.team)
        return self.reward(following).reshape(shape).mT.flatten(0, 1), done.reshape(shape).mT.flatten(0, 1)
