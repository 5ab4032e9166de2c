"""Noughts and crosses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from tensordict import TensorDict, TensorDictBase

from envkit.errors import InvalidActionError
from envkit.native.base import NativeEnv
from envkit.specs import Bounded, Categorical, Composite, Unbounded
from envkit.storage import unchecked

__all__ = ["TicTacToeEnv", "tictactoe_won"]


def tictactoe_won(board: torch.Tensor, player: torch.Tensor) -> torch.Tensor:
    """Whether a player has three in a row.

    Args:
        board: integers, shape ``[*batch, 3, 3]``: -1 where a field is empty, else who holds it.
        player: integers, shape ``[*batch, 1]``.

    Returns:
        bool, shape ``[*batch, 1]``.

    Examples:
        >>> board = torch.tensor([[0, 1, 1], [-1, 0, -1], [-1, -1, 0]])
        >>> tictactoe_won(board, torch.tensor([0])), tictactoe_won(board, torch.tensor([1]))
        (tensor([True]), tensor([False]))
    """
    held = board == player.unsqueeze(-1)
    straight = held.all(-1).any(-1, keepdim=True) | held.all(-2).any(-1, keepdim=True)
    falling, rising = (grid.diagonal(0, -2, -1).all(-1, keepdim=True) for grid in (held, held.flip(-1)))
    return straight | falling | rising


class TicTacToeEnv(NativeEnv):
    """Tic-tac-toe, for two players or one, for any number of boards at once and on any device.

    =========================== =========================== =================================================
    entry                       dtype and shape             content
    =========================== =========================== =================================================
    board                       int8 ``[*batch, 3, 3]``     -1 where a field is empty, else who holds it
    turn                        int8 ``[*batch, 1]``        whose move it is: 0 or 1; player 0 begins
    mask                        bool ``[*batch, 9]``        fields that may be taken, row by row; all of them
                                                            once the game is over, so that distributions over
                                                            moves stay proper
    action                      int64 ``[*batch]``          the field to take, row by row
    player0.reward,             float32 ``[*batch, 1]``     1 for the winner and -1 for the loser at the end
    player1.reward                                          of a game, 0 otherwise
    terminated                  bool ``[*batch, 1]``        the game is won or drawn
    =========================== =========================== =================================================

    With ``single_player=True`` the actions are those of player 0. Player 1 answers within the same step by a random
    legal move, ``turn`` stays 0, and there is one ``reward``, that of player 0, in place of the two.

    Random actions (rollouts without a policy, :meth:`rand_action`) are drawn among the fields that may be taken. A
    field that may not, or any field of a board whose game is over, is an error, except on boards that a ``"_step"``
    mask leaves out. With ``illegal_moves="lose"``, and wherever the step is compiled, whoever does it loses the game.

    Args:
        single_player: play against random moves.
        device: device of inputs and outputs.
        batch_size: a batch size of the env's own; without one it goes by that of its input.
        illegal_moves: ``"raise"`` or ``"lose"``. The former looks at the values of every step, which makes the host
            wait for a GPU.

    Raises:
        InvalidActionError: at a step with an illegal move.

    Examples:
        >>> env = TicTacToeEnv()
        >>> data = env.rollout(9, tensordict=TensorDict({}, [100]), break_when_all_done=True)
        >>> (data["next", "player0", "reward"] + data["next", "player1", "reward"]).abs().max()
        tensor(0.)
    """

    def __init__(
        self,
        single_player: bool = False,
        device: torch.device | str | int | None = None,
        batch_size: Sequence[int] | torch.Size | None = None,
        *,
        illegal_moves: Literal["raise", "lose"] = "raise",
    ) -> None:
        super().__init__(device, batch_size)
        if illegal_moves not in ("raise", "lose"):
            raise ValueError(f"illegal_moves: expected 'raise' or 'lose', found {illegal_moves!r}")
        self.single_player, self.illegal_moves = single_player, illegal_moves
        board = Composite(board=Bounded(-1, 1, (3, 3), dtype=torch.int8), turn=Categorical(2, (1,), dtype=torch.int8))
        self.state_spec_unbatched = board
        self.observation_spec_unbatched = Composite(
            board=board["board"].clone(),
            turn=board["turn"].clone(),
            mask=Categorical(2, (9,), dtype=torch.bool),
        )
        self.action_spec_unbatched = Categorical(9)
        reward = Unbounded((1,), dtype=torch.float32)
        self.full_reward_spec_unbatched = Composite(
            {"reward": reward} if single_player else {f"player{i}": Composite(reward=reward.clone()) for i in range(2)}
        )

    def rand_action(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        """Writes a random legal move; without a ``"mask"`` to go by, that of an empty board. See :class:`EnvBase`."""
        if tensordict is None:
            tensordict = TensorDict({}, self._batch_size, device=self._device)
        mask = tensordict.get("mask", None)
        if mask is None:
            mask = torch.ones((*tensordict.batch_size, 9), dtype=torch.bool, device=self._device)
        return tensordict.set("action", _draw(mask, self._runtime.generator))

    def _reset(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        size = self._size(tensordict)
        board = torch.full((*size, 3, 3), -1, dtype=torch.int8, device=self._device)
        turn = torch.zeros((*size, 1), dtype=torch.int8, device=self._device)
        mask = torch.ones((*size, 9), dtype=torch.bool, device=self._device)
        return unchecked({"board": board, "turn": turn, "mask": mask}, size, self._device)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        board, turn, action = tensordict.get("board"), tensordict.get("turn"), tensordict.get("action").unsqueeze(-1)
        illegal = board.flatten(-2).gather(-1, action) != -1
        over = tensordict.get("terminated", None)
        if over is not None:
            illegal = illegal | over
        if self.illegal_moves == "raise" and not torch.compiler.is_compiling():
            self._refuse(tensordict, illegal)
        board, won = _taken(board, turn, action)
        won = won & ~illegal
        lost = illegal
        over = won | lost | _full(board)
        if self.single_player:
            answered, beaten = _taken(board, 1 - turn, _draw(_free(board), self._random).unsqueeze(-1))
            board = torch.where(over.unsqueeze(-1), board, answered)
            lost = lost | (beaten & ~over)
            over = over | lost | _full(board)
        else:
            turn = 1 - turn
        # Of whoever moved: player 0, unless it is a game of two and player 0 has the next move.
        gain = won.to(torch.float32) - lost.to(torch.float32)
        if self.single_player:
            rewards = {"reward": gain}
        else:
            first = torch.where(turn == 1, gain, -gain)
            rewards = {
                f"player{i}": unchecked({"reward": reward}, tensordict.batch_size, self._device)
                for i, reward in enumerate((first, -first))
            }
        seen = {"board": board, "turn": turn, "mask": _free(board) | over}
        return unchecked({**seen, **rewards, "terminated": over}, tensordict.batch_size, self._device)

    def _refuse(self, tensordict: TensorDictBase, illegal: torch.Tensor) -> None:
        """Raises if there is an illegal move on a board that takes part."""
        mask = tensordict.get("_step", None)
        if mask is not None:
            illegal = illegal & mask.reshape(illegal.shape)
        if bool(illegal.any()):
            where = tuple(illegal.squeeze(-1).nonzero()[0].tolist())
            of = f" of element {list(where)}" if where else ""
            board, action = (tensordict[key][where].tolist() for key in ("board", "action"))
            raise InvalidActionError(
                f"'action'{of}: expected a free field of a game that is not over, found {action} on the board "
                f"{board}; illegal_moves='lose' makes it a lost game"
            )


def _taken(board: torch.Tensor, player: torch.Tensor, field: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The board after ``player`` took a field, and whether that won the game."""
    board = board.flatten(-2).scatter(-1, field, player).unflatten(-1, (3, 3))
    return board, tictactoe_won(board, player)


def _free(board: torch.Tensor) -> torch.Tensor:
    return board.flatten(-2) == -1


def _full(board: torch.Tensor) -> torch.Tensor:
    return ~_free(board).any(-1, keepdim=True)


def _draw(mask: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """A number of a True entry of each row, all of them equally likely; 0 if there is none."""
    lots = torch.rand(mask.shape, generator=generator, device=mask.device)
    return torch.where(mask, lots, -1.0).argmax(-1)
