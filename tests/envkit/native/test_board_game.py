"""Who plays whom: opponents and seats, alike in all games of two."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule

from envkit import (
    ConnectFourEnv,
    ExplorationType,
    InvalidActionError,
    PixelRenderTransform,
    SerialEnv,
    TicTacToeEnv,
    TransformedEnv,
    exploration_type,
)
from envkit.core.plain_snapshot import plain_snapshot, restore_plain_snapshot
from envkit.errors import PolicyError

every = pytest.mark.parametrize("game", [TicTacToeEnv, ConnectFourEnv])


def first_free(td):
    return td.set("action", td["mask"].int().argmax(-1))


def last_free(td):
    return td.set("action", td["mask"].shape[-1] - 1 - td["mask"].flip(-1).int().argmax(-1))


def outcomes(env, games, policy=None):
    """The reward of the single player of many games."""
    data = env.rollout(42, policy, tensordict=TensorDict({}, [games]), break_when_all_done=True)
    assert data["next", "done"][:, -1].all()
    return data["next", "reward"].sum((1, 2)), data


@every
@pytest.mark.parametrize("player", [0, 1])
def test_a_policy_as_opponent_plays_as_in_a_game_of_two(game, player):
    found = game(single_player=True, opponent=last_free, player=player).rollout(42, first_free)
    policies = [first_free, first_free]
    policies[1 - player] = last_free
    both = game().rollout(42, lambda td: policies[int(td["turn"])](td))
    ours = (both["turn"] == player).flatten()
    assert (found["turn"] == player).all()
    for key in ("board", "action", "mask"):
        assert torch.equal(found[key], both[key][ours])
    assert torch.equal(found["next", "board"][-1], both["next", "board"][-1])
    assert torch.equal(found["next", "reward"][-1], both["next", f"player{player}", "reward"][-1])


@every
def test_a_random_opponent_may_open_the_game(game):
    env = game(single_player=True, player=1)
    env.set_seed(0)
    second, data = outcomes(env, 2_000)
    assert ((data["board"][:, 0] == 0).flatten(1).sum(-1) == 1).all()
    assert not (data["board"][:, 0] == 1).any()
    env = game(single_player=True)
    env.set_seed(0)
    first, _ = outcomes(env, 2_000)
    assert first.mean().item() == pytest.approx(-second.mean().item(), abs=0.06)
    assert first.mean() > 0.05


@every
def test_seats_are_drawn_anew_for_each_game(game):
    env = game(single_player=True, player=None)
    env.set_seed(0)
    data = env.rollout(60, tensordict=TensorDict({}, [50]), break_when_any_done=False)
    starts = torch.ones_like(data["turn"], dtype=torch.bool)
    starts[:, 1:] = data["next", "done"][:, :-1]
    shares = data["turn"][starts].float().mean()
    assert 0.4 < shares < 0.6
    assert (data["turn"] == data["next", "turn"]).all()
    stones = (data["board"] >= 0).flatten(2).sum(-1, keepdim=True)
    assert torch.equal(stones[starts], data["turn"][starts].long())


@every
def test_self_play_pays_whoever_moved(game):
    env = game(single_player=True, opponent="self", include_observation=True)
    env.set_seed(0)
    data = env.rollout(42, tensordict=TensorDict({}, [15]), break_when_all_done=True)
    other = game()
    for n in range(15):
        length = int(data["next", "done"][n].long().argmax()) + 1
        alone = other.rollout(length, _replayed(data["action"][n]))
        mover = alone["turn"].flatten().tolist()
        for t, player in enumerate(mover):
            assert alone["next", f"player{player}", "reward"][t] == data["next", "reward"][n, t]
        assert torch.equal(alone["next", "board"], data["next", "board"][n, :length])
    assert (data["next", "reward"] >= 0).all()


def _replayed(actions):
    coming = iter(actions)
    return lambda td: td.set("action", next(coming))


@every
def test_the_observation_is_the_board_as_whoever_is_to_move_sees_it(game):
    env = game(include_observation=True)
    env.set_seed(0)
    data = env.rollout(42, tensordict=TensorDict({}, [20]), break_when_all_done=True)
    own, theirs = data["observation"].unflatten(-1, (2, *game.fields)).unbind(-3)
    turn = data["turn"].unsqueeze(-1)
    assert torch.equal(own, (data["board"] == turn).float())
    assert torch.equal(theirs, (data["board"] == 1 - turn).float())


def test_nobody_beats_exact_play_and_it_beats_some():
    for player in (0, 1):
        env = TicTacToeEnv(single_player=True, opponent="minimax", player=player)
        env.set_seed(0)
        found, _ = outcomes(env, 500)
        assert found.max() <= 0
        assert found.mean() < -0.7


def test_looking_further_ahead_plays_better():
    means = []
    for depth in (1, 3):
        env = ConnectFourEnv(single_player=True, opponent="minimax", search_depth=depth)
        env.set_seed(0)
        means.append(outcomes(env, 20)[0].mean())
    assert means[1] < means[0] < 0


def test_an_opponent_is_exchanged():
    env = TicTacToeEnv(single_player=True, opponent=first_free)
    td = env.step(env.reset().set("action", torch.tensor(4)))
    assert td["next", "board"][0, 0] == 1
    last = TensorDictModule(lambda mask: 8 - mask.flip(-1).int().argmax(-1), in_keys=["mask"], out_keys=["action"])
    env.set_opponent(last)
    assert env.opponent is last
    td = env.step(env.reset().set("action", torch.tensor(4)))
    assert td["next", "board"][2, 2] == 1
    env.set_opponent("minimax")
    td = env.step(env.reset().set("action", torch.tensor(4)))
    assert (td["next", "board"] == 1).flatten().nonzero().item() in (0, 2, 6, 8)


def test_an_opponent_sees_what_it_would_see_in_its_place():
    seen = []

    def remembers(td):
        seen.append(td.clone())
        return first_free(td)

    env = TicTacToeEnv(single_player=True, opponent=remembers, include_observation=True)
    env.step(env.reset().set("action", torch.tensor(4)))
    assert set(seen[0].keys()) == {"board", "turn", "mask", "observation"}
    assert seen[0]["turn"].item() == 1
    assert seen[0]["observation"].nonzero().flatten().tolist() == [9 + 4]
    assert seen[0]["mask"].tolist() == [True] * 4 + [False] + [True] * 4


def test_an_opponent_explores_as_the_loop_does():
    kinds = []

    def notes(td):
        kinds.append(exploration_type())
        return first_free(td)

    env = TicTacToeEnv(single_player=True, opponent=notes)
    for kind in (ExplorationType.RANDOM, ExplorationType.DETERMINISTIC):
        env.rollout(2, last_free, exploration_type=kind)
        assert set(kinds) == {kind}
        kinds.clear()


def test_illegal_answers_are_refused_or_lose():
    def centre(td):
        return td.set("action", torch.full(td.batch_size, 4))

    td = TensorDict({"action": torch.tensor([4, 0])}, [2])
    env = TicTacToeEnv(single_player=True, opponent=centre)
    start = env.reset(TensorDict({}, [2])).update(td)
    with pytest.raises(InvalidActionError, match=r"'opponent' of element \[0\].*free field.*found 4 on the board"):
        env.step(start)
    env = TicTacToeEnv(single_player=True, opponent=centre, illegal_moves="lose")
    following = env.step(env.reset(TensorDict({}, [2])).update(td))["next"]
    assert following["reward"].flatten().tolist() == [1.0, 0.0]
    assert following["terminated"].flatten().tolist() == [True, False]


def test_boards_outside_a_step_mask_need_no_answer():
    env = TicTacToeEnv(single_player=True, opponent=lambda td: td.set("action", torch.full(td.batch_size, 4)))
    td = env.reset(TensorDict({}, [2])).set("action", torch.tensor([4, 0]))
    out = env.step(td.set("_step", torch.tensor([[False], [True]])))["next"]
    assert (out["board"][0] == -1).all()
    assert out["board"][1].flatten().tolist() == [0, -1, -1, -1, 1, -1, -1, -1, -1]


def test_resets_one_seat_of_several():
    env = TicTacToeEnv(single_player=True, player=1, batch_size=[3])
    env.set_seed(0)
    td = env.step_mdp(env.step(env.rand_action(env.reset())))
    before = td.clone()
    td = env.reset(td.set("_reset", torch.tensor([[False], [True], [False]])))
    assert torch.equal(td["board"][[0, 2]], before["board"][[0, 2]])
    assert (td["board"][1] >= 0).sum() == 1


def test_plays_in_a_serial_batch():
    batch = SerialEnv(2, lambda: TicTacToeEnv(single_player=True, opponent="minimax", player=None))
    batch.set_seed(0)
    data = batch.rollout(30, break_when_any_done=False)
    assert (data["next", "reward"] <= 0).all()
    assert data["next", "done"].any()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"opponent": "random"}, ValueError, "opponent: expected single_player=True beside 'random', found False"),
        ({"player": 1}, ValueError, "player: expected 0, as the actions are those of both players, found 1"),
        ({"single_player": True, "opponent": "self", "player": None}, ValueError, "player: expected 0, as .*None"),
        ({"single_player": True, "player": 2}, ValueError, "player: expected 0, 1 or None, found 2"),
        ({"single_player": True, "opponent": "minmax"}, ValueError, "found 'minmax'; did you mean 'minimax'"),
        ({"single_player": True, "opponent": 3}, TypeError, r"\['random', 'minimax', 'self'\] or a policy, found int"),
        ({"single_player": True, "search_depth": 0}, ValueError, "search_depth: expected at least 1, found 0"),
        ({"illegal_moves": "ignore"}, ValueError, "illegal_moves: expected 'raise' or 'lose', found 'ignore'"),
    ],
)
@every
def test_refused(game, options, error, message):
    with pytest.raises(error, match=message):
        game(**options)


@pytest.mark.parametrize(
    ("options", "opponent"),
    [({}, "random"), ({"single_player": True, "opponent": "self"}, "random"), ({"single_player": True}, "self")],
)
def test_what_actions_are_of_does_not_change(options, opponent):
    env = TicTacToeEnv(**options)
    with pytest.raises(ValueError, match=f"found '{opponent}' in place of"):
        env.set_opponent(opponent)


@pytest.mark.parametrize(("answer", "found"), [(None, "None"), (TensorDict({"action": torch.zeros(3)}), r"\[3\]")])
def test_an_opponent_without_an_action(answer, found):
    env = TicTacToeEnv(single_player=True, opponent=lambda td: answer)
    with pytest.raises(PolicyError, match=rf"opponent: expected an 'action' of shape \[\], found {found}"):
        env.step(env.reset().set("action", torch.tensor(4)))


def test_an_opponent_is_no_part_of_a_snapshot():
    env = TicTacToeEnv(single_player=True, player=None)
    env.set_seed(0)
    env.set_opponent(TensorDictModule(torch.nn.Linear(9, 9), in_keys=["mask"], out_keys=["action"]))
    kept = plain_snapshot(env)
    other = TicTacToeEnv(single_player=True, player=None, opponent=first_free)
    restore_plain_snapshot(other, kept)
    assert other.opponent is first_free
    env.set_opponent(first_free)
    found = [one.rollout(50, first_free, break_when_any_done=False)["turn"] for one in (env, other)]
    assert torch.equal(*found)


@every
@pytest.mark.parametrize("size", [(), (2,)])
def test_pictures_show_who_holds_what(game, size):
    env = TransformedEnv(game(batch_size=size), PixelRenderTransform(pass_tensordict=True))
    data = env.rollout(4)
    pixels = data["next", "pixels"]
    rows, columns = game.fields
    assert pixels.shape == (*size, 4, 48 * rows, 48 * columns, 3)
    assert pixels.dtype is torch.uint8
    centres = pixels[..., 24::48, 24::48, :].int()
    board = data["next", "board"]
    assert (centres[board == 0] == torch.tensor([40, 80, 160])).all()
    assert (centres[board == 1] == torch.tensor([200, 60, 50])).all()
    assert (centres[board == -1] == torch.tensor([245, 240, 230])).all()
