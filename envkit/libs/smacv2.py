"""SMACv2: fights of StarCraft II between a team of agents and the built-in opponent."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from tensordict import NestedKey, TensorDictBase

from envkit.errors import MissingDependencyError, ResetNeededError, UnknownEnvError
from envkit.libs.class_property import class_property
from envkit.libs.simulator import SimulatorEnv, import_simulator
from envkit.specs import Categorical, Composite, Unbounded
from envkit.spelling import did_you_mean

__all__ = ["SMACv2Env", "SMACv2Wrapper"]

SEEDS = 2**32  # StarCraft II takes a uint32


class SMACv2Wrapper(SimulatorEnv):
    """An env out of a ``StarCraft2Env`` or a ``StarCraftCapabilityEnvWrapper`` of SMACv2.

    ============================== ======================== =======================================================
    entry                          dtype and shape          content
    ============================== ======================== =======================================================
    ("agents", "observation")      float32 ``[n, size]``    what each unit sees; zeros once it is dead
    ("agents", "action")           int64 ``[n]``            what each unit does
    ("agents", "action_mask")      bool ``[n, actions]``    what it may do; a dead one only action 0, which is nothing
    state                          float32 ``[size]``       what a central critic may know
    ("info", "battle_won")         bool ``[1]``             whether the fight is won
    ("info", "dead_allies"),       int64 ``[1]``            how many are dead
    ("info", "dead_enemies")
    reward                         float32 ``[1]``          shared by the team
    done, terminated, truncated    bool ``[1]``             the fight is over; it is truncated at the step limit if the
                                                            simulator says so (``continuing_episode=True``), and where
                                                            StarCraft II had to be started anew
    ============================== ======================== =======================================================

    The dead stay in the group, with their masks. Random actions follow the masks. Attributes that the wrapper lacks are
    looked up in the wrapped env. It is written against the API of SMACv2 1.0 and tested against a fake of it.

    Args:
        env: the env of SMACv2.
        categorical_actions: actions are indices; if False, one-hot vectors.
        device: device of inputs and outputs.

    Raises:
        TypeError: ``env`` has not the interface of SMACv2's.
        ResetNeededError: (when run) a step after the end of a fight.
        NotImplementedError: (by ``set_seed``) the simulator was seeded when it was made; see :class:`SMACv2Env`.

    Examples:
        >>> from smacv2.env import StarCraft2Env  # doctest: +SKIP
        >>> env = SMACv2Wrapper(StarCraft2Env(map_name="MMM2"))  # doctest: +SKIP
        >>> env.rollout(5)["agents", "action_mask"].shape  # doctest: +SKIP
        torch.Size([5, 10, 18])
    """

    libname = "smacv2"

    def __init__(
        self, env: Any, *, categorical_actions: bool = True, device: torch.device | str | int | None = None
    ) -> None:
        super().__init__(device=device)
        for name in ("get_env_info", "get_obs", "get_state", "get_avail_actions", "reset", "step"):
            if not callable(getattr(env, name, None)):
                raise TypeError(f"{type(self).__name__}: expected a StarCraft2Env, found {type(env).__name__}")
        self._env, self.categorical_actions = env, categorical_actions
        self._masks = {("agents", "action"): ("agents", "action_mask")}
        self._over = True
        sizes = env.get_env_info()
        count, actions = sizes["n_agents"], sizes["n_actions"]
        self.n_agents = count
        flag = Categorical(2, shape=(1,), dtype=torch.bool)
        number = Unbounded((1,), dtype=torch.int64)
        self.observation_spec = Composite(
            agents=Composite(
                observation=Unbounded((count, sizes["obs_shape"])),
                action_mask=Categorical(2, (count, actions), dtype=torch.bool),
                shape=(count,),
            ),
            state=Unbounded((sizes["state_shape"],)),
            info=Composite(battle_won=flag, dead_allies=number, dead_enemies=number.clone()),
        )
        action: Any = Categorical(actions, (count,))
        self.full_action_spec = Composite(
            agents=Composite(action=action if categorical_actions else action.to_one_hot_spec(), shape=(count,))
        )
        self.reward_spec = Unbounded((1,))
        self.full_done_spec = Composite(done=flag.clone(), terminated=flag.clone(), truncated=flag.clone())

    @class_property
    def available_envs(cls) -> list[str]:  # noqa: N805 - a property of the class
        """The maps of SMACv2 and of its predecessor; none if SMACv2 is not installed."""
        try:
            return sorted(_smacv2("smacv2.env.starcraft2.maps.smac_maps").get_smac_map_registry())
        except MissingDependencyError:
            return []

    def _allowed(self, mask_key: NestedKey) -> Any:
        return None if self._over else np.asarray(self._env.get_avail_actions(), bool)

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: Any) -> dict[str, Any]:
        self._take_seed()
        self._env.reset(**kwargs)
        self._over = False
        return self._seen({})

    def _step(self, tensordict: TensorDictBase) -> dict[str, Any]:
        if self._over:
            raise ResetNeededError(f"{self}: expected a reset after the end of a fight, before the next step()")
        action = self.full_action_spec["agents", "action"].to_categorical(tensordict.get(("agents", "action")))
        reward, over, info = self._env.step(action.tolist())
        self._over = bool(over)
        # An empty info is what it returns when it has lost the game's process and started another one.
        truncated = bool(over and (info.get("episode_limit", False) or not info))
        return {
            **self._seen(info),
            "reward": [float(reward)],
            "terminated": [bool(over) and not truncated],
            "truncated": [truncated],
        }

    def _seen(self, info: Mapping[str, Any]) -> dict[str, Any]:
        env = self._env
        agents = {
            "observation": np.asarray(env.get_obs(), np.float32),
            "action_mask": np.asarray(env.get_avail_actions(), bool),
        }
        names = self.observation_spec["info"].keys()
        return {
            "agents": agents,
            "state": np.asarray(env.get_state(), np.float32),
            "info": {name: [info.get(name, 0)] for name in names},
        }

    def render(self) -> Any:
        """The battlefield as the simulator draws it."""
        return self._env.render(mode="rgb_array")


class SMACv2Env(SMACv2Wrapper):
    """A map of SMACv2, by its name; see :class:`SMACv2Wrapper`.

    A seed is the simulator's at its construction: :meth:`~envkit.EnvBase.set_seed` has the next reset start StarCraft
    II anew with it.

    Args:
        map_name: one of :attr:`available_envs`.
        capability_config: for maps that draw their units and positions: their distributions.
        seed: the first seed.
        categorical_actions, device: see :class:`SMACv2Wrapper`.
        **kwargs: passed on to SMACv2.

    Raises:
        MissingDependencyError: SMACv2 is not installed.
        UnknownEnvError: it has no such map.

    Examples:
        >>> env = SMACv2Env("8m", seed=0)  # doctest: +SKIP
        >>> env.reset()["agents", "observation"].shape  # doctest: +SKIP
        torch.Size([8, 80])
    """

    def __init__(
        self,
        map_name: str,
        capability_config: Mapping[str, Any] | None = None,
        seed: int | None = None,
        *,
        categorical_actions: bool = True,
        device: torch.device | str | int | None = None,
        **kwargs: Any,
    ) -> None:
        known: Sequence[str] = _smacv2("smacv2.env.starcraft2.maps.smac_maps").get_smac_map_registry()
        if map_name not in known:
            hint = did_you_mean(map_name, known)
            raise UnknownEnvError(f"unknown map {map_name!r}: expected one of SMACv2Env.available_envs{hint}")
        make: Any = functools.partial(_start, map_name=map_name, capability_config=capability_config, **kwargs)
        super().__init__(make(seed), categorical_actions=categorical_actions, device=device)
        self.map_name, self._make = map_name, make


def _start(seed: int | None, *, capability_config: Mapping[str, Any] | None, **kwargs: Any) -> Any:
    seed = None if seed is None else seed % SEEDS
    if capability_config is None:
        return _smacv2("smacv2.env").StarCraft2Env(seed=seed, **kwargs)
    wrapper = _smacv2("smacv2.env.starcraft2.wrapper").StarCraftCapabilityEnvWrapper
    env = wrapper(seed=seed, capability_config=capability_config, **kwargs)
    if seed is not None:
        # The distributions of units and positions have generators of their own, which SMACv2 leaves unseeded.
        _seed_distributions(env.env_key_to_distribution_map, np.random.SeedSequence(seed))
    return env


def _seed_distributions(value: Any, seeds: np.random.SeedSequence) -> None:
    """Seeds the generators called ``rng`` of all distributions in a mapping, and of those inside them."""
    parts = value if isinstance(value, Mapping) else vars(value)
    for name in sorted(parts):
        part = parts[name]
        if name == "rng":
            value.rng = np.random.default_rng(seeds.spawn(1)[0])
        elif type(part).__module__.startswith("smacv2."):
            _seed_distributions(part, seeds)


def _smacv2(module: str) -> Any:
    return import_simulator(
        module, "SMACv2", "StarCraft II and `pip install git+https://github.com/oxwhirl/smacv2.git`"
    )
