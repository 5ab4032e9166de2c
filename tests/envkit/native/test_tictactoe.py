from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from envkit import InvalidActionError, TicTacToeEnv
from envkit.native.tictactoe import tictactoe_won


def play(env, *moves):
    """The data of the steps of one game."""
    td, rows = env.reset(), []
    for move in moves:
        td = env.step(td.set("action", torch.tensor(move)))
        rows.append(td["next"])
        td = env.step_mdp(td)
    return rows


def test_a_game_step_by_step():
    rows = play(TicTacToeEnv(), 0, 3, 1, 4, 2)
    assert [row["turn"].item() for row in rows] == [1, 0, 1, 0, 1]
    assert [row["terminated"].item() for row in rows] == [False] * 4 + [True]
    assert [row["player0", "reward"].item() for row in rows] == [0.0] * 4 + [1.0]
    assert [row["player1", "reward"].item() for row in rows] == [0.0] * 4 + [-1.0]
    assert rows[-1]["board"].tolist() == [[0, 0, 0], [1, 1, -1], [-1, -1, -1]]
    assert rows[1]["mask"].tolist() == [False, True, True, False, True, True, True, True, True]
    assert rows[-1]["mask"].all()


def test_the_second_player_can_win():
    last = play(TicTacToeEnv(), 0, 2, 1, 4, 8, 6)[-1]
    assert last["player0", "reward"].item() == -1.0
    assert last["player1", "reward"].item() == 1.0


def test_a_draw_has_no_winner():
    last = play(TicTacToeEnv(), 0, 1, 2, 4, 3, 5, 7, 6, 8)[-1]
    assert last["terminated"].item()
    assert last["player0", "reward"].item() == last["player1", "reward"].item() == 0.0


@pytest.mark.parametrize(
    "fields", [(0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6)]
)
def test_every_line_wins(fields):
    board = torch.full((9,), -1)
    board[list(fields)] = 1
    assert tictactoe_won(board.view(3, 3), torch.tensor([1]))
    assert not tictactoe_won(board.view(3, 3), torch.tensor([0]))
    board[fields[0]] = 0
    assert not tictactoe_won(board.view(3, 3), torch.tensor([1]))


def test_random_games_end_as_random_games_do():
    """First wins 58.5 %, second wins 28.8 %, draws 12.7 % of all uniformly random games (counted exhaustively)."""
    env = TicTacToeEnv()
    env.set_seed(0)
    data = env.rollout(9, tensordict=TensorDict({}, [20_000]), break_when_all_done=True)
    outcome = data["next", "player0", "reward"].sum((1, 2))
    shares = [(outcome == value).float().mean().item() for value in (1, -1, 0)]
    assert shares == pytest.approx([0.585, 0.288, 0.127], abs=0.01)


def test_the_single_player_meets_a_random_one():
    env = TicTacToeEnv(single_player=True)
    env.set_seed(0)
    data = env.rollout(5, tensordict=TensorDict({}, [20_000]), break_when_all_done=True)
    assert env.reward_keys == ["reward"]
    assert (data["turn"] == 0).all()
    outcome = data["next", "reward"].sum((1, 2))
    shares = [(outcome == value).float().mean().item() for value in (1, -1, 0)]
    assert shares == pytest.approx([0.585, 0.288, 0.127], abs=0.01)


@pytest.mark.parametrize("single_player", [False, True])
def test_an_illegal_move_is_refused_or_lost(single_player):
    td = TicTacToeEnv().reset(TensorDict({}, [3]))
    td["board"][1, 0, 0] = 1
    td["action"] = torch.zeros(3, dtype=torch.int64)
    with pytest.raises(InvalidActionError, match=r"element \[1\].*free field.*found 0"):
        TicTacToeEnv(single_player).step(td.clone())
    out = TicTacToeEnv(single_player, illegal_moves="lose").step(td)["next"]
    assert out["terminated"][:, 0].tolist() == [False, True, False]
    reward = out["reward"] if single_player else out["player0", "reward"]
    assert reward[:, 0].tolist() == [0.0, -1.0, 0.0]


def test_no_move_is_legal_once_the_game_is_over():
    env = TicTacToeEnv()
    td = TensorDict(play(env, 0, 3, 1, 4, 2)[-1].exclude("player0", "player1").to_dict())
    with pytest.raises(InvalidActionError, match="game that is not over"):
        env.step(td.set("action", torch.tensor(8)))


def test_boards_outside_a_step_mask_are_not_looked_at():
    env = TicTacToeEnv()
    td = env.reset(TensorDict({}, [2]))
    td["board"][1] = 0
    td["action"] = torch.zeros(2, dtype=torch.int64)
    td["_step"] = torch.tensor([[True], [False]])
    out = env.step(td)["next"]
    assert out["board"][0, 0, 0] == 0
    assert (out["board"][1] == 0).all()


def test_random_actions_are_legal_even_without_a_board():
    env = TicTacToeEnv()
    env.set_seed(0)
    td = env.reset(TensorDict({}, [500]))
    td["mask"][:] = False
    td["mask"][:, 3] = td["mask"][:, 5] = True
    actions = env.rand_action(td)["action"]
    assert set(actions.tolist()) == {3, 5}
    assert env.rand_action().batch_size == ()


def test_unknown_option():
    with pytest.raises(ValueError, match="illegal_moves"):
        TicTacToeEnv(illegal_moves="ignore")


def test_the_step_compiles_to_one_graph():
    env = TicTacToeEnv()
    env.set_seed(0)
    td = env.rand_action(env.reset(TensorDict({}, [4])))

    def step(board, turn, action):
        out = env._step(TensorDict({"board": board, "turn": turn, "action": action}, [4]))
        return out["board"], out["mask"]

    arguments = (td["board"], td["turn"], td["action"])
    for found, expected in zip(torch.compile(step, backend="eager")(*arguments), step(*arguments), strict=True):
        assert torch.equal(found, expected)
