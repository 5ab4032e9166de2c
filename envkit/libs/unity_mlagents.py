"""Unity ML-Agents: scenes of Unity."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from tensordict import NestedKey, TensorDictBase

from envkit.core.masks import has_mask
from envkit.errors import EnvDataError, MissingDependencyError, ResetNeededError, UnknownEnvError
from envkit.libs.agent_groups import GroupMap, agent_groups
from envkit.libs.class_property import class_property
from envkit.libs.simulator import SimulatorEnv, import_simulator
from envkit.libs.unity_agents import Agent, Group, Scene
from envkit.specs import Bounded, Categorical, Composite, MultiCategorical, Unbounded
from envkit.spelling import did_you_mean

__all__ = ["UnityMLAgentsEnv", "UnityMLAgentsWrapper"]

SEEDS = 2**31  # the simulator takes an int32


class UnityMLAgentsWrapper(SimulatorEnv):
    """An env out of a ``UnityEnvironment``, or any other ``BaseEnv``, of ML-Agents.

    Agents of one behaviour are a group, named after it (without the ``?team=0`` that tells behaviours apart, if it need
    not).

    ============================== ======================== =======================================================
    entry                          dtype and shape          content
    ============================== ======================== =======================================================
    (group, sensor)                float32 ``[n, *shape]``  what each agent sees, by the names of its sensors
    (group, "mask")                bool ``[n]``             who acts next
    (group, "action_mask")         bool ``[n, actions]``    for discrete actions: which are allowed, those of all
                                                            branches one after the other
    (group, "continuous_action")   float32 ``[n, size]``    in [-1, 1]; if there are any
    (group, "discrete_action")     int64 ``[n, branches]``  if there are any; ``[n]`` for a single branch
    (group, "reward")              float32 ``[n, 1]``       the agent's own
    (group, "group_reward")        float32 ``[n, 1]``       that of the agents it is grouped with in Unity
    (group, "done"), likewise      bool ``[n, 1]``          whose episode is over; an interruption (a step limit) is a
    "terminated", "truncated"                               truncation
    ============================== ======================== =======================================================

    Agents end and begin their episodes each for itself, which Unity tells by a new id. Here they have fixed places: an
    episode that begins takes the place that has been free the longest. ``"next"`` holds the last observation
    of an episode; the first one of the next stands at the root after the reset. Where that has not come yet, the agent
    waits: it repeats what it saw last, does not act, and earns nothing. Agents that do not ask for an action in a step
    do the same. A reset of all agents restarts the scene, unless all have begun their next episodes by themselves; in
    part, only those can be reset whose episode is over.

    Random actions follow the masks. Attributes that the wrapper lacks are looked up in the wrapped env, which is reset
    at construction. It is written against mlagents-envs 0.28 and tested against a fake of its API, and against its own
    ``MockCommunicator`` where it is installed.

    Args:
        env: the ``UnityEnvironment``.
        group_map: the agents (``"<behaviour>_<number>"``) of each group, or a :class:`~envkit.MarlGroupMapType`; None
            for a group for each behaviour.
        categorical_actions: discrete actions are indices; if False, one-hot vectors.
        device: device of inputs and outputs.

    Raises:
        TypeError: ``env`` has not the interface of a ``BaseEnv``.
        ValueError: there are no agents, ``group_map`` does not fit them, or agents of one group differ; (when run) a
            reset of an agent whose episode goes on.
        ResetNeededError: (when run) a step of an agent whose episode is over.
        EnvDataError: (when run) agents of another number or behaviour than after the first reset; a ``"_step"`` mask
            leaves out an agent that acts.
        NotImplementedError: (by ``set_seed``) the simulator takes a seed when it is started; see
            :class:`UnityMLAgentsEnv`.

    Examples:
        >>> from mlagents_envs.environment import UnityEnvironment  # doctest: +SKIP
        >>> env = UnityMLAgentsWrapper(UnityEnvironment("3DBall"))  # doctest: +SKIP
        >>> env.rollout(5)["3DBall", "continuous_action"].shape  # doctest: +SKIP
        torch.Size([5, 12, 2])
    """

    libname = "mlagents_envs"

    def __init__(
        self,
        env: Any,
        *,
        group_map: GroupMap = None,
        categorical_actions: bool = True,
        device: torch.device | str | int | None = None,
    ) -> None:
        super().__init__(device=device)
        for name in ("reset", "step", "get_steps", "set_actions"):
            if not callable(getattr(env, name, None)):
                raise TypeError(f"{type(self).__name__}: expected a UnityEnvironment, found {type(env).__name__}")
        self._env, self.categorical_actions = env, categorical_actions
        env.reset()
        counts = {behaviour: len(env.get_steps(behaviour)[0]) for behaviour in env.behavior_specs}
        homes = {
            f"{name}_{i}": behaviour for behaviour, name in _short(counts).items() for i in range(counts[behaviour])
        }
        self.agent_names = list(homes)
        self.group_map = agent_groups(group_map, self.agent_names)
        places = {
            name: Agent(homes[name], group, index)
            for group, names in self.group_map.items()
            for index, name in enumerate(names)
        }
        specs = {
            group: _alike(group, {homes[name]: env.behavior_specs[homes[name]] for name in names})
            for group, names in self.group_map.items()
        }
        self._sensors = {group: _sensor_names(spec) for group, spec in specs.items()}
        groups = {
            group: Group.of(
                len(self.group_map[group]),
                [sensor.shape for sensor in spec.observation_specs],
                sum(spec.action_spec.discrete_branches),
            )
            for group, spec in specs.items()
        }
        self._scene = Scene([places[name] for name in self.agent_names], groups)
        self._masks = {
            (group, "discrete_action"): (group, "action_mask")
            for group, spec in specs.items()
            if spec.action_spec.discrete_size
        }
        self._describe(specs)

    def _describe(self, specs: Mapping[str, Any]) -> None:
        """Assigns the specs."""
        observation, action, reward, done = Composite(), Composite(), Composite(), Composite()
        flag = Categorical(2, shape=(1,), dtype=torch.bool)
        for group, spec in specs.items():
            count, branches = len(self.group_map[group]), tuple(spec.action_spec.discrete_branches)
            seen = Composite(
                {
                    name: Unbounded(tuple(sensor.shape))
                    for name, sensor in zip(self._sensors[group], spec.observation_specs, strict=True)
                }
            )
            seen["mask"] = Categorical(2, (), dtype=torch.bool)
            act = Composite()
            if spec.action_spec.continuous_size:
                act["continuous_action"] = Bounded(-1.0, 1.0, (spec.action_spec.continuous_size,))
            if branches:
                seen["action_mask"] = Categorical(2, (sum(branches),), dtype=torch.bool)
                leaf: Any = Categorical(branches[0]) if len(branches) == 1 else MultiCategorical(branches)
                act["discrete_action"] = leaf if self.categorical_actions else leaf.to_one_hot_spec()
            observation[group], action[group] = seen.expand(count), act.expand(count)
            reward[group] = Composite(reward=Unbounded((1,)), group_reward=Unbounded((1,))).expand(count)
            flags = Composite(done=flag.clone(), terminated=flag.clone(), truncated=flag.clone())
            done[group] = flags.expand(count)
        self.observation_spec, self.full_action_spec = observation, action
        self.full_reward_spec, self.full_done_spec = reward, done

    # --------------------------------------------------------------- the port

    def _allowed(self, mask_key: NestedKey) -> Any:
        group: Any = mask_key[0]
        return self._scene.groups[group].allowed

    def _reset(self, tensordict: TensorDictBase | None = None) -> dict[str, Any]:
        scene = self._scene
        chosen = self._chosen(tensordict, "_reset")
        begun = [agent for agent in chosen if agent.over and agent.first is not None]
        masked = tensordict is not None and has_mask(tensordict, self.plan, "_reset")
        if self._seed is None and masked and (len(chosen) < len(scene.agents) or len(begun) == len(scene.agents)):
            going_on = [self._name(agent) for agent in chosen if not agent.over]
            if going_on:
                raise ValueError(
                    f"{self}: expected a reset of all agents, or of some whose episode is over, found one of {going_on}"
                )
            scene.resume(chosen)
        else:
            self._take_seed()
            self._env.reset()
            scene.begin(self._env)
        return self._data()

    def _step(self, tensordict: TensorDictBase) -> dict[str, Any]:
        stepped = self._chosen(tensordict, "_step")
        self._refuse(stepped)
        self._act(tensordict)
        self._env.step()
        self._scene.advance(self._env)
        return self._data()

    def _chosen(self, tensordict: TensorDictBase | None, name: str) -> list[Agent]:
        """The agents that a mask lets take part."""
        masks = {} if tensordict is None else {group: tensordict.get((group, name), None) for group in self.group_map}
        flat = {group: mask.flatten().tolist() for group, mask in masks.items() if mask is not None}
        return [agent for agent in self._scene.agents if agent.group not in flat or flat[agent.group][agent.index]]

    def _refuse(self, stepped: Sequence[Agent]) -> None:
        late = [self._name(agent) for agent in stepped if agent.over]
        if late:
            raise ResetNeededError(
                f"{self}: expected a reset of {late}, whose episodes are over, before the next step()"
            )
        left = [agent for agent in self._scene.agents if not any(agent is other for other in stepped)]
        acting = [self._name(agent) for agent in left if self._scene.groups[agent.group].acting[agent.index]]
        if acting:
            raise EnvDataError(
                f'{self}: expected a "_step" mask that leaves out no agents that act, as all share a scene; found '
                f"{acting} left out"
            )

    def _act(self, tensordict: TensorDictBase) -> None:
        """Hands the simulator the actions that it asks for."""
        chosen: dict[Any, np.ndarray] = {}
        for key in self.action_keys:
            value, spec = tensordict.get(key), self.full_action_spec[key]
            value = value if key[1] == "continuous_action" else spec.to_categorical(value)
            chosen[key] = value.detach().cpu().numpy().reshape(len(value), -1)
        for behaviour in self._scene.behaviours:
            agents = self._scene.requesting(self._env, behaviour)
            if not agents:
                continue
            # Zeros for agents whose next episode has begun without anybody having asked for it.
            actions = self._env.behavior_specs[behaviour].action_spec.empty_action(len(agents))
            for row, agent in enumerate(agents):
                for kind, out in (("continuous_action", actions.continuous), ("discrete_action", actions.discrete)):
                    if not agent.over and (agent.group, kind) in chosen:
                        out[row] = chosen[agent.group, kind][agent.index]
            self._env.set_actions(behaviour, actions)

    def _data(self) -> dict[str, Any]:
        out = {}
        for name, group in self._scene.groups.items():
            out[name] = {
                **dict(zip(self._sensors[name], group.sensors, strict=True)),
                "mask": group.acting,
                "action_mask": group.allowed,
                "reward": group.reward,
                "group_reward": group.group_reward,
                "terminated": group.terminated,
                "truncated": group.truncated,
            }
        return {
            name: {key: value.copy() for key, value in entries.items() if value is not None}
            for name, entries in out.items()
        }

    def _name(self, agent: Agent) -> str:
        return self.group_map[agent.group][agent.index]


class UnityMLAgentsEnv(UnityMLAgentsWrapper):
    """A scene of Unity, by its file or its name in the registry; see :class:`UnityMLAgentsWrapper`.

    A seed is the simulator's when it is started: :meth:`~envkit.EnvBase.set_seed` has the next reset start it anew.

    Args:
        file_name: the scene's executable. Without it and a ``registered_name``, the scene that is open in the Unity
            editor, which cannot be seeded.
        registered_name: one of :attr:`available_envs`, which is downloaded.
        group_map, categorical_actions, device: see :class:`UnityMLAgentsWrapper`.
        seed: the first seed.
        **kwargs: passed on to ``UnityEnvironment``.

    Raises:
        MissingDependencyError: ML-Agents is not installed.
        TypeError: a file and a name.
        UnknownEnvError: the registry has no such name.

    Examples:
        >>> env = UnityMLAgentsEnv(registered_name="3DBall", no_graphics=True)  # doctest: +SKIP
        >>> env.group_map["3DBall"][:2]  # doctest: +SKIP
        ['3DBall_0', '3DBall_1']
    """

    def __init__(
        self,
        file_name: str | None = None,
        registered_name: str | None = None,
        *,
        group_map: GroupMap = None,
        categorical_actions: bool = True,
        device: torch.device | str | int | None = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        if file_name is not None and registered_name is not None:
            raise TypeError(
                f"UnityMLAgentsEnv: expected a file_name or a registered_name, found {file_name!r} and "
                f"{registered_name!r}"
            )
        make: Any = functools.partial(_launch, file_name=file_name, registered_name=registered_name, **kwargs)
        super().__init__(make(seed), group_map=group_map, categorical_actions=categorical_actions, device=device)
        self.file_name, self.registered_name = file_name, registered_name
        self._make = None if file_name is None and registered_name is None else make

    @class_property
    def available_envs(cls) -> list[str]:  # noqa: N805 - a property of the class
        """The names in ML-Agents' registry, which is read over the network; none if ML-Agents is not installed."""
        try:
            return sorted(_mlagents("mlagents_envs.registry").default_registry)
        except MissingDependencyError:
            return []


def _launch(seed: int, file_name: str | None, registered_name: str | None, **kwargs: Any) -> Any:
    if registered_name is None:
        make = functools.partial(_mlagents("mlagents_envs.environment").UnityEnvironment, file_name)
    else:
        registry = _mlagents("mlagents_envs.registry").default_registry
        if registered_name not in registry:
            known = f"UnityMLAgentsEnv.available_envs{did_you_mean(registered_name, registry)}"
            raise UnknownEnvError(f"unknown registered_name {registered_name!r}: expected one of {known}")
        make = registry[registered_name].make
    return make(seed=seed % SEEDS, **kwargs)


def _short(behaviours: Mapping[str, Any]) -> dict[str, str]:
    """The names of behaviours without what follows the question mark, if they differ without it."""
    short = {name: name.partition("?")[0] for name in behaviours}
    return short if len(set(short.values())) == len(short) else {name: name for name in behaviours}


def _sensor_names(spec: Any) -> list[str]:
    """The names of the sensors of a behaviour; those that have none, or that of another one, are numbered."""
    names = [sensor.name or "observation" for sensor in spec.observation_specs]
    alone = {name for name in names if names.count(name) == 1 and name != "observation"}
    return [name if name in alone else f"{name}_{i}" for i, name in enumerate(names)]


def _alike(group: str, specs: Mapping[str, Any]) -> Any:
    """The spec that all agents of a group have."""
    first, *others = specs
    layouts = {
        name: (_sensor_names(spec), [tuple(sensor.shape) for sensor in spec.observation_specs], spec.action_spec)
        for name, spec in specs.items()
    }
    other = next((name for name in others if layouts[name] != layouts[first]), None)
    if other is not None:
        raise ValueError(
            f"group_map: expected agents in group {group!r} whose behaviours have the same sensors and actions, found "
            f"those of {first!r} and {other!r}"
        )
    return specs[first]


def _mlagents(module: str) -> Any:
    return import_simulator(
        module, "ML-Agents", "`pip install 'mlagents-envs==0.28.0' 'protobuf<3.21'`, in an environment of its own"
    )
