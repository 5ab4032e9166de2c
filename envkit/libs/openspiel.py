"""OpenSpiel games."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from tensordict import NestedKey, TensorDict, TensorDictBase

from envkit.core.groups import MarlGroupMapType
from envkit.core.plan import path_of
from envkit.core.seeding import spawn_seed
from envkit.errors import (
    InvalidActionError,
    ResetNeededError,
    UnknownEnvError,
    UnsupportedSpaceError,
)
from envkit.libs.agent_groups import GroupMap, agent_groups
from envkit.libs.class_property import class_property
from envkit.libs.simulator import SimulatorEnv, import_simulator
from envkit.specs import Bounded, Categorical, Composite, NonTensor, Unbounded
from envkit.spelling import did_you_mean

__all__ = ["OpenSpielEnv", "OpenSpielWrapper"]

SEEDS = 2**31  # those of a game that draws by itself are below this number


class OpenSpielWrapper(SimulatorEnv):
    """An env out of a game of OpenSpiel: players who take turns, or who move at the same time.

    With ``n`` players in a group and ``m`` different actions in the game:

    ========================= =========================== =========================================================
    entry                     dtype and shape             content
    ========================= =========================== =========================================================
    (group, observation)      float32 ``[n, *shape]``     what each player knows: the game's observation tensors,
                                                          or its information-state tensors if it has no others
    (group, mask)             bool ``[n]``                whose move it is; of all others the action is ignored
    (group, action_mask)      bool ``[n, m]``             legal actions; all of them for who has no move, so that
                                                          distributions over actions stay proper
    (group, action)           int64 ``[n]``               the action of each player
    (group, reward)           float32 ``[n, 1]``          what each player gained since the last move
    current_player            int32 ``[]``                number of the player to move; -2 if several move at the
                                                          same time, -4 once the game is over
    terminated, done          bool ``[1]``                the game is over
    state                     str                         the state of the game (``return_state``)
    ========================= =========================== =========================================================

    Players are called ``"player_0"``, ``"player_1"``... Chance (dice, cards), at the start and between moves, is
    drawn by a generator of the env's own: ``numpy.random.default_rng(spawn_seed(seed, "chance"))`` after
    :meth:`set_seed`. Games that draw by themselves are made anew with another ``rng_seed``, for the next episode.
    Random actions (rollouts without a policy, :meth:`rand_action`) are legal ones.

    A reset that is given a ``"state"``, without a mask, goes on from there (``return_state``). The env has no batch;
    batches are made of several.

    Args:
        env: a ``pyspiel.Game``, or any state of one. Episodes start at the game's initial state.
        group_map: the players of each group, by the group's name, or a :class:`~envkit.MarlGroupMapType`; by default
            all are in one group called ``"agents"``.
        categorical_actions: actions are indices; if False, one-hot vectors.
        return_state: adds ``"state"``.
        device: device of inputs and outputs; the games themselves work on the CPU.

    Raises:
        MissingDependencyError: OpenSpiel is not installed.
        TypeError: ``env`` is neither a game nor a state.
        ValueError: it is a mean-field game, or ``group_map`` does not fit its players.
        UnsupportedSpaceError: the game describes what players know by no tensors.
        InvalidActionError: (when run) an illegal action of a player whose move it is.
        ResetNeededError: (when run) a step once the game is over.
        ValueError: (when reset) ``"state"`` is no state of the game.

    Examples:
        >>> import pyspiel  # doctest: +SKIP
        >>> env = OpenSpielWrapper(pyspiel.load_game("tic_tac_toe"))  # doctest: +SKIP
        >>> env.reset()["agents", "mask"]  # doctest: +SKIP
        tensor([ True, False])
    """

    libname = "pyspiel"

    def __init__(
        self,
        env: Any,
        *,
        group_map: GroupMap = None,
        categorical_actions: bool = True,
        return_state: bool = False,
        device: torch.device | str | int | None = None,
    ) -> None:
        super().__init__(device=device)
        self._env = game = _game_of(env)
        self._count, actions = game.num_players(), game.num_distinct_actions()
        self.categorical_actions, self.return_state = categorical_actions, return_state
        players = [f"player_{i}" for i in range(self._count)]
        self.group_map = agent_groups(MarlGroupMapType.ALL_IN_ONE_GROUP if group_map is None else group_map, players)
        self._groups = {group: [players.index(name) for name in names] for group, names in self.group_map.items()}
        self._tensor, self._shape = _tensor_of(game)
        self._random = np.random.default_rng()
        self._state: Any = None
        self._legal: dict[int, list[int]] = {}
        observation = Composite(current_player=Bounded(-4, self._count - 1, (), dtype=torch.int32))
        if return_state:
            observation["state"] = NonTensor((), example_data="")
        action, reward = Composite(), Composite()
        for group, members in self._groups.items():
            size = len(members)
            leaf = Categorical(actions, (size,))
            observation[group] = Composite(
                observation=Unbounded((size, *self._shape), dtype=torch.float32),
                mask=Categorical(2, (size,), dtype=torch.bool),
                action_mask=Categorical(2, (size, actions), dtype=torch.bool),
                shape=(size,),
            )
            action[group] = Composite(action=leaf if categorical_actions else leaf.to_one_hot_spec(), shape=(size,))
            reward[group] = Composite(reward=Unbounded((size, 1), dtype=torch.float32), shape=(size,))
        self.observation_spec = observation
        self.full_action_spec, self.full_reward_spec = action, reward
        self._masks = {(group, "action"): (group, "action_mask") for group in self._groups}

    @class_property
    def available_envs(cls) -> list[str]:  # noqa: N805 - a property of the class
        """The names of OpenSpiel's games; some cannot be loaded without parameters, and some are mean-field games."""
        return list(_pyspiel().registered_names())

    @property
    def game(self) -> Any:
        """The ``pyspiel.Game``."""
        return self._env

    @property
    def game_state(self) -> Any:
        """The ``pyspiel.State`` of the present episode; None before the first reset."""
        return self._state

    def _allowed(self, mask_key: NestedKey) -> torch.Tensor:
        group, _ = path_of(mask_key)
        return torch.from_numpy(self._action_mask(self._groups[group])).to(self.device)

    # --------------------------------------------------------------- the port

    def _set_seed(self, seed: int | None) -> None:
        self._random = np.random.default_rng(None if seed is None else spawn_seed(seed, "chance"))
        parameters, kind = self._env.get_parameters(), self._env.get_type()
        if seed is not None and "rng_seed" in kind.parameter_specification:
            parameters["rng_seed"] = spawn_seed(seed, "game") % SEEDS
            self._env = _pyspiel().load_game(kind.short_name, parameters)

    def _reset(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        given = None
        if self.return_state and tensordict is not None and "_reset" not in tensordict:
            given = tensordict.get("state", None)
        if given is None:
            self._state = self._env.new_initial_state()
        else:
            self._state = self._restored(given if isinstance(given, str) else given.data)
        self._await_move()
        return self._observed()

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        state = self._state
        if state.is_terminal():
            raise ResetNeededError(f"{self}: expected a reset before the next step(); the game is over")
        actions = self._actions(tensordict)
        if state.is_simultaneous_node():
            state.apply_actions(actions)
        else:
            state.apply_action(actions[state.current_player()])
        self._await_move()
        gained = torch.tensor(state.rewards(), dtype=torch.float32)
        out = self._observed()
        for group, members in self._groups.items():
            out.set((group, "reward"), gained[members].unsqueeze(-1).to(self._device))
        return out.set("terminated", torch.tensor([state.is_terminal()], device=self._device))

    def _restored(self, text: str) -> Any:
        try:
            return self._env.deserialize_state(text)
        except (_pyspiel().SpielError, ValueError) as error:
            raise ValueError(f"'state': expected a state of {self._env}, as it is recorded, found {text!r}") from error

    def _await_move(self) -> None:
        """Draws what chance decides until a player has a move or the game is over, and looks up the legal actions."""
        state = self._state
        while state.is_chance_node():
            outcomes, chances = zip(*state.chance_outcomes(), strict=True)
            weights = np.array(chances)
            state.apply_action(outcomes[self._random.choice(len(outcomes), p=weights / weights.sum())])
        if state.is_terminal():
            self._legal = {}
        elif state.is_simultaneous_node():
            self._legal = {player: state.legal_actions(player) for player in range(self._count)}
        else:
            self._legal = {state.current_player(): state.legal_actions()}

    def _actions(self, tensordict: TensorDictBase) -> list[int]:
        """The action of every player, those who have a move being asked for legal ones.

        Of the others it is 0, which OpenSpiel expects of players without legal actions.
        """
        out = [0] * self._count
        for group, members in self._groups.items():
            given = tensordict[group, "action"]
            chosen = (given if self.categorical_actions else given.int().argmax(-1)).tolist()
            for player, action in zip(members, chosen, strict=True):
                legal = self._legal.get(player)
                if not legal:
                    continue
                if action not in legal:
                    raise InvalidActionError(
                        f"{(group, 'action')!r} of player_{player}: expected one of the legal actions {legal}, found "
                        f"{action} in the state\n{self._state}"
                    )
                out[player] = action
        return out

    def _observed(self) -> TensorDictBase:
        state = self._state
        out = TensorDict({"current_player": torch.tensor(state.current_player(), dtype=torch.int32)})
        tell = getattr(state, self._tensor)
        for group, members in self._groups.items():
            size = len(members)
            seen = np.array([tell(player) for player in members], np.float32).reshape((size, *self._shape))
            parts = {
                "observation": torch.from_numpy(seen),
                "mask": torch.tensor([bool(self._legal.get(player)) for player in members]),
                "action_mask": torch.from_numpy(self._action_mask(members)),
            }
            out.set(group, TensorDict(parts, (size,)))
        if self._device is not None:
            out = out.to(self._device)
        if self.return_state:
            out.set_non_tensor("state", state.serialize())
        return out

    def _action_mask(self, members: list[int]) -> np.ndarray:
        """Legal actions of players, bool ``[n, m]``; all of them for who has no move."""
        mask = np.zeros((len(members), self._env.num_distinct_actions()), dtype=bool)
        for row, player in enumerate(members):
            mask[row, self._legal.get(player) or slice(None)] = True
        return mask

    def __repr__(self) -> str:
        return f"{type(self).__name__}(game={self._env}, batch_size={list(self.batch_size)}, device={self.device})"


class OpenSpielEnv(OpenSpielWrapper):
    """A game of OpenSpiel by its name; see :class:`OpenSpielWrapper`.

    Args:
        game_string: a name known to ``pyspiel.load_game``, which may have parameters in it:
            ``"leduc_poker(players=3)"``.
        group_map, categorical_actions, return_state, device: see :class:`OpenSpielWrapper`.

    Raises:
        MissingDependencyError: OpenSpiel is not installed.
        UnknownEnvError: OpenSpiel has no such game.
        ValueError: the game cannot be loaded with these parameters, or is a mean-field game.

    Examples:
        >>> env = OpenSpielEnv("leduc_poker")  # doctest: +SKIP
        >>> data = env.rollout(20)  # doctest: +SKIP
        >>> data["next", "agents", "reward"].sum()  # doctest: +SKIP
        tensor(0.)
        >>> OpenSpielEnv("goofspiel").reset()["current_player"]  # doctest: +SKIP
        tensor(-2, dtype=torch.int32)
    """

    def __init__(
        self,
        game_string: str,
        *,
        group_map: GroupMap = None,
        categorical_actions: bool = True,
        return_state: bool = False,
        device: torch.device | str | int | None = None,
    ) -> None:
        super().__init__(
            _load(game_string),
            group_map=group_map,
            categorical_actions=categorical_actions,
            return_state=return_state,
            device=device,
        )
        self.game_string = game_string


def _load(game_string: str) -> Any:
    pyspiel = _pyspiel()
    name, known = game_string.partition("(")[0], pyspiel.registered_names()
    if name not in known:
        raise UnknownEnvError(f"unknown game {name!r}: expected one of OpenSpiel's{did_you_mean(name, known)}")
    try:
        return pyspiel.load_game(game_string)
    except (pyspiel.SpielError, IndexError) as error:
        raise ValueError(
            f"game_string: expected a game that OpenSpiel can load, found {game_string!r}: {error}"
        ) from error


def _game_of(env: Any) -> Any:
    """The game of a game or a state, if it is one that can be played here."""
    pyspiel = _pyspiel()
    game = env.get_game() if isinstance(env, pyspiel.State) else env
    if not isinstance(game, pyspiel.Game):
        raise TypeError(f"OpenSpielWrapper: expected a pyspiel.Game or a pyspiel.State, found {type(env).__name__}")
    if game.get_type().dynamics == pyspiel.GameType.Dynamics.MEAN_FIELD:
        raise ValueError(f"expected a sequential or a simultaneous game, found {game}, which is a mean-field game")
    return game


def _tensor_of(game: Any) -> tuple[str, list[int]]:
    """The method of a state that tells what a player knows, and the shape of what it returns."""
    for method, provided in (
        ("observation_tensor", game.get_type().provides_observation_tensor),
        ("information_state_tensor", game.get_type().provides_information_state_tensor),
    ):
        if provided:
            try:
                return method, getattr(game, f"{method}_shape")()
            except _pyspiel().SpielError:  # some games claim to, and do not
                continue
    raise UnsupportedSpaceError(
        f"{game}: expected a game with observation or information-state tensors, found one without either"
    )


def _pyspiel() -> Any:
    return import_simulator("pyspiel", "OpenSpiel", "`pip install 'envkit[open-spiel]'`")
