"""PettingZoo: envs of many agents."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch
from tensordict import TensorDictBase

from envkit.core.groups import MarlGroupMapType
from envkit.core.masks import has_mask
from envkit.core.plan import path_of
from envkit.core.row_env import RowEnv
from envkit.errors import SpecError
from envkit.libs.agent_groups import GroupMap, agent_groups
from envkit.libs.class_property import class_property
from envkit.libs.pettingzoo_agents import described, state_spec
from envkit.libs.pettingzoo_episode import Episode, ParallelEpisode, TurnEpisode
from envkit.libs.pettingzoo_rows import AgentRows, Columns, RowsApart
from envkit.libs.pettingzoo_tasks import import_pettingzoo, make_task, task_names
from envkit.libs.simulator import SimulatorEnv, legal_action
from envkit.libs.simulator_copies import is_drawn_on, simulator_copied
from envkit.specs import Categorical, Composite, Unbounded

if TYPE_CHECKING:
    from typing import Self

    from envkit.core.masks import Masks
    from envkit.storage import Slab

__all__ = ["PettingZooEnv", "PettingZooWrapper"]


class PettingZooWrapper(SimulatorEnv, RowEnv):
    """An env out of a PettingZoo env, of either kind.

    In a ``ParallelEnv`` all agents act at every step; in an ``AECEnv`` one of them does, and the actions of the others
    are not looked at. Agents stand in groups; the entries of a group of ``n`` agents have a leading dimension ``n``.

    ============================== ======================== =======================================================
    entry                          dtype and shape          content
    ============================== ======================== =======================================================
    (group, "observation")         ``[n, *space]``          what each agent observes; the entries of a ``Dict`` stand
                                                            in its place, under their own names
    (group, "action")              ``[n, *space]``          what each agent does
    (group, "action_mask")         bool ``[n, actions]``    if the simulator has it: which actions are allowed; all,
                                                            for those who do not act
    (group, "mask")                bool ``[n]``             with ``use_mask``: who acts next
    (group, "info", name)          ``[n, *value]``          the numbers among what infos hold after a reset
    (group, "reward")              float32 ``[n, 1]``
    (group, "done"), likewise      bool ``[n, 1]``          whose own episode is over
    "terminated", "truncated"
    done, terminated, truncated    bool ``[1]``             whether the episode of the env is over
    state                          of the space             with ``return_state``: the simulator's global state
    ============================== ======================== =======================================================

    The row of an agent that is dead, or not there yet, is zeros (with a mask of False, a reward of 0, a free choice of
    actions) and the flags that ended its episode. The env is reset as a whole, once its own flag is up: with the first
    agent (``done_on_any``), which truncates the episodes of the others, or with the last one. It is then terminated if
    all agents were, else truncated. The last observation of each episode stands under ``"next"``. Agents of one group
    whose spaces differ are stacked lazily. Random actions are allowed ones.

    The constructor resets the env, to see what infos hold. Attributes that the wrapper lacks are looked up in the
    wrapped env.

    Args:
        env: a ``pettingzoo.ParallelEnv`` or ``pettingzoo.AECEnv`` with ``possible_agents``.
        return_state: whether the simulator's ``state()`` is among the observations.
        group_map: the agents of each group, or a :class:`~envkit.MarlGroupMapType`. By default a parallel env has one
            for all agents whose names differ in the number behind the last underscore (``"agent"`` for ``agent_0`` and
            ``agent_1``), and an AEC env one for each agent.
        use_mask: whether there is a ``"mask"``. An AEC env always has it; a parallel env needs it (the default is
            False) if agents come and go while others stay.
        categorical_actions: discrete actions are indices; if False, one-hot vectors.
        seed: seeds the env; see :meth:`~envkit.EnvBase.set_seed`.
        done_on_any: whether the env's episode is over once that of any agent is (the default of parallel envs), or once
            all are (that of AEC envs).
        device: device of inputs and outputs; the simulator itself works on the CPU.

    Raises:
        MissingDependencyError: PettingZoo is not installed.
        TypeError: ``env`` is no PettingZoo env, or does not know its ``possible_agents``.
        ValueError: ``group_map`` does not fit the agents, an AEC env without mask, or no state to return.
        UnsupportedSpaceError: a space without a tensor form.
        SpecError: an observation whose name has another meaning; (when run) a mask for some agents only.
        EnvDataError: (when run) the simulator returned something that contradicts its spaces, or nothing of an agent
            where there is no mask to say so.
        ResetNeededError: (when run) a step when nobody is alive.

    Examples:
        >>> import pettingzoo  # doctest: +SKIP
        >>> pistons = pettingzoo.make("parallel", "butterfly/pistonball_v6", n_pistons=4)  # doctest: +SKIP
        >>> env = PettingZooWrapper(pistons)  # doctest: +SKIP
        >>> env.group_map, env.reset()["piston", "observation"].shape  # doctest: +SKIP
        ({'piston': ['piston_0', 'piston_1', 'piston_2', 'piston_3']}, torch.Size([4, 457, 120, 3]))
    """

    libname = "pettingzoo"

    def __init__(
        self,
        env: Any,
        *,
        return_state: bool = False,
        group_map: GroupMap = None,
        use_mask: bool | None = None,
        categorical_actions: bool = True,
        seed: int | None = None,
        done_on_any: bool | None = None,
        device: torch.device | str | int | None = None,
    ) -> None:
        super().__init__(device=device)
        self.parallel = _is_parallel(env)
        if use_mask is False and not self.parallel:
            raise ValueError("use_mask: expected True for an AEC env, in which one agent acts at a time, found False")
        names = getattr(env, "possible_agents", None)
        if not names:
            raise TypeError(f"{env}: expected a PettingZoo env with possible_agents, found {names}")
        self._env, self._seed = env, seed
        self.return_state, self.categorical_actions = return_state, categorical_actions
        self.use_mask = not self.parallel if use_mask is None else use_mask
        self.done_on_any = self.parallel if done_on_any is None else done_on_any
        if group_map is None and not self.parallel:
            group_map = MarlGroupMapType.ONE_GROUP_PER_AGENT
        self.group_map = agent_groups(group_map, list(names))
        kind = ParallelEpisode if self.parallel else TurnEpisode
        self._episode: Episode = kind(env, self.done_on_any)
        _, infos = self._episode.begin(**({} if seed is None else {"seed": seed}))
        self._agents = described(env, self.group_map, not categorical_actions, infos)
        self._describe()
        if seed is not None:
            self.set_seed(seed)

    @class_property
    def available_envs(cls) -> list[str]:  # noqa: N805 - a property of the class
        """Names of the tasks that :class:`PettingZooEnv` makes."""
        return task_names()

    def _describe(self) -> None:
        """Assigns the specs."""
        flag = Categorical(2, shape=(1,), dtype=torch.bool)
        flags = Composite(done=flag, terminated=flag.clone(), truncated=flag.clone())
        seen, action, reward, done = Composite(), Composite(), Composite(), flags.clone()
        for group, members in self.group_map.items():
            own = [agent for agent in self._agents if agent.group == group]
            seen[group] = _stacked(agent.seen(with_mask=self.use_mask) for agent in own)
            action[group] = _stacked(Composite(action=agent.action) for agent in own)
            reward[group] = Composite(reward=Unbounded((1,))).expand(len(members))
            done[group] = flags.expand(len(members))
        if self.return_state:
            seen["state"] = state_spec(self._env)
        self.observation_spec, self.full_action_spec = seen, action
        self.full_reward_spec, self.full_done_spec = reward, done

    # --------------------------------------------------------------- the port

    def _native_rows(self, root: Slab, following: Slab) -> AgentRows:
        return AgentRows(self, Columns.of(root, self._agents), Columns.of(following, self._agents))

    def _reset_apart(self, tensordict: TensorDictBase | None, **kwargs: Any) -> TensorDictBase | None:
        return None if self.fits_rows else RowsApart(self).reset(**kwargs)

    def _step_apart(self, tensordict: TensorDictBase, masks: Masks | None) -> TensorDictBase | None:
        return None if self.fits_rows else RowsApart(self).step(tensordict)

    def reset(self, tensordict: TensorDictBase | None = None, **kwargs: Any) -> TensorDictBase:
        """See :meth:`~envkit.EnvBase.reset`; ``seed`` and ``options`` go to the simulator, which starts all agents."""
        self._refuse_some(tensordict, "_reset")
        return super().reset(tensordict, **kwargs)

    def step(self, tensordict: TensorDictBase) -> TensorDictBase:
        """See :meth:`~envkit.EnvBase.step`."""
        self._refuse_some(tensordict, "_step")
        return super().step(tensordict)

    def _refuse_some(self, tensordict: TensorDictBase | None, name: str) -> None:
        """Raises where a mask is for some of the agents, who are all in one simulator."""
        if tensordict is None or not has_mask(tensordict, self.plan, name) or name in tensordict.keys():
            return
        keys = [key for key in tensordict.keys(True, True) if path_of(key)[-1] == name]
        if not all(bool(tensordict.get(key).all()) for key in keys):
            raise SpecError(
                f"{keys[0]}: expected {name!r} at the root, for the env as a whole, as its agents share a simulator, "
                f"found a mask for some of them"
            )

    def rand_action(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        """Writes random actions, allowed ones where there is an ``"action_mask"``. See :class:`~envkit.EnvBase`."""
        out = super().rand_action(tensordict)
        generator = self._runtime.generator
        for group in dict.fromkeys(agent.group for agent in self._agents if agent.allowed is not None):
            data: Any = out.get(group)
            if group not in self.plan.unequal:
                parts = [(data, self.full_action_spec[group, "action"])]
            else:
                own = [agent for agent in self._agents if agent.group == group]
                parts = [(data[agent.place], agent.action.to(self._device or "cpu")) for agent in own]
            for part, spec in parts:
                mask = part.get("action_mask", None)
                if mask is not None:
                    part.set("action", legal_action(spec, mask, generator))
        return out

    @property
    def draws_from_spec(self) -> bool:
        """See :attr:`~envkit.EnvBase.draws_from_spec`; False if there are action masks."""
        ours = type(self).rand_action is PettingZooWrapper.rand_action
        return ours and all(agent.allowed is None for agent in self._agents)

    def _set_seed(self, seed: int | None) -> None:
        self._seed = seed

    # ----------------------------------------------------------------- copies

    def _copied(self, kept: tuple) -> tuple:
        return copy.deepcopy(kept, _world_copied(kept[0]["_env"].unwrapped, {}))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy at the same point of the same episode; or where the simulator only makes a new one, at the start."""
        with suppress(Exception):  # whatever it holds that cannot be copied
            memo.update(_world_copied(self._env.unwrapped, {**memo}))
        twin = memo[id(self)] = object.__new__(type(self))
        twin.__dict__.update(copy.deepcopy(vars(self), memo))
        return twin

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._env}, groups={self.group_map}, device={self.device})"


class PettingZooEnv(PettingZooWrapper):
    """A task of PettingZoo, or of MPE2, by its name; see :class:`PettingZooWrapper`.

    Args:
        task: ``"family/task"`` or ``"task"``, one of :attr:`available_envs`: ``"sisl/multiwalker_v9"``,
            ``"simple_spread_v3"``.
        parallel: whether all agents act at once (the task's ``ParallelEnv``), or one after the other (its ``AECEnv``).
        return_state, group_map, use_mask, categorical_actions, seed, done_on_any, device: see
            :class:`PettingZooWrapper`.
        **kwargs: passed on to the function that makes the env, such as ``render_mode`` or ``max_cycles``.

    Raises:
        MissingDependencyError: PettingZoo, or what the task needs, is not installed.
        UnknownEnvError: there is no such task.
        ValueError: the task has no parallel env.

    Examples:
        >>> env = PettingZooEnv("tictactoe_v3", parallel=False, seed=0)  # doctest: +SKIP
        >>> env.group_map, env.rollout(9)["player_1", "action_mask"].shape  # doctest: +SKIP
        ({'player_1': ['player_1'], 'player_2': ['player_2']}, torch.Size([8, 1, 9]))
    """

    def __init__(
        self,
        task: str,
        parallel: bool,
        *,
        return_state: bool = False,
        group_map: GroupMap = None,
        use_mask: bool | None = None,
        categorical_actions: bool = True,
        seed: int | None = None,
        done_on_any: bool | None = None,
        device: torch.device | str | int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            make_task(task, parallel, kwargs),
            return_state=return_state,
            group_map=group_map,
            use_mask=use_mask,
            categorical_actions=categorical_actions,
            seed=seed,
            done_on_any=done_on_any,
            device=device,
        )
        self.task = task


def _stacked(specs: Iterable[Composite]) -> Composite:
    return torch.stack(list(specs))  # type: ignore[arg-type, return-value]


def _world_copied(bare: Any, memo: dict[int, Any]) -> dict[int, Any]:
    """Copies a simulator into ``memo``, with what it draws on, which these simulators make only in the constructor."""
    if id(bare) not in memo:
        twin = simulator_copied(bare, memo)[id(bare)]
        for name, value in vars(bare).items():
            if is_drawn_on(value):
                vars(twin)[name] = value.copy() if hasattr(value, "copy") else value
    return memo


def _is_parallel(env: Any) -> bool:
    package = import_pettingzoo()
    if not isinstance(env, (package.ParallelEnv, package.AECEnv)):
        raise TypeError(f"PettingZooWrapper: expected a pettingzoo.ParallelEnv or AECEnv, found {type(env).__name__}")
    return isinstance(env, package.ParallelEnv)
