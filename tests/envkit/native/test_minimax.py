from __future__ import annotations

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envkit import ConnectFourEnv, TicTacToeEnv, minimax_values
from envkit.native.minimax import minimax_move

LINES = [(0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6)]


@cache
def worth(fields, player, depth):
    """What each free field of tic-tac-toe is worth, by the definition; numbers of moves ahead count down."""
    out = {}
    for move in (n for n in range(9) if fields[n] == -1):
        after = (*fields[:move], player, *fields[move + 1 :])
        if any(all(after[n] == player for n in line) for line in LINES):
            out[move] = 1.0
        elif depth == 1 or -1 not in after:
            out[move] = 0.0
        else:
            out[move] = -0.99 * max(worth(after, 1 - player, depth - 1).values())
    return out


def played(game, moves):
    """A board after moves in turn, and who is next; the game goes on."""
    board, player = torch.full((1, *game.fields), -1, dtype=torch.int8), torch.zeros((1, 1), dtype=torch.int8)
    for move in moves:
        if not game.legal(board)[0, move]:
            continue
        after, won = game.moved(board, player, torch.tensor([[move]]))
        if won or not game.legal(after).any():
            break
        board, player = after, 1 - player
    return board, player


@settings(max_examples=60, deadline=None)
@given(moves=st.lists(st.integers(0, 8), max_size=8), depth=st.integers(1, 9))
def test_values_are_those_of_the_definition(moves, depth):
    board, player = played(TicTacToeEnv, moves)
    found = minimax_values(TicTacToeEnv, board, player, depth)[0]
    expected = worth(tuple(board.flatten().tolist()), int(player), depth)
    assert found.isfinite().nonzero().flatten().tolist() == list(expected)
    for move, value in expected.items():
        assert found[move].item() == pytest.approx(value, abs=1e-6)


def test_tic_tac_toe_is_a_draw():
    board, player = played(TicTacToeEnv, [])
    assert minimax_values(TicTacToeEnv, board, player, 9).tolist() == [[0.0] * 9]


def test_a_batch_is_its_elements():
    boards, players = zip(*(played(TicTacToeEnv, moves) for moves in ([], [4], [0, 4], [8, 0, 4, 2])), strict=True)
    together = minimax_values(TicTacToeEnv, torch.stack([*boards]), torch.stack([*players]), 9)
    assert together.shape == (4, 1, 9)
    for n in range(4):
        assert torch.equal(together[n], minimax_values(TicTacToeEnv, boards[n], players[n], 9))


def test_no_boards():
    board, player = torch.zeros((0, 3, 3), dtype=torch.int8), torch.zeros((0, 1), dtype=torch.int8)
    assert minimax_values(TicTacToeEnv, board, player, 9).shape == (0, 9)


@pytest.mark.parametrize("player", [0, 1])
def test_connect_four_wins_and_blocks(player):
    """Three stones upon each other: whoever has them wins on top, and the other one blocks there."""
    board, _ = played(ConnectFourEnv, [2, 5, 2, 5, 2])
    turn = torch.full((1, 1), player, dtype=torch.int8)
    values = minimax_values(ConnectFourEnv, board, turn, 2)[0]
    assert values.argmax() == 2
    assert values[2] == (1.0 if player == 0 else 0.0)
    assert (values[torch.arange(7) != 2] < values[2]).all()


def test_a_win_that_comes_sooner_is_worth_more():
    board, player = played(ConnectFourEnv, [3, 3, 2, 2])
    values = minimax_values(ConnectFourEnv, board, player, 3)[0]
    assert values.max().item() == pytest.approx(0.99**2)
    assert set((values == values.max()).nonzero().flatten().tolist()) == {1, 4}


@pytest.mark.parametrize("size", [(), (1,)])
def test_the_best_moves_are_equally_likely(size):
    """Remembered for a single board, worked out for a batch."""
    board, player = played(ConnectFourEnv, [3, 3, 2, 2])
    generator = torch.Generator().manual_seed(0)
    board, player = board.reshape(*size, 6, 7), player.reshape(*size, 1)
    moves = [minimax_move(ConnectFourEnv, board, player, 3, generator) for _ in range(200)]
    assert {tuple(move.shape) for move in moves} == {size}
    counts = torch.stack(moves).flatten().bincount(minlength=7)
    assert counts.nonzero().flatten().tolist() == [1, 4]
    assert counts[1] > 70
    assert counts[4] > 70
