"""Looking ahead in games of two."""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import torch

__all__ = ["Rules", "minimax_move", "minimax_values"]

TOGETHER = 20


class Rules(Protocol):
    """What looking ahead needs to know of a game; :class:`~envkit.native.board_game.BoardGameEnv` tells it."""

    @staticmethod
    def moved(board: torch.Tensor, player: torch.Tensor, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The boards ``[*batch, rows, columns]`` after moves ``[*batch, 1]`` of players; and whether those win."""

    @staticmethod
    def legal(board: torch.Tensor) -> torch.Tensor:
        """Which moves there are, bool ``[*batch, moves]``."""


def minimax_values(
    game: Rules, board: torch.Tensor, player: torch.Tensor, depth: int, *, discount: float = 0.99
) -> torch.Tensor:
    """What moves are worth to whoever makes them, if both sides go on as well as they can see.

    A move is worth 1 if it wins, 0 if it fills the board or the depth ends there, and else ``-discount`` times the
    worth of the best answer (Shannon 1950, Philosophical Magazine 41). A position that is reached in several ways is
    looked at once.

    Args:
        game: its rules, a class of envs such as :class:`~envkit.TicTacToeEnv`.
        board: boards of games that go on: -1 where a field is empty, else who holds it; int8
            ``[*batch, rows, columns]``.
        player: whose move it is, 0 or 1; int8 ``[*batch, 1]``.
        depth: how many moves are looked ahead, those of both players counted; at least 1.
        discount: below 1, for wins that come soon and losses that come late.

    Returns:
        float32 ``[*batch, moves]``; minus infinity where there is no such move.

    Examples:
        >>> from envkit import TicTacToeEnv
        >>> board = torch.tensor([[0, 0, -1], [1, 1, -1], [-1, -1, -1]], dtype=torch.int8)
        >>> values = minimax_values(TicTacToeEnv, board, torch.tensor([0], dtype=torch.int8), depth=9)
        >>> values.argmax(), values.max()
        (tensor(2), tensor(1.))
    """
    positions, place = _distinct(_seen(board, by=player.unsqueeze(-1)).reshape(-1, *board.shape[-2:]))
    levels = []
    for _ in range(depth):
        legal = game.legal(positions)
        origin, move = legal.nonzero(as_tuple=True)
        # Whoever is to move is player 0 of every position.
        mover = torch.zeros((len(move), 1), dtype=board.dtype, device=board.device)
        after, won = game.moved(positions[origin], mover, move.unsqueeze(-1))
        won = won.squeeze(-1)
        going_on = ~won & game.legal(after).any(-1)
        positions, following = _distinct(_seen(after[going_on], by=1))
        levels.append((legal, won, going_on, following))
        if not len(positions):
            break
    best = torch.zeros(len(positions), device=board.device)
    for legal, won, going_on, following in reversed(levels):
        worth = won.to(torch.float32)
        worth[going_on] = -discount * best[following]
        values = torch.full(legal.shape, -torch.inf, device=board.device)
        values[legal] = worth
        best = values.amax(-1)
    return values[place].reshape(*board.shape[:-2], values.shape[-1])


def minimax_move(
    game: Rules, board: torch.Tensor, player: torch.Tensor, depth: int, generator: torch.Generator | None = None
) -> torch.Tensor:
    """One of the moves with the highest of :func:`minimax_values`, all of them equally likely.

    Args:
        game, board, player, depth: as there.
        generator: source of the random numbers.

    Returns:
        int64 ``[*batch]``; any number where the game is over.
    """
    if board.ndim == 2:
        fields = tuple(_seen(board, by=player.unsqueeze(-1)).flatten().tolist())
        values = _remembered(game, fields, board.shape, depth).to(board.device)  # type: ignore[arg-type]
    else:
        values = minimax_values(game, board, player, depth)
    best = values == values.amax(-1, keepdim=True)
    lots = torch.rand(values.shape, generator=generator, device=board.device)
    return torch.where(best, lots, -1.0).argmax(-1)


@lru_cache(maxsize=2**16)
def _remembered(game: Rules, fields: tuple[int, ...], shape: torch.Size, depth: int) -> torch.Tensor:
    """The values at one position: envs without a batch, as evaluations use them, meet the same ones often."""
    board = torch.tensor(fields, dtype=torch.int8).reshape(shape)
    return minimax_values(game, board, torch.zeros(1, dtype=torch.int8), depth)


def _seen(board: torch.Tensor, *, by: torch.Tensor | int) -> torch.Tensor:
    """The board as if ``by`` were player 0."""
    return torch.where(board < 0, board, (board != by).to(board.dtype))


def _distinct(positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions without repetitions, and where each of them went."""
    device = positions.device
    place = torch.zeros(len(positions), dtype=torch.int64, device=device)
    # Numbers are quicker to compare than rows: one for each row, of as many fields at a time as 64 bits hold beside it.
    for fields in (positions.flatten(1) + 1).split(TOGETHER, -1):
        code = (fields * 3 ** torch.arange(fields.shape[1], device=device)).sum(-1)
        found, place = torch.unique(place * 3**TOGETHER + code, return_inverse=True)
    origin = torch.empty(len(found), dtype=torch.int64, device=device)
    return positions[origin.scatter_(0, place, torch.arange(len(place), device=device))], place
