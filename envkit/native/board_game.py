"""Games of two players who take turns to put stones on a board."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import torch
from tensordict import TensorDict, TensorDictBase

from envkit.core.native_env import NativeEnv
from envkit.core.policies import on_tensordicts
from envkit.errors import InvalidActionError, PolicyError
from envkit.native.board_picture import board_picture
from envkit.native.minimax import minimax_move
from envkit.specs import Bounded, Categorical, Composite, Unbounded
from envkit.spelling import did_you_mean
from envkit.storage import unchecked

__all__ = ["BoardGameEnv", "Opponent"]

Opponent = Literal["random", "minimax", "self"] | Callable[..., Any]
"""Who the single player of a game plays against: a name, or anything that may be a policy."""

NAMED = ("random", "minimax", "self")


class BoardGameEnv(NativeEnv):
    """Base of games in which two players take turns, for any number of boards at once and on any device.

    A game says how large its board is, which moves there are, and what they lead to; players, opponents, masks and
    rewards are alike in all of them, and told by the games: :class:`~envkit.TicTacToeEnv`,
    :class:`~envkit.ConnectFourEnv`.
    """

    fields: ClassVar[tuple[int, int]]
    """Rows and columns of the board."""
    moves: ClassVar[int]
    """Number of actions."""
    depth: ClassVar[int]
    """How many moves the minimax opponent looks ahead unless it is told otherwise."""
    metadata: ClassVar[dict[str, Any]] = {"render_fps": 1}

    def __init__(
        self,
        single_player: bool = False,
        device: torch.device | str | int | None = None,
        batch_size: Sequence[int] | torch.Size | None = None,
        *,
        illegal_moves: Literal["raise", "lose"] = "raise",
        opponent: Opponent | None = None,
        player: Literal[0, 1] | None = 0,
        search_depth: int | None = None,
        include_observation: bool = False,
    ) -> None:
        super().__init__(device, batch_size)
        if illegal_moves not in ("raise", "lose"):
            raise ValueError(f"illegal_moves: expected 'raise' or 'lose', found {illegal_moves!r}")
        if opponent is not None and not single_player:
            raise ValueError(f"opponent: expected single_player=True beside {opponent!r}, found False")
        if search_depth is not None and search_depth < 1:
            raise ValueError(f"search_depth: expected at least 1, found {search_depth}")
        self.single_player, self.illegal_moves, self.player = single_player, illegal_moves, player
        self.search_depth = self.depth if search_depth is None else search_depth
        self.include_observation = include_observation
        # In a list: a module is no part of this one.
        self._opponents = [_known(opponent or "random")] if single_player else []
        if player not in (0, 1, None) or (player != 0 and not self._answers):
            allowed = "0, 1 or None" if self._answers else "0, as the actions are those of both players"
            raise ValueError(f"player: expected {allowed}, found {player!r}")
        board = Composite(
            board=Bounded(-1, 1, self.fields, dtype=torch.int8), turn=Categorical(2, (1,), dtype=torch.int8)
        )
        self.state_spec_unbatched = board
        seen = Composite(
            board=board["board"].clone(),
            turn=board["turn"].clone(),
            mask=Categorical(2, (self.moves,), dtype=torch.bool),
        )
        if include_observation:
            seen["observation"] = Bounded(0, 1, (2 * self.fields[0] * self.fields[1],), dtype=torch.float32)
        self.observation_spec_unbatched = seen
        self.action_spec_unbatched = Categorical(self.moves)
        reward = Unbounded((1,), dtype=torch.float32)
        self.full_reward_spec_unbatched = Composite(
            {"reward": reward} if single_player else {f"player{i}": Composite(reward=reward.clone()) for i in range(2)}
        )

    @staticmethod
    @abstractmethod
    def moved(board: torch.Tensor, player: torch.Tensor, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What moves lead to, whether or not they are legal.

        Args:
            board: integers ``[*batch, rows, columns]``: -1 where a field is empty, else who holds it.
            player: who moves, of that dtype, ``[*batch, 1]``.
            action: int64 ``[*batch, 1]``.

        Returns:
            The boards, and whether the player has won, bool ``[*batch, 1]``.
        """

    @staticmethod
    @abstractmethod
    def legal(board: torch.Tensor) -> torch.Tensor:
        """Which moves the board has room for, bool ``[*batch, moves]``."""

    # --------------------------------------------------------------- opponents

    @property
    def opponent(self) -> Opponent | None:
        """Who the single player plays against; None in a game of two."""
        return self._opponents[0] if self._opponents else None

    def set_opponent(self, opponent: Opponent) -> None:
        """Has the single player play against someone else from now on, such as a copy of what it has become.

        Whoever it is stays with this env: neither snapshots nor agents that are saved tell of it.

        Args:
            opponent: ``"random"``, ``"minimax"`` or a policy.

        Raises:
            ValueError: it is none of these names; or it is ``"self"``, or the env moves for nobody, which cannot change
                as long as actions are to remain those of the same player.
            TypeError: it is neither a name nor a policy.
        """
        if not self._answers or opponent == "self":
            raise ValueError(
                f"opponent: expected an env that moves for a player, before and after, found {opponent!r} in place of "
                f"{self.opponent!r}"
            )
        self._opponents = [_known(opponent)]

    def _simulation(self) -> dict[str, Any]:
        """The opponent is no part of it: a game goes on with whomever the env has."""
        return {name: value for name, value in super()._simulation().items() if name != "_opponents"}

    @property
    def _answers(self) -> bool:
        """Whether the env moves for one of the players."""
        return self.opponent not in (None, "self")

    def _reply(
        self, board: torch.Tensor, player: torch.Tensor, going_on: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What the opponent's moves as ``player`` lead to: boards, whether they win, and whether they are illegal."""
        opponent = self.opponent
        if opponent == "random":
            action = _draw(self.legal(board), self._random)
        elif opponent == "minimax":
            action = minimax_move(type(self), board, player, self.search_depth, self._random)
        else:
            action = self._asked(board, player)
        action = action.unsqueeze(-1)
        illegal = torch.zeros_like(going_on)
        if not isinstance(opponent, str):
            illegal = ~self.legal(board).gather(-1, action) & going_on
            if self.illegal_moves == "raise" and bool(illegal.any()):
                raise _illegal("opponent", board, action, illegal)
        after, won = self.moved(board, player, action)
        return after, won & ~illegal, illegal

    def _asked(self, board: torch.Tensor, player: torch.Tensor) -> torch.Tensor:
        """The answer of an opponent that is a policy."""
        size, legal = board.shape[:-2], self.legal(board)
        shown = unchecked(self._shown(board, player, legal | ~legal.any(-1, True)), size, self._device)
        act, _ = on_tensordicts(self.opponent, self.plan_for(size))  # type: ignore[arg-type]
        with torch.no_grad():
            answer = act(shown)
        action = (shown if answer is None else answer).get("action", None)
        if action is None or tuple(action.shape) != tuple(size):
            found = None if action is None else list(action.shape)
            raise PolicyError(f"opponent: expected an 'action' of shape {list(size)}, found {found}")
        return action

    # ------------------------------------------------------------------- games

    def rand_action(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        """Writes a random legal move; without a ``"mask"`` to go by, that of an empty board. See :class:`EnvBase`."""
        if tensordict is None:
            tensordict = TensorDict({}, self._batch_size, device=self._device)
        mask = tensordict.get("mask", None)
        if mask is None:
            mask = torch.ones((*tensordict.batch_size, self.moves), dtype=torch.bool, device=self._device)
        return tensordict.set("action", _draw(mask, self._runtime.generator))

    def render(self, tensordict: TensorDictBase) -> list[torch.Tensor]:
        """Pictures of the boards in the data, one for each element of its batch; see :func:`board_picture`.

        For :class:`~envkit.PixelRenderTransform` with ``pass_tensordict=True``.
        """
        return [board_picture(board) for board in tensordict["board"].reshape(-1, *self.fields)]

    def _reset(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        size = self._size(tensordict)
        board = torch.full((*size, *self.fields), -1, dtype=torch.int8, device=self._device)
        turn = torch.zeros((*size, 1), dtype=torch.int8, device=self._device)
        if self.player is None:
            turn = torch.randint(2, turn.shape, generator=self._random, dtype=torch.int8, device=self._device)
        elif self.player == 1:
            turn = turn + 1
        if self.player != 0:
            opens = turn == 1
            opened, _, _ = self._reply(board, torch.zeros_like(turn), opens)
            board = torch.where(opens.unsqueeze(-1), opened, board)
        return unchecked(self._shown(board, turn, self.legal(board)), size, self._device)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        board, turn, action = tensordict.get("board"), tensordict.get("turn"), tensordict.get("action").unsqueeze(-1)
        over, part = tensordict.get("terminated", None), tensordict.get("_step", None)
        illegal = ~self.legal(board).gather(-1, action)
        if over is not None:
            illegal = illegal | over
        if self.illegal_moves == "raise" and not torch.compiler.is_compiling():
            refused = illegal if part is None else illegal & part.reshape(illegal.shape)
            if bool(refused.any()):
                raise _illegal("action", board, action, refused)
        board, won = self.moved(board, turn, action)
        won, lost = won & ~illegal, illegal
        over = won | lost | self._full(board)
        following = 1 - turn
        if self._answers:
            going_on = ~over if part is None else ~over & part.reshape(over.shape)
            replied, beaten, forfeit = self._reply(board, following, going_on)
            board = torch.where(over.unsqueeze(-1), board, replied)
            lost, won = lost | (beaten & ~over), won | forfeit
            over = over | lost | won | self._full(board)
            following = turn
        gain = won.to(torch.float32) - lost.to(torch.float32)
        if self.single_player:
            rewards: dict[str, Any] = {"reward": gain}
        else:
            first = torch.where(turn == 0, gain, -gain)
            rewards = {
                f"player{i}": unchecked({"reward": reward}, tensordict.batch_size, self._device)
                for i, reward in enumerate((first, -first))
            }
        seen = self._shown(board, following, self.legal(board) | over)
        return unchecked({**seen, **rewards, "terminated": over}, tensordict.batch_size, self._device)

    def _shown(self, board: torch.Tensor, turn: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """What whoever is to move sees."""
        seen = {"board": board, "turn": turn, "mask": mask}
        if self.include_observation:
            own, empty = board == turn.unsqueeze(-1), board < 0
            held = torch.stack([own, ~own & ~empty], -3)
            seen["observation"] = held.flatten(-3).to(torch.float32)
        return seen

    def _full(self, board: torch.Tensor) -> torch.Tensor:
        return ~self.legal(board).any(-1, keepdim=True)


def _known(opponent: Opponent) -> Opponent:
    """The opponent, if it is one."""
    if isinstance(opponent, str) and opponent not in NAMED:
        raise ValueError(
            f"opponent: expected one of {list(NAMED)} or a policy, found {opponent!r}{did_you_mean(opponent, NAMED)}"
        )
    if not isinstance(opponent, str) and not callable(opponent):
        raise TypeError(f"opponent: expected one of {list(NAMED)} or a policy, found {type(opponent).__name__}")
    return opponent


def _illegal(whose: str, board: torch.Tensor, action: torch.Tensor, where: torch.Tensor) -> InvalidActionError:
    """An error that tells the first of the moves that are ``where``; the board is that before it."""
    place = tuple(where.squeeze(-1).nonzero()[0].tolist())
    of = f" of element {list(place)}" if place else ""
    return InvalidActionError(
        f"{whose!r}{of}: expected a move to a free field, in a game that is not over, found "
        f"{action.squeeze(-1)[place].tolist()} on the board {board[place].tolist()}; illegal_moves='lose' makes it a "
        "lost game"
    )


def _draw(mask: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """A number of a True entry of each row, all of them equally likely; 0 if there is none."""
    lots = torch.rand(mask.shape, generator=generator, device=mask.device)
    return torch.where(mask, lots, -1.0).argmax(-1)
