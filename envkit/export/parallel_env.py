"""A PettingZoo parallel env out of an env with groups of agents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from gymnasium import spaces
from tensordict import LazyStackedTensorDict, NestedKey, TensorDictBase

from envkit.core.env import EnvBase
from envkit.core.plan import DoneGroup, path_of
from envkit.errors import InvalidActionError, MissingDependencyError, ResetNeededError, SpecError
from envkit.export.gymnasium_env import metadata_of
from envkit.export.inner import takes_options
from envkit.export.layout import Convert, encoder, reader
from envkit.specs import Categorical, Composite, TensorSpec, space_from_spec

try:
    from pettingzoo import ParallelEnv
except ImportError:  # an extra; as_pettingzoo says so
    ParallelEnv = object

__all__ = ["ExportedParallelEnv"]


class _Agent(NamedTuple):
    """Where one agent's data is, and how it is converted."""

    group: str
    row: int | None
    observe: Convert
    inform: Convert
    act: Convert
    reward: NestedKey
    done: DoneGroup


class ExportedParallelEnv(ParallelEnv):
    """An env with groups of agents as a ``pettingzoo.ParallelEnv``; see :func:`~envkit.as_pettingzoo`.

    Args:
        env, group_map: see :func:`~envkit.as_pettingzoo`.
    """

    def __init__(self, env: EnvBase, group_map: Mapping[str, Sequence[str]] | None = None) -> None:
        if ParallelEnv is object:
            raise MissingDependencyError("as_pettingzoo needs PettingZoo: pip install 'envkit[pettingzoo]'")
        if not isinstance(env, EnvBase):
            raise TypeError(f"as_pettingzoo: expected an env, found {type(env).__name__}")
        if env.batch_size:
            raise SpecError(
                f"as_pettingzoo: expected an env without batch dimensions, found batch size {list(env.batch_size)}"
            )
        self.base_env = env
        self.group_map = _groups(env, group_map)
        self.possible_agents = [name for names in self.group_map.values() for name in names]
        self.agents: list[str] = []
        self.observation_spaces: dict[str, spaces.Space] = {}
        self.action_spaces: dict[str, spaces.Space] = {}
        self._agents: dict[str, _Agent] = {}
        for group, names in self.group_map.items():
            sizes = _agent_dim(env, group, names)
            for i, name in enumerate(names):
                self._describe(name, group, i if sizes else None)
        shared = [key for key in env.observation_keys if path_of(key)[0] not in self.group_map]
        self._state_spec = Composite({key: env.observation_spec[key] for key in shared})
        self.state_space = space_from_spec(self._state_spec) if shared else None
        self.metadata = {
            "name": type(env).__name__,
            **metadata_of(getattr(env, "metadata", None), to_numpy=True),
            "is_parallelizable": True,
        }
        self.render_mode = getattr(env, "render_mode", None)
        self._takes_options = takes_options(env)
        self._data: TensorDictBase | None = None

    def _describe(self, name: str, group: str, index: int | None) -> None:
        env = self.base_env
        seen = env.observation_spec.get(group, None)
        seen = (seen.clone() if index is None else _element(seen, index)) if seen is not None else Composite()
        info = seen["info"] if "info" in seen.keys() else Composite()
        if "info" in seen.keys():
            del seen["info"]
        alone = list(seen.keys()) == ["observation"]
        leaf = seen["observation"] if alone else seen
        self.observation_spaces[name] = space_from_spec(leaf)
        read = reader(leaf, self.observation_spaces[name], to_numpy=True)
        action = env.full_action_spec[group]["action"]
        single = _own_actions(action if index is None else _element(action, index))
        self.action_spaces[name] = space_from_spec(single)
        groups = {path_of(g.done)[:-1]: g for g in env.plan.done_groups}
        rewards = {path_of(key)[:-1]: key for key in env.reward_keys}
        self._agents[name] = _Agent(
            group,
            index,
            (lambda data: read(data.get("observation"))) if alone else read,
            info.to_numpy,
            encoder(single),
            _own_or_shared(rewards, group, "reward"),
            _own_or_shared(groups, group, "done flag"),
        )

    # ---------------------------------------------------------------- PettingZoo

    def observation_space(self, agent: str) -> spaces.Space:
        """The space of an agent's observations, the same object at every call."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space:
        """The space of an agent's actions, the same object at every call."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Starts an episode with all agents.

        Args:
            seed: seeds the env; see :meth:`~envkit.EnvBase.set_seed`.
            options: passed on to the env's reset, if it takes any.

        Returns:
            Observations and infos by agent.
        """
        if seed is not None:
            self.base_env.set_seed(seed)
        kwargs: dict[str, Any] = {"options": options} if options and self._takes_options else {}
        with torch.no_grad():
            self._data = self.base_env.reset(**kwargs)
        self.agents = self.possible_agents[:]
        return self._observations(self._data, self.agents), self._infos(self._data, self.agents)

    def step(self, actions: Mapping[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        """Executes the actions of all live agents; the dead ones do what a zero does.

        Returns:
            Observations, rewards (``float``), terminations and truncations (``bool``) and infos, each by the agents
            that were alive. Those whose episode ended are gone from :attr:`agents` afterwards.

        Raises:
            ResetNeededError: there was no reset yet, or no agent is alive.
            InvalidActionError: a live agent's action is missing, or an action does not fit its space.
        """
        data = self._data
        if data is None or not self.agents:
            raise ResetNeededError(f"{self}: expected reset() before step(); no agent is alive")
        data.update(self._actions(actions))
        with torch.no_grad():
            data = self.base_env.step(data)
            following = data.get("next")
            self._data = self.base_env.step_mdp(data)
        alive = self.agents
        rewards = {name: float(self._own(following, name, self._agents[name].reward).sum()) for name in alive}
        terminations, truncations = {}, {}
        for name in alive:
            done = self._agents[name].done
            terminated = bool(self._own(following, name, done.terminated).any())
            ended = bool(self._own(following, name, done.done).any())
            truncated = ended and not terminated
            if done.truncated is not None:
                truncated = bool(self._own(following, name, done.truncated).any())
            terminations[name], truncations[name] = terminated, truncated
        over = self._all_over(following)
        if over is not None:
            for name in alive:
                if not (terminations[name] or truncations[name]):
                    terminations[name], truncations[name] = over, not over
        self.agents = [name for name in alive if not (terminations[name] or truncations[name])]
        observations = self._observations(following, alive)
        return observations, rewards, terminations, truncations, self._infos(following, alive)

    def render(self) -> Any:
        """What the env renders; None without a render mode."""
        if self.render_mode is None:
            return None
        render: Any = self.base_env.render
        return render()

    def close(self) -> None:
        """Closes the env; may be called twice."""
        if not self.base_env.is_closed:
            self.base_env.close()

    def state(self) -> Any:
        """What is observed outside of all groups, as a dictionary.

        Raises:
            NotImplementedError: there is nothing.
        """
        if self.state_space is None:
            raise NotImplementedError(f"{self}: no observation is outside of the groups {list(self.group_map)}")
        if self._data is None:
            raise ResetNeededError(f"{self}: expected reset() before state()")
        return self._state_spec.to_numpy(self._data.select(*self._state_spec.keys(True, True)))

    # --------------------------------------------------------------------- data

    def _own(self, data: TensorDictBase, name: str, key: NestedKey) -> torch.Tensor:
        """An agent's part of a reward or flag; all of it, if agents share it."""
        agent, value = self._agents[name], data.get(key)
        return value if agent.row is None or len(path_of(key)) == 1 or value.ndim < 2 else value[agent.row]

    def _group_data(self, data: TensorDictBase, name: str) -> Any:
        agent = self._agents[name]
        group: Any = data.get(agent.group, None)
        if group is None or agent.row is None:
            return group
        return group[agent.row] if isinstance(group, LazyStackedTensorDict) else _Element(group, agent.row)

    def _observations(self, data: TensorDictBase, names: Sequence[str]) -> dict[str, Any]:
        return {name: self._agents[name].observe(self._group_data(data, name)) for name in names}

    def _infos(self, data: TensorDictBase, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        infos = {}
        for name in names:
            group = self._group_data(data, name)
            info = None if group is None else group.get("info", None)
            infos[name] = {} if info is None else self._agents[name].inform(info)
        return infos

    def _all_over(self, following: TensorDictBase) -> bool | None:
        """Whether the end of everything (flags at the root) is a termination; None if it is not the end."""
        for group in self.base_env.plan.done_groups:
            if isinstance(group.done, str) and bool(following.get(group.done).all()):
                return bool(following.get(group.terminated).all())
        return None

    def _actions(self, actions: Mapping[str, Any]) -> TensorDictBase:
        strangers = [name for name in actions if name not in self._agents]
        missing = [name for name in self.agents if name not in actions]
        if strangers or missing:
            raise InvalidActionError(f"actions: expected one for each of {self.agents}, found {list(actions)}")
        out = self.base_env.full_action_spec.zero()
        for name in self.agents:
            agent = self._agents[name]
            try:
                encoded = agent.act(actions[name])
            except InvalidActionError as error:
                raise InvalidActionError(f"agent {name!r}: {error}") from error
            if agent.row is None:
                out.set((agent.group, "action"), encoded)
            elif agent.group in self.base_env.plan.unequal:
                out.get(agent.group)[agent.row].set("action", encoded)
            else:
                out.get((agent.group, "action"))[agent.row] = encoded
        return out

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.metadata['name']}, agents={self.possible_agents})"


class _Element:
    """One agent's slice of a group's data, whether or not the group's TensorDict has the agents' dimension."""

    def __init__(self, data: Any, index: int) -> None:
        self._data, self._index = data, index

    def get(self, key: str, default: Any = None) -> Any:
        """The slice of an entry."""
        value = self._data.get(key, None)
        if value is None:
            return default
        return _Element(value, self._index) if isinstance(value, TensorDictBase) else value[self._index]


def _element(spec: TensorSpec, index: int) -> Any:
    """The spec of one agent, whether or not the group's Composite has the agents' dimension."""
    if isinstance(spec, Composite):
        return Composite({name: _element(leaf, index) for name, leaf in spec.items() if leaf is not None})
    return spec[index]


def _groups(env: EnvBase, given: Mapping[str, Sequence[str]] | None) -> dict[str, list[str]]:
    """The agents of each group.

    Raises:
        SpecError: the env has no groups, or others; an agent is in two of them.
    """
    names = [name for name, leaf in env.full_action_spec.items() if isinstance(leaf, Composite)]
    names = [name for name in names if (name, "action") in env.action_keys or _nested_action(env, name)]
    if not names or {path_of(key)[0] for key in env.action_keys} != set(names):
        raise SpecError(
            f"as_pettingzoo: expected actions at (group, 'action') for each group of agents, found {env.action_keys}; "
            f"as_gymnasium takes envs of one agent"
        )
    if given is None:
        out = {}
        for name in names:
            count = _count(env, name)
            out[name] = [name] if count is None else [f"{name}_{i}" for i in range(count)]
        return out
    groups = {name: list(agents) for name, agents in given.items()}
    agents = [agent for members in groups.values() for agent in members]
    if set(groups) != set(names) or len(set(agents)) != len(agents) or not all(groups.values()):
        raise SpecError(f"group_map: expected agents for each of the groups {names}, each agent once, found {groups}")
    return groups


def _nested_action(env: EnvBase, group: str) -> bool:
    return all(path_of(key)[1] == "action" for key in env.action_keys if path_of(key)[0] == group)


def _count(env: EnvBase, group: str) -> int | None:
    """How many agents a group's tensors are for; None if they have no dimension for agents."""
    spec = env.full_action_spec[group]
    if spec.shape:
        return spec.shape[0]
    for role in (env.full_reward_spec, env.full_done_spec):
        for key, leaf in role.items(True, True):
            if path_of(key)[0] == group:
                return leaf.shape[0] if leaf.ndim > 1 else None
    return None


def _agent_dim(env: EnvBase, group: str, names: Sequence[str]) -> bool:
    count = _count(env, group)
    if count is None and len(names) > 1:
        # Nothing but the user says that there are several: reward and flags are shared, and the shapes have to fit.
        leaves = [leaf for key, leaf in env.full_action_spec.items(True, True) if path_of(key)[0] == group]
        count = leaves[0].shape[0] if leaves[0].shape else None
    if count != len(names) and not (count is None and len(names) == 1):
        raise SpecError(f"group_map: expected {count or 1} agents in the group {group!r}, found {list(names)}")
    return count is not None


def _own_actions(spec: TensorSpec) -> TensorSpec:
    """The first actions alone, where a mask leaves only them: an agent that has fewer than others of its group."""
    if type(spec) is not Categorical or spec.shape or spec.mask is None:
        return spec
    count = int(spec.mask.sum())
    if not spec.mask[:count].all():
        return spec
    return Categorical(count, device=spec.device, dtype=spec.dtype, start=spec.start)


def _own_or_shared(found: Mapping[tuple[str, ...], Any], group: str, what: str) -> Any:
    for prefix in ((group,), ()):
        if prefix in found:
            return found[prefix]
    raise SpecError(f"as_pettingzoo: expected a {what} in the group {group!r} or at the root, found {list(found)}")
