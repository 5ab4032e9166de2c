from __future__ import annotations

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from envkit import ConnectFourEnv, InvalidActionError
from envkit.native.connect_four import connect_four_won


def play(env, *columns):
    """The data of the steps of one game."""
    td, rows = env.reset(), []
    for column in columns:
        td = env.step(td.set("action", torch.tensor(column)))
        rows.append(td["next"])
        td = env.step_mdp(td)
    return rows


def won_by_search(board, player):
    """Whether any four fields in a line are the player's."""
    for row in range(6):
        for column in range(7):
            for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
                line = [(row + n * down, column + n * right) for n in range(4)]
                if all(0 <= r < 6 and 0 <= c < 7 and board[r][c] == player for r, c in line):
                    return True
    return False


def test_a_game_step_by_step():
    rows = play(ConnectFourEnv(), 3, 3, 4, 4, 5, 5, 6)
    assert [row["turn"].item() for row in rows] == [1, 0, 1, 0, 1, 0, 1]
    assert [row["terminated"].item() for row in rows] == [False] * 6 + [True]
    assert [row["player0", "reward"].item() for row in rows] == [0.0] * 6 + [1.0]
    assert [row["player1", "reward"].item() for row in rows] == [0.0] * 6 + [-1.0]
    assert rows[-1]["board"][4:].tolist() == [[-1, -1, -1, 1, 1, 1, -1], [-1, -1, -1, 0, 0, 0, 0]]
    assert rows[-1]["mask"].all()


def test_a_full_column_is_refused_or_lost():
    rows = play(ConnectFourEnv(), *[0] * 6)
    assert rows[-1]["mask"].tolist() == [False] + [True] * 6
    with pytest.raises(InvalidActionError, match=r"'action': expected .* free field.*found 0 on the board"):
        play(ConnectFourEnv(), *[0] * 7)
    last = play(ConnectFourEnv(illegal_moves="lose"), *[0] * 7)[-1]
    assert last["terminated"].item()
    assert last["player0", "reward"].item() == -1.0


def test_a_full_board_is_a_draw():
    """Columns filled in pairs of pairs, so that nobody gets four in a row."""
    order = [0, 1, 0, 1, 1, 0, 1, 0, 0, 1, 0, 1, 2, 3, 2, 3, 3, 2, 3, 2, 2, 3, 2, 3, 4, 5, 4, 5, 5, 4, 5, 4, 4, 5, 4, 5]
    rows = play(ConnectFourEnv(), *order, *[6] * 6)
    assert not any(row["terminated"].item() for row in rows[:-1])
    assert rows[-1]["terminated"].item()
    assert rows[-1]["player0", "reward"].item() == rows[-1]["player1", "reward"].item() == 0.0


def test_wins_are_those_found_by_search():
    generator = torch.Generator().manual_seed(0)
    boards = torch.randint(-1, 2, (500, 6, 7), generator=generator, dtype=torch.int8)
    boards[torch.rand(boards.shape, generator=generator) < 0.2] = -1
    for player in (0, 1):
        found = connect_four_won(boards, torch.full((500, 1), player, dtype=torch.int8))[:, 0].tolist()
        assert found == [won_by_search(board, player) for board in boards.tolist()]
        assert 0 < sum(found) < 500


def test_random_games_end_as_random_games_do():
    """The first player wins 55.5 % of uniformly random games, and 0.25 % are drawn."""
    env = ConnectFourEnv()
    env.set_seed(0)
    data = env.rollout(42, tensordict=TensorDict({}, [5_000]), break_when_all_done=True)
    outcome = data["next", "player0", "reward"].sum((1, 2))
    assert (outcome == 1).float().mean().item() == pytest.approx(0.555, abs=0.02)
    assert (outcome == 0).float().mean().item() == pytest.approx(0.0025, abs=0.003)


def test_equals_pettingzoo():
    """1,000 random moves, game after game."""
    connect_four = pytest.importorskip("pettingzoo.classic.connect_four_v3", exc_type=ImportError)
    raw, env, generator = connect_four.env(), ConnectFourEnv(), np.random.default_rng(0)
    games, steps = 0, 0
    while steps < 1000:
        raw.reset(seed=0)
        td = env.reset()
        while True:
            seen, _, terminated, _, _ = raw.last()
            own, theirs = td["board"] == td["turn"], td["board"] == 1 - td["turn"]
            if terminated:
                break
            assert np.array_equal(seen["observation"][..., 0], own.int().numpy())
            assert np.array_equal(seen["observation"][..., 1], theirs.int().numpy())
            assert np.array_equal(seen["action_mask"], td["mask"].int().numpy())
            action = generator.choice(td["mask"].nonzero().flatten().numpy())
            raw.step(int(action))
            data = env.step(td.set("action", torch.tensor(action)))["next"]
            assert raw.rewards["player_0"] == data["player0", "reward"].item()
            assert raw.rewards["player_1"] == data["player1", "reward"].item()
            assert raw.terminations["player_0"] == data["terminated"].item()
            td, steps = env.step_mdp(td), steps + 1
        games += 1
    assert games > 20
