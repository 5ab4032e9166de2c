"""Four in a row."""

from __future__ import annotations

import torch

from envkit.native.board_game import BoardGameEnv

__all__ = ["ConnectFourEnv", "connect_four_won"]


def connect_four_won(board: torch.Tensor, player: torch.Tensor) -> torch.Tensor:
    """Whether a player has four in a row: across, down or along a diagonal.

    Args:
        board: integers, shape ``[*batch, 6, 7]``: -1 where a field is empty, else who holds it.
        player: integers, shape ``[*batch, 1]``.

    Returns:
        bool, shape ``[*batch, 1]``.

    Examples:
        >>> board = torch.full((6, 7), -1)
        >>> board[5, 1:5] = 0
        >>> connect_four_won(board, torch.tensor([0])), connect_four_won(board, torch.tensor([1]))
        (tensor([True]), tensor([False]))
    """
    held = board == player.unsqueeze(-1)
    won = torch.zeros_like(player, dtype=torch.bool)
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        line = held if right >= 0 else held.flip(-1)
        # Two in a row, then two such pairs in a row, two fields apart.
        for step in (1, 2):
            line = _and_next(line, down * step, abs(right) * step)
        won = won | line.flatten(-2).any(-1, keepdim=True)
    return won


def _and_next(held: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """Where a field and the one so far below it and to its right are both held."""
    rows, columns = held.shape[-2] - down, held.shape[-1] - right
    return held[..., :rows, :columns] & held[..., down:, right:]


class ConnectFourEnv(BoardGameEnv):
    """Connect four, for two players or one, for any number of boards at once and on any device.

    Stones fall to the lowest empty field of a column of six. Whoever first has four in a row wins, across, down or
    along a diagonal; a full board without them is a draw.

    =========================== =========================== =================================================
    entry                       dtype and shape             content
    =========================== =========================== =================================================
    board                       int8 ``[*batch, 6, 7]``     -1 where a field is empty, else who holds it; the
                                                            last row is the lowest
    turn                        int8 ``[*batch, 1]``        whose move it is: 0 or 1; player 0 begins
    mask                        bool ``[*batch, 7]``        columns that have room; all of them once the game
                                                            is over, so that distributions over moves stay
                                                            proper
    observation                 float32 ``[*batch, 84]``    (``include_observation``) 1 where whoever is to
                                                            move holds a field, then 1 where the other one does
    action                      int64 ``[*batch]``          the column
    player0.reward,             float32 ``[*batch, 1]``     1 for the winner and -1 for the loser at the end
    player1.reward                                          of a game, 0 otherwise
    terminated                  bool ``[*batch, 1]``        the game is won or drawn
    =========================== =========================== =================================================

    Players, opponents and illegal moves are those of :class:`~envkit.TicTacToeEnv`.

    Args:
        single_player, device, batch_size, illegal_moves, opponent, player, include_observation: see there.
        search_depth: how many moves ``"minimax"`` looks ahead, 4 by default.

    Raises:
        InvalidActionError, ValueError, PolicyError: see there.

    Examples:
        >>> env = ConnectFourEnv()
        >>> data = env.rollout(2, lambda td: td.set("action", torch.tensor(3)))
        >>> data["next", "board"][-1, 4:]
        tensor([[-1, -1, -1,  1, -1, -1, -1],
                [-1, -1, -1,  0, -1, -1, -1]], dtype=torch.int8)
    """

    fields = (6, 7)
    moves = 7
    depth = 4

    @staticmethod
    def moved(board: torch.Tensor, player: torch.Tensor, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :meth:`BoardGameEnv.moved`: a stone falls into a column."""
        rows, columns = board.shape[-2:]
        height = (board == -1).sum(-2).gather(-1, action)
        # A move into a full column, which wins nothing, has to go somewhere.
        field = (height - 1).clamp_min(0) * columns + action
        board = board.flatten(-2).scatter(-1, field, player).unflatten(-1, (rows, columns))
        return board, connect_four_won(board, player)

    @staticmethod
    def legal(board: torch.Tensor) -> torch.Tensor:
        """See :meth:`BoardGameEnv.legal`: columns whose highest field is empty."""
        return board[..., 0, :] == -1
