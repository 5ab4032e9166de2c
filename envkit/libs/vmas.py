"""VMAS: batches of multi-agent worlds in tensors."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from tensordict import TensorDictBase

from envkit.core.env import EnvBase
from envkit.core.global_generators import call_with, seeded_states
from envkit.core.groups import MarlGroupMapType
from envkit.core.masks import read_masks
from envkit.errors import MissingDependencyError, PolicyError, UnknownEnvError
from envkit.libs.agent_groups import GroupMap, agent_groups
from envkit.libs.attributes import ForwardsAttributes
from envkit.libs.class_property import class_property
from envkit.libs.grouped_agents import Entries, GroupedAgents, Path, flat
from envkit.libs.vmas_simulator import KeptRows, advance, begin, drawn_on
from envkit.specs import (
    Bounded,
    Categorical,
    Composite,
    MultiCategorical,
    MultiOneHot,
    OneHot,
    TensorSpec,
    Unbounded,
)
from envkit.spelling import did_you_mean

if TYPE_CHECKING:
    from typing import Self

__all__ = ["VmasEnv", "VmasWrapper"]

UNREAD = "Scenario kwargs: "  # how VMAS begins to speak of them


class VmasWrapper(ForwardsAttributes, EnvBase):
    """A batch of multi-agent envs out of a VMAS environment, which simulates them all in tensors.

    Agents that share a group share a nested TensorDict, whose batch size has a dimension more than the env's:

    ================================== =============================== ============================================
    entry                              dtype and shape                 content
    ================================== =============================== ============================================
    (group, "observation")             float32 ``[envs, agents, ...]`` or a nested TensorDict of several, by name
    (group, "action")                  float32 ``[envs, agents, n]``   in the agents' ranges; int64
                                                                       ``[envs, agents]`` if discrete
    (group, "reward")                  float32 ``[envs, agents, 1]``   each agent's own
    (group, "info", name)              ``[envs, agents, ...]``         what the scenario tells of a step; zeros
                                                                       where an episode starts
    terminated, truncated, done        bool ``[envs, 1]``              shared by all agents: the scenario's end,
                                                                       ``max_steps``, and their union
    ================================== =============================== ============================================

    Agents of a group that differ, in their observations say, make its data a lazy stack; a ``group_map`` that sets them
    apart avoids that. Envs can be reset, or stepped, while others rest. Whatever a scenario calls its end is looked at
    after steps alone, so that every episode has one.

    Random numbers come from the global generators until :meth:`set_seed`, and from then on from states of the env's
    own, so that neither global generators nor other envs have a part in them; with a seed they are those of VMAS.

    With ``grad_enabled=True`` in the VMAS environment, gradients flow through :meth:`step`.

    Attributes that the wrapper lacks (``n_agents``, ``agents``, ``scenario``, ...) are looked up in the simulator.

    Args:
        env: what ``vmas.make_env`` returns, without a ``wrapper``. It is left on its device, which is the env's.
        categorical_actions: discrete actions are indices; if False, one-hot vectors.
        group_map: the agents of each group, or one of :class:`~envkit.MarlGroupMapType`. By default agents that are
            called ``"<group>_<number>"`` are grouped by that; if one is not, or all would be in ``"agent"``, they are
            all in ``"agents"``.

    Attributes:
        group_map: the names of the agents of each group.
        agent_names: the names of all agents, in the simulator's order.
        agent_names_to_indices_map: the place of each in that order.
        het_specs_map: of each group, whether its agents differ so that its data is a lazy stack.

    Raises:
        MissingDependencyError: VMAS is not installed.
        TypeError: ``env`` is no VMAS environment.
        ValueError: ``group_map`` does not put each agent into one group.
        PolicyError: (when run) an action is missing or out of its range.

    Examples:
        >>> import vmas  # doctest: +SKIP
        >>> env = VmasWrapper(vmas.make_env("balance", num_envs=3, n_agents=5))  # doctest: +SKIP
        >>> env.rollout(10)["next", "agents", "reward"].shape  # doctest: +SKIP
        torch.Size([3, 10, 5, 1])
    """

    libname = "vmas"

    def __init__(self, env: Any, *, categorical_actions: bool = True, group_map: GroupMap = None) -> None:
        if not isinstance(env, _vmas().simulator.environment.Environment):
            raise TypeError(f"VmasWrapper: expected what vmas.make_env returns, found {type(env).__name__}")
        super().__init__(device=env.device, batch_size=(env.num_envs,))
        self._env = env
        self._seed: int | None = None
        self._states: dict[str, Any] = {}  # of the global generators, once there is a seed
        self.categorical_actions = categorical_actions
        self.agent_names = [agent.name for agent in env.agents]
        self.agent_names_to_indices_map = {name: index for index, name in enumerate(self.agent_names)}
        self.group_map = _groups(group_map, self.agent_names)
        self._grouped = GroupedAgents(self.agent_names, self.group_map)
        self._make_specs()

    # ------------------------------------------------------------------ specs

    def _make_specs(self) -> None:
        self._action_specs = [self._action_spec_of(agent) for agent in self._env.agents]
        sample = self._sample()
        seen: list[dict[Path, TensorSpec]] = [
            {path: Unbounded(value.shape[1:], dtype=value.dtype) for path, value in entries.items()}
            for entries in sample
        ]
        self._told = [
            [(path, value.shape, value.dtype) for path, value in entries.items() if path[0] == "info"]
            for entries in sample
        ]
        specs = self._grouped.specs
        self.observation_spec_unbatched = specs(seen)
        self.full_action_spec_unbatched = specs([{("action",): leaf} for leaf in self._action_specs])
        self.full_reward_spec_unbatched = specs([{("reward",): Unbounded((1,))} for _ in seen])
        flag = Categorical(2, shape=(1,), dtype=torch.bool)
        self.full_done_spec_unbatched = Composite(done=flag, terminated=flag.clone(), truncated=flag.clone())
        self.het_specs_map = self._grouped.differ

    def _action_spec_of(self, agent: Any) -> TensorSpec:
        """The spec of the action of one agent of one env."""
        env, space = self._env, self._env.get_agent_action_space(agent)
        if env.continuous_actions:
            return Bounded(torch.as_tensor(space.low), torch.as_tensor(space.high))
        if env.multidiscrete_actions:
            nvec = space.nvec.tolist()
            return MultiCategorical(nvec) if self.categorical_actions else MultiOneHot(nvec)
        return Categorical(int(space.n)) if self.categorical_actions else OneHot(int(space.n))

    def _sample(self) -> list[Entries]:
        """What each agent is shown, info included: by a step of a copy, for scenarios change when they are asked."""
        with torch.no_grad():
            twin = copy.deepcopy(self._env, drawn_on(self._env, shared=False))
            actions = [spec.zero((self.batch_size[0],)).to(self._device) for spec in self._action_specs]
            states = seeded_states(0, self._generators())  # thrown away
            observations, _, _, _, infos = call_with(states, advance, twin, self._encoded(actions))
        return [_seen(*pair) for pair in zip(observations, infos, strict=True)]

    @property
    def het_specs(self) -> bool:
        """Whether the agents of some group differ."""
        return any(self.het_specs_map.values())

    @property
    def keeps_state(self) -> bool:
        """See :attr:`~envkit.EnvBase.keeps_state`; True: worlds are in the simulator."""
        return self._runtime.auto_reset is None

    # -------------------------------------------------------------- the ports

    def _set_seed(self, seed: int | None) -> None:
        self._seed = seed
        self._states = {} if seed is None else seeded_states(seed, self._generators())

    def _generators(self) -> list[str]:
        device = self._env.device
        return ["random", "numpy", "torch", *([str(device)] if device.type == "cuda" else [])]

    def _reset(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        masks = None if tensordict is None else read_masks(tensordict, self.plan, "_reset")
        chosen = None
        if masks is not None:
            mask = masks["_reset"].reshape(-1)
            chosen = None if bool(mask.all()) else mask.nonzero().reshape(-1).tolist()
        observations = call_with(self._states, begin, self._env, chosen)
        entries = []
        for observation, told in zip(observations, self._told, strict=True):
            silence = {path: torch.zeros(shape, dtype=dtype, device=self._device) for path, shape, dtype in told}
            entries.append({**flat(observation, ("observation",)), **silence})
        return self._grouped.packed(entries, {}, self._batch_size, self._device)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        masks = read_masks(tensordict, self.plan, "_step")
        kept = None if masks is None or bool(masks["_step"].all()) else KeptRows(self._env, ~masks["_step"].view(-1))
        actions = self._encoded(self._grouped.actions(tensordict))
        try:
            result = call_with(self._states, advance, self._env, actions)
        except AssertionError as error:
            wrong = self.full_action_spec.violations(tensordict.select(*self.action_keys))
            if not wrong:
                raise
            raise PolicyError("; ".join(map(str, wrong))) from error
        if kept is not None:
            kept.put_back()
        entries = []
        for observation, reward, info in zip(result[0], result[1], result[4], strict=True):
            entries.append({**_seen(observation, info), ("reward",): reward.unsqueeze(-1).to(torch.float32)})
        flags = {"terminated": result[2].unsqueeze(-1), "truncated": result[3].unsqueeze(-1)}
        return self._grouped.packed(entries, flags, self._batch_size, self._device)

    def _encoded(self, actions: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Actions as the simulator takes them, each of shape ``[envs, n]``."""
        out = []
        for action, spec in zip(actions, self._action_specs, strict=True):
            if isinstance(spec, OneHot | MultiOneHot):
                action = spec.to_categorical(action)
            out.append(action.unsqueeze(-1) if action.ndim == 1 else action)
        return out

    # -------------------------------------------------------------- the world

    def render(self, mode: str = "rgb_array", env_index: int | None = None, **options: Any) -> Any:
        """Pictures of the worlds, uint8 arrays ``[H, W, 3]``: a list of one for each env, or the one of ``env_index``.

        Args:
            mode: ``"rgb_array"``, which works without a display; ``"human"`` shows a window.
            env_index: which env to draw.
            **options: the other ones of VMAS's ``Environment.render``.
        """
        chosen = range(self.batch_size[0]) if env_index is None else [env_index]
        pictures = [self._env.render(mode=mode, env_index=index, **options) for index in chosen]
        pictures = [picture if picture is None else picture.copy() for picture in pictures]
        return pictures if env_index is None else pictures[0]

    def to(self, device: torch.device | str | int) -> Self:  # type: ignore[override]
        """Moves the simulator; see :meth:`~envkit.EnvBase.to`. With a seed, random streams start anew from it."""
        device = torch.device(device)
        self._env.to(device)
        super().to(device)
        self._set_seed(self._seed)
        return self

    def close(self) -> None:
        """Closes the window or canvas it was drawn on, if any; may be called twice."""
        if self._env.viewer is not None:
            self._env.viewer.close()
            self._env.viewer = None
        super().close()

    def _copied(self, kept: tuple) -> tuple:
        return copy.deepcopy(kept, drawn_on(kept[0]["_env"], shared=True))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        memo.update(drawn_on(self._env, shared=False))
        twin = memo[id(self)] = object.__new__(type(self))
        twin.__dict__.update(copy.deepcopy(vars(self), memo))
        return twin

    @class_property
    def available_envs(cls) -> list[str]:  # noqa: N805 - a property of the class
        """The scenarios of VMAS; none if it is not installed."""
        try:
            vmas = _vmas()
        except MissingDependencyError:
            return []
        return sorted([*vmas.scenarios, *vmas.debug_scenarios, *vmas.mpe_scenarios])


class VmasEnv(VmasWrapper):
    """A batch of multi-agent envs out of a scenario of VMAS; see :class:`VmasWrapper`.

    Args:
        scenario: one of :attr:`available_envs`, or a ``vmas.simulator.scenario.BaseScenario`` of one's own.
        num_envs: number of envs, the batch size.
        continuous_actions: whether actions are continuous; if False, they are discrete.
        max_steps: steps after which episodes are truncated; by default they are not.
        categorical_actions, group_map: see :class:`VmasWrapper`.
        seed: seeds the env, as :meth:`set_seed` does.
        device: where the simulation runs; the CPU by default.
        scenario_kwargs: arguments for the scenario (``n_agents``, ...) in one mapping.
        **kwargs: more of them, which win over those, and the other arguments of ``vmas.make_env`` (``clamp_actions``,
            ``multidiscrete_actions``, ``grad_enabled``).

    Raises:
        MissingDependencyError: VMAS is not installed.
        UnknownEnvError: there is no such scenario.
        ValueError: ``num_envs`` is not positive.
        TypeError: the scenario does not read one of the arguments.

    Examples:
        >>> env = VmasEnv("balance", num_envs=3, n_agents=5, max_steps=100, seed=0)  # doctest: +SKIP
        >>> env.group_map  # doctest: +SKIP
        {'agents': ['agent_0', 'agent_1', 'agent_2', 'agent_3', 'agent_4']}
        >>> env.rand_step()["next", "agents", "observation"].shape  # doctest: +SKIP
        torch.Size([3, 5, 16])
    """

    def __init__(
        self,
        scenario: Any,
        num_envs: int,
        *,
        continuous_actions: bool = True,
        max_steps: int | None = None,
        categorical_actions: bool = True,
        group_map: GroupMap = None,
        seed: int | None = None,
        device: torch.device | str | int | None = None,
        scenario_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        vmas = _vmas()
        if num_envs < 1:
            raise ValueError(f"num_envs: expected a positive number, found {num_envs}")
        if isinstance(scenario, str) and scenario.removesuffix(".py") not in self.available_envs:
            hint = did_you_mean(scenario, self.available_envs)
            raise UnknownEnvError(f"unknown scenario {scenario!r}: expected one of VmasEnv.available_envs{hint}")
        with _unknown_arguments_raise(scenario):
            # VMAS puts the global generators back itself, unless it raises.
            made = call_with(
                seeded_states(0, ["random", "numpy", "torch"]),
                vmas.make_env,
                scenario,
                num_envs=num_envs,
                device=torch.device("cpu" if device is None else device),
                continuous_actions=continuous_actions,
                max_steps=max_steps,
                **{**(scenario_kwargs or {}), **kwargs},
            )
        super().__init__(made, categorical_actions=categorical_actions, group_map=group_map)
        self.scenario_name = scenario if isinstance(scenario, str) else type(scenario).__name__
        if seed is not None:
            self.set_seed(seed)

    def __repr__(self) -> str:
        return f"VmasEnv({self.scenario_name}, batch_size={list(self.batch_size)}, device={self.device})"


@contextmanager
def _unknown_arguments_raise(scenario: Any) -> Iterator[None]:
    """Turns the warning by which VMAS speaks of arguments that a scenario did not read into an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=UNREAD, category=UserWarning)
        try:
            yield
        except UserWarning as warning:
            unread = str(warning).removeprefix(UNREAD).partition(" passed")[0]
            raise TypeError(f"VmasEnv: expected arguments that {scenario!r} reads, found {unread}") from None


def _groups(group_map: GroupMap, names: list[str]) -> dict[str, list[str]]:
    if group_map is not None:
        return agent_groups(group_map, names)
    groups = agent_groups(None, names)
    if list(groups) == ["agent"] or any(members == [group] for group, members in groups.items()):
        return agent_groups(MarlGroupMapType.ALL_IN_ONE_GROUP, names)
    return groups


def _seen(observation: Any, info: Mapping[str, Any]) -> Entries:
    """The entries of what one agent observes, and of what is told of its step, with a last dimension at least of 1."""
    told = {
        path: value.unsqueeze(-1) if value.ndim == 1 else value for path, value in flat(dict(info), ("info",)).items()
    }
    return {**flat(observation, ("observation",)), **told}


def _vmas() -> Any:
    try:
        import vmas
        import vmas.simulator.environment
    except ModuleNotFoundError as error:
        raise MissingDependencyError("VMAS is not installed: expected `pip install 'envkit[vmas]'`") from error
    return vmas
