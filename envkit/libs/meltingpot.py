"""Melting Pot: substrates in which many players meet."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from tensordict import TensorDictBase

from envkit.core.global_generators import call_with, seeded_states
from envkit.core.groups import MarlGroupMapType
from envkit.errors import MissingDependencyError, ResetNeededError, UnknownEnvError
from envkit.libs.agent_groups import GroupMap, agent_groups
from envkit.libs.class_property import class_property
from envkit.libs.dm_specs import spec_from_array
from envkit.libs.simulator import SimulatorEnv, import_simulator
from envkit.specs import Categorical, Composite, TensorSpec, Unbounded
from envkit.spelling import did_you_mean

__all__ = ["MeltingpotEnv", "MeltingpotWrapper"]

WORLD = "WORLD."  # what observations are called that are the same for all players


class MeltingpotWrapper(SimulatorEnv):
    """An env out of a substrate, or a scenario, of Melting Pot.

    ============================== ======================== =======================================================
    entry                          dtype and shape          content
    ============================== ======================== =======================================================
    RGB                            uint8 ``[H, W, 3]``      the world from above (``WORLD.RGB``), where there is one;
                                                            all that is called ``WORLD.`` stands at the root
    (group, "observation", name)   theirs; ``[n, 1]`` for   what each player observes: ``"RGB"``, ``"READY_TO_SHOOT"``,
                                   numbers                  ``"COLLECTIVE_REWARD"``, ...
    (group, "action")              int64 ``[n]``            what each player does
    (group, "reward")              float32 ``[n, 1]``
    done, terminated, truncated    bool ``[1]``             all players stop together; an end by ``max_steps``, or one
                                                            that the substrate does not discount, is a truncation
    ============================== ======================== =======================================================

    Players are called ``player_0``, ``player_1``, ... ``"next"`` holds the last observation of an episode. Attributes
    that the wrapper lacks are looked up in the wrapped env. It is written against Melting Pot 2.4 and tested against a
    fake of its API, and against itself where it is installed.

    Args:
        env: a ``Substrate`` or ``Scenario``.
        max_steps: the most steps of an episode; None for the substrate's own limit.
        categorical_actions: actions are indices; if False, one-hot vectors.
        group_map: the players of each group, or a :class:`~envkit.MarlGroupMapType`; None puts them all into
            ``"player"``.
        device: device of inputs and outputs.

    Raises:
        TypeError: ``env`` has not the interface of a substrate.
        ValueError: ``group_map`` does not fit the players, or players of one group differ in what they observe or do;
            ``max_steps`` is below 1.
        ResetNeededError: (when run) a step after the end of an episode, which would start the next one.
        NotImplementedError: (by ``set_seed``) a substrate takes a seed when it is made; see :class:`MeltingpotEnv`.

    Examples:
        >>> from meltingpot import substrate  # doctest: +SKIP
        >>> roles = substrate.get_config("commons_harvest__open").default_player_roles  # doctest: +SKIP
        >>> env = MeltingpotWrapper(substrate.build("commons_harvest__open", roles=roles))  # doctest: +SKIP
        >>> env.rollout(5)["agents", "observation", "RGB"].shape  # doctest: +SKIP
        torch.Size([5, 7, 88, 88, 3])
    """

    libname = "meltingpot"

    def __init__(
        self,
        env: Any,
        *,
        max_steps: int | None = None,
        categorical_actions: bool = True,
        group_map: GroupMap = MarlGroupMapType.ALL_IN_ONE_GROUP,
        device: torch.device | str | int | None = None,
    ) -> None:
        super().__init__(device=device)
        if not all(callable(getattr(env, name, None)) for name in ("reset", "step", "observation_spec", "action_spec")):
            raise TypeError(f"{type(self).__name__}: expected a substrate of Melting Pot, found {type(env).__name__}")
        if max_steps is not None and max_steps < 1:
            raise ValueError(f"max_steps: expected at least 1, found {max_steps}")
        self._env, self.max_steps, self.categorical_actions = env, max_steps, categorical_actions
        self._steps, self._over = 0, True
        seen, acts = env.observation_spec(), env.action_spec()
        self.agent_names = [f"player_{i}" for i in range(len(acts))]
        self.group_map = agent_groups(group_map, self.agent_names)
        self._members = {
            group: [self.agent_names.index(name) for name in names] for group, names in self.group_map.items()
        }
        self._world = [name for name in seen[0] if name.startswith(WORLD)]
        root = Composite({name.removeprefix(WORLD): spec_from_array(name, seen[0][name]) for name in self._world})
        action, reward = Composite(), Composite()
        for group, members in self._members.items():
            count = len(members)
            one = _alike(group, {self.agent_names[i]: _observed(seen[i]) for i in members})
            root[group] = Composite(observation=one).expand(count)
            act: Any = _alike(group, {self.agent_names[i]: spec_from_array("action", acts[i]) for i in members})
            act = act if categorical_actions else act.to_one_hot_spec()
            action[group] = Composite(action=act).expand(count)
            reward[group] = Composite(reward=Unbounded((1,))).expand(count)
        self.observation_spec, self.full_action_spec, self.full_reward_spec = root, action, reward
        flag = Categorical(2, shape=(1,), dtype=torch.bool)
        self.full_done_spec = Composite(done=flag, terminated=flag.clone(), truncated=flag.clone())

    @property
    def agent_names_to_indices_map(self) -> dict[str, int]:
        """The place of each player among those of the simulator."""
        return {name: index for index, name in enumerate(self.agent_names)}

    @class_property
    def available_envs(cls) -> list[str]:  # noqa: N805 - a property of the class
        """The substrates of Melting Pot; none if it is not installed."""
        try:
            return sorted(_meltingpot().SUBSTRATES)
        except MissingDependencyError:
            return []

    def _reset(self, tensordict: TensorDictBase | None = None) -> dict[str, Any]:
        self._take_seed()
        self._steps, self._over = 0, False
        return self._seen(self._env.reset().observation)

    def _step(self, tensordict: TensorDictBase) -> dict[str, Any]:
        if self._over:
            raise ResetNeededError(f"{self}: expected a reset after the end of an episode, before the next step()")
        actions = [0] * len(self.agent_names)
        for group, members in self._members.items():
            spec: Any = self.full_action_spec[group, "action"]
            chosen = spec.to_categorical(tensordict.get((group, "action"))).tolist()
            for index, action in zip(members, chosen, strict=True):
                actions[index] = action
        timestep = self._env.step(actions)
        self._steps += 1
        terminated = timestep.last() and not timestep.discount
        limit = self.max_steps is not None and self._steps >= self.max_steps
        self._over = bool(timestep.last() or limit)
        out = self._seen(timestep.observation)
        for group, members in self._members.items():
            out[group]["reward"] = np.array([[timestep.reward[i]] for i in members], dtype=np.float32)
        return {**out, "terminated": [bool(terminated)], "truncated": [self._over and not terminated]}

    def _seen(self, observations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        out = {name.removeprefix(WORLD): observations[0][name] for name in self._world}
        for group, members in self._members.items():
            spec = self.observation_spec[group, "observation"]
            out[group] = {
                "observation": {
                    name: np.stack([observations[i][name] for i in members]).reshape(leaf.shape)
                    for name, leaf in spec.items()
                }
            }
        return out

    def get_rgb_image(self) -> torch.Tensor:
        """The world from above: uint8 ``[H, W, 3]``."""
        return torch.as_tensor(self.render())

    def render(self) -> np.ndarray:
        """The world from above: uint8 ``[H, W, 3]``."""
        return np.array(self._env.observation()[0][f"{WORLD}RGB"])


class MeltingpotEnv(MeltingpotWrapper):
    """A substrate of Melting Pot, by its name; see :class:`MeltingpotWrapper`.

    A substrate draws its settings, and the seeds of its engine, when it is built: :meth:`~envkit.EnvBase.set_seed` has
    the next reset build another one from that seed. The engine of Melting Pot 2.4 does not repeat itself to the bit,
    though, even if its settings and seeds are the same.

    Args:
        substrate: one of :attr:`available_envs`, or a configuration (of ``meltingpot.substrate.get_config``).
        roles: the role of each player; by default those of the configuration.
        max_steps, categorical_actions, group_map, device: see :class:`MeltingpotWrapper`.

    Raises:
        MissingDependencyError: Melting Pot is not installed.
        UnknownEnvError: it has no such substrate.

    Examples:
        >>> env = MeltingpotEnv("commons_harvest__open")  # doctest: +SKIP
        >>> env.set_seed(0), env.rollout(5)["RGB"].shape  # doctest: +SKIP
        (2968811710, torch.Size([5, 144, 192, 3]))
    """

    def __init__(
        self,
        substrate: str | Mapping[str, Any],
        *,
        roles: Sequence[str] | None = None,
        max_steps: int | None = None,
        categorical_actions: bool = True,
        group_map: GroupMap = MarlGroupMapType.ALL_IN_ONE_GROUP,
        device: torch.device | str | int | None = None,
    ) -> None:
        library = _meltingpot()
        if isinstance(substrate, str) and substrate not in library.SUBSTRATES:
            known = f"MeltingpotEnv.available_envs{did_you_mean(substrate, library.SUBSTRATES)}"
            raise UnknownEnvError(f"unknown substrate {substrate!r}: expected one of {known}")
        config: Any = library.get_config(substrate) if isinstance(substrate, str) else substrate
        make: Any = functools.partial(_build, config=config, roles=tuple(roles or config.default_player_roles))
        super().__init__(
            make(None),
            max_steps=max_steps,
            categorical_actions=categorical_actions,
            group_map=group_map,
            device=device,
        )
        self._make = make


def _build(seed: int | None, config: Any, roles: Sequence[str]) -> Any:
    """Builds a substrate, which draws its settings and all seeds from Python's global generator."""
    states = {} if seed is None else seeded_states(seed, ["random"])
    return call_with(states, _meltingpot().build_from_config, config, roles=roles)


def _observed(specs: Mapping[str, Any]) -> Composite:
    """The specs of what one player observes."""
    return Composite({name: spec_from_array(name, spec) for name, spec in specs.items() if not name.startswith(WORLD)})


def _alike(group: str, specs: Mapping[str, TensorSpec]) -> TensorSpec:
    """The spec that all players of a group have."""
    first, *others = specs
    other = next((name for name in others if specs[name] != specs[first]), None)
    if other is not None:
        raise ValueError(
            f"group_map: expected players in group {group!r} who observe and do the same, found {first!r} and "
            f"{other!r}, who differ; MarlGroupMapType.ONE_GROUP_PER_AGENT gives each a group"
        )
    return specs[first]


def _meltingpot() -> Any:
    return import_simulator("meltingpot.substrate", "Melting Pot", "`pip install dm-meltingpot`")
