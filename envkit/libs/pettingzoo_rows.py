"""Agents in rows: what a PettingZoo env says of each of them, written where the group of theirs has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from tensordict import LazyStackedTensorDict, NestedKey, TensorDictBase

from envkit.core.masks import Masks
from envkit.core.plan import path_of
from envkit.errors import EnvDataError, PolicyError, ResetNeededError
from envkit.libs.numpy_rows import row_reader, row_writer
from envkit.libs.pettingzoo_agents import Agent, action_mask
from envkit.specs import Composite
from envkit.storage import Slab

if TYPE_CHECKING:
    from envkit.libs.pettingzoo import PettingZooWrapper

__all__ = ["AgentRows", "Columns", "RowsApart"]

FLAGS = ("done", "terminated", "truncated")


class Columns(NamedTuple):
    """The arrays of a slab, or of several: those of the env as a whole, and each agent's own by their keys there."""

    shared: Mapping[NestedKey, Any]
    own: Mapping[str, Mapping[NestedKey, Any]]

    @classmethod
    def of(cls, slab: Slab, agents: list[Agent]) -> Columns:
        """Those of a slab whose groups are tensors."""
        groups: dict[str, dict[NestedKey, Any]] = {agent.group: {} for agent in agents}
        shared: dict[NestedKey, Any] = {}
        for key, array in slab.arrays.items():
            first, *rest = path_of(key)
            if rest and first in groups:
                groups[first][rest[0] if len(rest) == 1 else tuple(rest)] = array
            else:
                shared[key] = array
        own = {
            agent.name: {key: array[:, agent.place] for key, array in groups[agent.group].items()} for agent in agents
        }
        return cls(shared, own)


class AgentRows:
    """A PettingZoo env bound to rows."""

    advance = None  # flags that stand one above the other take the loop's own way

    def __init__(self, env: PettingZooWrapper, root: Columns, following: Columns) -> None:
        self._env, self._agents = env, env._agents
        self._read = {agent.name: row_reader(agent.action, root.own[agent.name], "action") for agent in env._agents}
        self._write_first, self._write_next = _Side(env, root), _Side(env, following)
        self._rewards = [following.own[agent.name]["reward"][..., 0] for agent in env._agents]

    def reset(self, row: int, masks: Masks | None = None, **kwargs: Any) -> None:
        """See :meth:`~envkit.core.rows.RowPort.reset`; ``seed`` and ``options`` go to the simulator.

        All agents start together, as soon as the mask of the env as a whole says so.
        """
        if masks is not None and not bool(masks["_reset"].any()):
            return
        env = self._env
        if env._seed is not None and "seed" not in kwargs:
            kwargs["seed"] = env._seed
        env._seed = None
        observations, infos = env._episode.begin(**kwargs)
        self._write_first(row, observations, infos, False, False)

    def step(self, row: int, masks: Masks | None = None) -> bool:
        """See :meth:`~envkit.core.rows.RowPort.step`."""
        episode, read = self._env._episode, self._read
        if not episode.acting:
            raise ResetNeededError(f"{self._env}: expected a reset before the next step(); no agent is alive")
        observations, rewards, infos, terminated, truncated = episode.step(
            {name: read[name](row) for name in episode.acting}
        )
        for agent, column in zip(self._agents, self._rewards, strict=True):
            reward = rewards.get(agent.name, 0.0)
            try:
                column[row] = reward
            except (TypeError, ValueError):
                key = (agent.group, "reward")
                raise EnvDataError(f"{key} of {agent.name!r}: expected a number, found {reward!r}") from None
        return self._write_next(row, observations, infos, terminated, truncated)


class _Side:
    """Writes observations, masks, infos and flags of all agents, and what is no agent's, to a row."""

    def __init__(self, env: PettingZooWrapper, columns: Columns) -> None:
        self._env, self._episode, self._tells = env, env._episode, env.use_mask
        self._flags = [columns.shared[name][..., 0] for name in FLAGS]
        self._agents = []
        for agent in env._agents:
            own = columns.own[agent.name]
            flags = [own[name][..., 0] for name in FLAGS]
            self._agents.append((agent.name, _observer(agent, own), _blanker(own), own.get("mask"), *flags))
        self._state = row_writer(env.observation_spec["state"], columns.shared, "state") if env.return_state else None

    def __call__(
        self,
        row: int,
        observations: Mapping[str, Any],
        infos: Mapping[str, Mapping[str, Any]],
        terminated: bool,
        truncated: bool,
    ) -> bool:
        """Returns whether any flag is up."""
        env_done, env_terminated, env_truncated = self._flags
        ended = terminated or truncated
        env_done[row], env_terminated[row], env_truncated[row] = ended, terminated, truncated
        over, acting, tells = self._episode.over, self._episode.acting, self._tells
        for name, observe, blank, mask, done, dead, cut in self._agents:
            # The end of the env is the end of everybody's episode: those who were still alive are cut off.
            own = over.get(name, (False, ended))
            dead[row], cut[row] = own
            done[row] = True in own
            if name in observations:
                observe(row, observations[name], infos.get(name, {}))
            else:
                if not tells and not ended:
                    raise EnvDataError(
                        f"agent {name!r}: expected an observation of each agent as long as the episode goes on, found "
                        f"only those of {list(observations)}; use_mask=True adds a mask of those who act"
                    )
                blank(row)
            if mask is not None:
                mask[row] = name in acting and name in observations and name not in over
        if self._state is not None:
            self._state(row, self._env._env.state())
        return ended or bool(over)


def _observer(agent: Agent, arrays: Mapping[NestedKey, Any]) -> Callable[[int, Any, Mapping[str, Any]], None]:
    """A function ``write(row, observation, info)`` for one agent."""
    observe = row_writer(agent.observation, arrays, () if agent.named else "observation")
    allowed = arrays.get("action_mask")
    read = [(name, leaf, arrays["info", name]) for name, leaf in agent.info.items()]
    if allowed is None and not read:
        return lambda row, observation, info: observe(row, observation)

    def write(row: int, observation: Any, info: Mapping[str, Any]) -> None:
        observe(row, observation)
        if allowed is not None:
            allowed[row] = action_mask(agent, observation, info)
        for name, leaf, array in read:
            array[row] = leaf.encode(info[name]).numpy() if name in info else 0

    return write


def _blanker(arrays: Mapping[NestedKey, Any]) -> Callable[[int], None]:
    """A function that fills a row with what stands for an agent who is not there: zeros, and a free choice."""
    kept = {"action", "reward", *FLAGS}
    fills = [(array, key == "action_mask") for key, array in arrays.items() if path_of(key)[0] not in kept]

    def blank(row: int) -> None:
        for array, fill in fills:
            array[row] = fill

    return blank


class RowsApart:
    """A row for each agent, for groups of agents that differ; and the TensorDicts that are made of them."""

    def __init__(self, env: PettingZooWrapper) -> None:
        self._env, plan = env, env.plan
        self._root, self._following = (_Pieces(env, spec) for spec in (plan.root_spec, plan.next_spec))
        self._port = AgentRows(env, self._root.columns, self._following.columns)

    def reset(self, **kwargs: Any) -> TensorDictBase:
        """The first data of an episode."""
        self._port.reset(0, None, **kwargs)
        return self._root.tensordict(without=("action",))

    def step(self, tensordict: TensorDictBase) -> TensorDictBase:
        """What the actions in ``tensordict`` lead to."""
        for agent in self._env._agents:
            own: Any = tensordict.get(agent.group, None)
            own = own if own is None else own[agent.place]
            for key in self._root.actions(agent):
                value = None if own is None else own.get(key, None)
                if value is None:
                    raise PolicyError(
                        f"{(agent.group, *path_of(key))} of {agent.name!r} is missing: expected {agent.action}"
                    )
                self._root.slabs[agent.name].columns[key][0] = value
        self._port.step(0)
        return self._following.tensordict()


class _Pieces:
    """One row of what a spec describes: a slab for what is no agent's, and one for each agent."""

    def __init__(self, env: PettingZooWrapper, spec: Composite) -> None:
        self._agents, self._spec = env._agents, spec
        groups = {agent.group for agent in env._agents}
        self._shared = Slab(Composite({key: leaf for key, leaf in spec.items() if key not in groups}), 1)
        self.slabs = {agent.name: Slab(spec[agent.group][agent.place], 1) for agent in env._agents}
        self.columns = Columns(self._shared.arrays, {name: slab.arrays for name, slab in self.slabs.items()})

    def actions(self, agent: Agent) -> list[NestedKey]:
        """The keys of an agent's action."""
        return [key for key in self.slabs[agent.name].columns if path_of(key)[0] == "action"]

    def tensordict(self, without: tuple[str, ...] = ()) -> TensorDictBase:
        """The row, over the memory of the slabs."""
        out = self._shared.reader(self._shared.columns)(0)
        members: dict[str, list[TensorDictBase]] = {}
        for agent in self._agents:
            slab = self.slabs[agent.name]
            keys = [key for key in slab.columns if path_of(key)[0] not in without]
            members.setdefault(agent.group, []).append(slab.reader(keys)(0))
        for group, parts in members.items():
            equal = not self._spec[group].has_dynamic_shape
            out.set(group, torch.stack(parts) if equal else LazyStackedTensorDict.lazy_stack(parts, 0))  # type: ignore[arg-type]
        return out
