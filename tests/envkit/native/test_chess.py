from __future__ import annotations

import builtins

import pytest
import torch
from tensordict import TensorDict

from envkit import ChessEnv, InvalidActionError, MissingDependencyError, SerialEnv, check_env_specs
from envkit.native import chess as module

chess = pytest.importorskip("chess")

FOOLS_MATE = ("f2f3", "e7e5", "g2g4", "d8h4")
EVERYTHING = {
    "include_san": True,
    "include_fen": True,
    "include_pgn": True,
    "include_legal_moves": True,
    "include_hash": True,
}


def played(env, *moves):
    td = env.reset()
    for move in moves:
        td = env.step(td.set("action", torch.tensor(env.moves.index(move))))
        last, td = td["next"], env.step_mdp(td)
    return last


@pytest.mark.parametrize("kwargs", [{}, {"stateful": False}, {"mask_actions": False}, EVERYTHING, {"device": "cpu"}])
def test_specs_hold(kwargs):
    assert check_env_specs(ChessEnv(**kwargs), steps=20, seed=0) == []


def test_every_move_of_a_game_has_a_number():
    moves = ChessEnv().moves
    assert len(moves) == len(set(moves)) == 1968
    env = ChessEnv(include_legal_moves=True)
    env.set_seed(0)
    data = env.rollout(200, break_when_any_done=False)
    for mask, listed in zip(data["action_mask"], data["legal_moves"], strict=True):
        assert mask.nonzero().flatten().tolist() == listed[listed >= 0].tolist()
    assert data["action_mask"].gather(-1, data["action"].unsqueeze(-1)).all()


def test_promotions_and_castling_have_numbers():
    env = ChessEnv(fen="4k3/P7/8/8/8/8/8/R3K2R w KQ - 0 1")
    legal = [env.moves[i] for i in env.reset()["action_mask"].nonzero().flatten().tolist()]
    board = chess.Board("4k3/P7/8/8/8/8/8/R3K2R w KQ - 0 1")
    assert sorted(legal) == sorted(move.uci() for move in board.legal_moves)
    assert {"a7a8n", "a7a8q", "e1g1", "e1c1"} <= set(legal)


def test_the_board_and_what_describes_it():
    last = played(ChessEnv(**EVERYTHING), "e2e4", "g8f6")
    assert last["board"][3, 4] == 1
    assert last["board"][5, 5] == -2
    assert last["board"][0].tolist() == [4, 2, 3, 5, 6, 3, 2, 4]
    assert last["turn"].item() is True
    assert last["fen"] == "rnbqkb1r/pppppppp/5n2/8/4P3/8/PPPP1PPP/RNBQKBNR w KQkq - 1 2"
    assert last["san"] == "Nf6"
    assert last["pgn"] == "1. e4 Nf6 *"


def test_mate_rewards_who_mates():
    last = played(ChessEnv(), *FOOLS_MATE)
    assert last["terminated"].item()
    assert last["reward"].item() == 1.0
    assert last["action_mask"].all()


def test_stalemate_rewards_nobody():
    last = played(ChessEnv(fen="7k/5K2/8/8/8/8/8/6Q1 w - - 0 1"), "g1g6")
    assert last["terminated"].item()
    assert last["reward"].item() == 0.0


def test_equal_positions_have_equal_hashes():
    env = ChessEnv(include_hash=True)
    first, second = played(env, "g1f3", "g8f6", "b1c3"), played(env, "b1c3", "g8f6", "g1f3")
    assert torch.equal(first["hash"], second["hash"])
    assert not torch.equal(first["hash"], played(env, "g1f3")["hash"])


@pytest.mark.parametrize("action", [-1, 1968, 0])
def test_illegal_moves_are_refused(action):
    env = ChessEnv()
    td = env.reset().set("action", torch.tensor(action))
    with pytest.raises(InvalidActionError, match=f"legal move in rnbq.*found {action}"):
        env.step(td)


def test_a_stateless_env_steps_any_position_in_any_order():
    env = ChessEnv(stateful=False)
    start = env.reset()
    one = env.step(start.clone().set("action", torch.tensor(env.moves.index("e2e4"))))["next"]
    other = env.step(start.clone().set("action", torch.tensor(env.moves.index("d2d4"))))["next"]
    assert one["fen"] != other["fen"]
    following = env.step_mdp(TensorDict({"next": one}))
    assert env.rand_action(following)["action_mask"][following["action"]]
    assert env.reset(TensorDict({"fen": one["fen"]}))["fen"] == one["fen"]


def test_stateful_and_stateless_agree():
    data = []
    for stateful in (True, False):
        env = ChessEnv(stateful=stateful, include_fen=True)
        env.set_seed(1)
        data.append(env.rollout(60, break_when_any_done=False))
    assert torch.equal(data[0]["action"], data[1]["action"])
    assert [step["next", "fen"] for step in data[0].unbind(0)] == [step["next", "fen"] for step in data[1].unbind(0)]


def test_rollouts_equal_steps_by_hand(tools):
    env = ChessEnv(fen="7k/8/8/8/8/8/R7/1R5K w - - 0 1")
    env.set_seed(0)
    data = env.rollout(120, break_when_any_done=False)
    assert data["next", "done"].any()
    actions = [step.select("action") for step in data.unbind(0)]
    tools.assert_same(tools.by_hand(ChessEnv(fen="7k/8/8/8/8/8/R7/1R5K w - - 0 1"), actions), data)


def test_batches_play_legal_moves():
    env = SerialEnv(2, ChessEnv)
    env.set_seed(0)
    data = env.rollout(20)
    assert data["action_mask"].gather(-1, data["action"].unsqueeze(-1)).all()
    assert not torch.equal(data["action"][0], data["action"][1])


def test_a_snapshot_brings_the_game_back():
    env = ChessEnv(include_fen=True)
    td = env.reset()
    kept = env.snapshot()
    env.step(env.rand_action(td.clone()))
    env.restore(kept)
    td = env.step(td.set("action", torch.tensor(env.moves.index("e2e4"))))
    assert td["next", "fen"].startswith("rnbqkbnr/pppppppp/8/8/4P3")


def test_a_missing_library_names_the_extra(monkeypatch):
    found = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "chess":
            raise ImportError(name)
        return found(name, *args, **kwargs)

    module._library.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match=r"envkit\[chess\]"):
        ChessEnv()


def test_a_bad_position_is_refused():
    with pytest.raises(ValueError, match="fen"):
        ChessEnv(fen="nonsense")
