from __future__ import annotations

import copy
import pickle
import sys

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from envkit import (
    Categorical,
    Collector,
    InvalidActionError,
    MarlGroupMapType,
    MissingDependencyError,
    OneHot,
    ResetNeededError,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    UnknownEnvError,
    UnsupportedSpaceError,
    check_env_specs,
    spawn_seed,
)
from envkit.libs.openspiel import OpenSpielEnv, OpenSpielWrapper
from envkit.testing import env_checks

pyspiel = pytest.importorskip("pyspiel")

SEED = 4
# Turns; chance at the start and between moves; moves at the same time, with and without chance; three players.
GAMES = (
    "tic_tac_toe",
    "kuhn_poker",
    "leduc_poker(players=3)",
    "pig",
    "matrix_pd",
    "goofspiel",
    "oshi_zumo",
    "coop_box_pushing",
    "catch",
    "backgammon",
)
STEPS = 1000


def raw_loop(game_string, actions):
    """What a plain loop over a game sees, given a list of the actions of all players for every step.

    Chance is drawn as the env says it draws it. Yields (what players know, who moves, legal actions) before a step,
    the same after it, what players gained, and whether the game is over.
    """
    game = pyspiel.load_game(game_string)
    random = np.random.default_rng(spawn_seed(SEED, "chance"))

    def moved(state):
        while state.is_chance_node():
            outcomes, weights = zip(*state.chance_outcomes(), strict=True)
            weights = np.array(weights) / sum(weights)
            state.apply_action(outcomes[random.choice(len(outcomes), p=weights)])
        return state

    def seen(state):
        players = range(game.num_players())
        if game.get_type().provides_observation_tensor:
            known = [state.observation_tensor(player) for player in players]
        else:
            known = [state.information_state_tensor(player) for player in players]
        return known, state.current_player(), [state.legal_actions(player) for player in players]

    state = moved(game.new_initial_state())
    for joint in actions:
        before = seen(state)
        if state.is_simultaneous_node():
            state.apply_actions(joint)
        else:
            state.apply_action(joint[state.current_player()])
        moved(state)
        yield before, seen(state), state.rewards(), state.is_terminal()
        if state.is_terminal():
            state = moved(game.new_initial_state())


def assert_seen(td, known, player, legal):
    agents = td["agents"]
    expected = np.array(known, np.float32)
    np.testing.assert_array_equal(agents["observation"].numpy().reshape(expected.shape), expected)
    assert td["current_player"].item() == player
    for number, row in enumerate(agents["action_mask"]):
        moves = bool(legal[number]) and player in (number, pyspiel.PlayerId.SIMULTANEOUS)
        assert agents["mask"][number].item() == moves
        assert row.nonzero().flatten().tolist() == (sorted(legal[number]) if moves else list(range(len(row))))


class TestEqualToOpenSpiel:
    @pytest.mark.parametrize("game_string", GAMES)
    def test_value_for_value(self, game_string):
        env = OpenSpielEnv(game_string)
        env.set_seed(SEED)
        data = env.rollout(STEPS, break_when_any_done=False)
        actions = data["agents", "action"].tolist()
        ends = 0
        for row, (before, after, rewards, over) in zip(data.unbind(0), raw_loop(game_string, actions), strict=True):
            assert_seen(row, *before)
            assert_seen(row["next"], *after)
            assert row["next", "agents", "reward"].squeeze(-1).tolist() == np.array(rewards, np.float32).tolist()
            assert row["next", "terminated"].item() is row["next", "done"].item() is over
            ends += over
        assert ends > 1

    @pytest.mark.parametrize("game_string", GAMES)
    def test_both_ports(self, game_string, tools):
        one, other = OpenSpielEnv(game_string), OpenSpielEnv(game_string)
        for env in (one, other):
            env.set_seed(SEED)
        data = one.rollout(40, break_when_any_done=False)
        actions = [TensorDict({"agents": {"action": row}}) for row in data["agents", "action"]]
        tools.assert_same(tools.by_hand(other, actions), data)

    @pytest.mark.parametrize("game_string", GAMES)
    def test_specs_hold(self, game_string):
        assert check_env_specs(OpenSpielEnv(game_string)) == []


@env_checks(lambda: OpenSpielEnv("leduc_poker"))
def test_conforms(check):
    check()


class TestGroups:
    def test_one_by_default(self):
        env = OpenSpielEnv("tic_tac_toe")
        assert env.group_map == {"agents": ["player_0", "player_1"]}
        assert env.action_spec == Categorical(9, (2,))
        assert env.observation_spec["agents", "observation"].shape == (2, 3, 3, 3)
        assert env.full_reward_spec["agents", "reward"].shape == (2, 1)
        assert env.done_keys == ["done", "terminated"]

    def test_one_for_each_player(self):
        one, other = (
            OpenSpielEnv("leduc_poker"),
            OpenSpielEnv("leduc_poker", group_map=MarlGroupMapType.ONE_GROUP_PER_AGENT),
        )
        assert list(other.group_map) == ["player_0", "player_1"]
        one.set_seed(SEED)
        data = one.rollout(30, break_when_any_done=False)
        other.set_seed(SEED)
        actions = iter(data["agents", "action"])

        def policy(td):
            for player, action in enumerate(next(actions)):
                td[f"player_{player}", "action"] = action.unsqueeze(0)
            return td

        found = other.rollout(30, policy, break_when_any_done=False)
        for player in range(2):
            for name in ("observation", "action_mask", "mask"):
                assert torch.equal(found[f"player_{player}", name][:, 0], data["agents", name][:, player])
            reward = found["next", f"player_{player}", "reward"][:, 0]
            assert torch.equal(reward, data["next", "agents", "reward"][:, player])

    def test_of_ones_choice(self):
        env = OpenSpielEnv("leduc_poker(players=3)", group_map={"b": ["player_2", "player_0"], "a": ["player_1"]})
        assert env.reset()["b", "mask"].tolist() == [False, True]
        with pytest.raises(ValueError, match="none for \\['player_1'\\]"):
            OpenSpielEnv("tic_tac_toe", group_map={"a": ["player_0"]})


class TestActions:
    def test_one_hot(self):
        env = OpenSpielEnv("tic_tac_toe", categorical_actions=False)
        assert env.action_spec == OneHot(9, (2, 9))
        env.set_seed(SEED)
        data = env.rollout(9)
        mask, action = data["agents", "action_mask"], data["agents", "action"]
        assert action.sum(-1).eq(1).all()
        assert (action & mask).any(-1).all()
        assert check_env_specs(env) == []

    def test_random_ones_are_legal_and_seeded(self):
        env = OpenSpielEnv("backgammon")
        runs = []
        for seed in (1, 1, 2):
            env.set_seed(seed)
            runs.append(env.rollout(30)["agents", "action"])
        assert torch.equal(runs[0], runs[1])
        assert not torch.equal(runs[0], runs[2])

    def test_without_a_tensordict_are_legal_in_the_present_state(self):
        env = OpenSpielEnv("tic_tac_toe")
        env.reset()
        env.step(env.rand_action().set(("agents", "action"), torch.tensor([4, 0])))
        drawn = {env.rand_action()["agents", "action"][1].item() for _ in range(200)}
        assert drawn == {0, 1, 2, 3, 5, 6, 7, 8}

    def test_of_who_has_no_move_are_ignored(self):
        env = OpenSpielEnv("tic_tac_toe")
        td = env.reset().set(("agents", "action"), torch.tensor([4, 4]))
        td = env.step_mdp(env.step(td))
        assert td["agents", "mask"].tolist() == [False, True]
        td = env.step(td.set(("agents", "action"), torch.tensor([4, 0])))
        assert td["next", "agents", "mask"].tolist() == [True, False]

    def test_that_are_illegal(self):
        env = OpenSpielEnv("tic_tac_toe")
        td = env.step_mdp(env.step(env.reset().set(("agents", "action"), torch.tensor([4, 0]))))
        with pytest.raises(InvalidActionError, match=r"\('agents', 'action'\) of player_1: .* found 4 in the state"):
            env.step(td.set(("agents", "action"), torch.tensor([0, 4])))

    def test_once_the_game_is_over(self):
        env = OpenSpielEnv("matrix_pd")
        td = env.rollout(1)[-1]
        assert td["next", "done"]
        assert td["next", "current_player"] == pyspiel.PlayerId.TERMINAL
        assert td["next", "agents", "action_mask"].all()
        assert not td["next", "agents", "mask"].any()
        with pytest.raises(ResetNeededError, match="the game is over"):
            env.step(env.rand_action(env.step_mdp(td)))


class TestChance:
    def test_seeds(self, tools):
        runs = []
        for seed in (1, 1, 2):
            env = OpenSpielEnv("leduc_poker")
            env.set_seed(seed)
            runs.append(env.rollout(60, break_when_any_done=False))
        tools.assert_same(runs[0], runs[1])
        assert not torch.equal(runs[0]["agents", "observation"], runs[2]["agents", "observation"])

    def test_of_games_that_draw_by_themselves(self, tools):
        envs = [OpenSpielEnv("stones_and_gems(magic_wall_steps=9)") for _ in range(3)]
        for env, seed in zip(envs, (1, 1, 2), strict=True):
            env.set_seed(seed)
        one, same, other = (env.game.get_parameters() for env in envs)
        assert one == same
        assert {name for name in one if one[name] != other[name]} == {"rng_seed"}
        assert one["magic_wall_steps"] == 9
        tools.assert_same(envs[0].rollout(50), envs[1].rollout(50))

    def test_is_the_env_s_own(self):
        env = OpenSpielEnv("leduc_poker")
        env.set_seed(SEED)
        np.random.seed(0)
        state = np.random.get_state()[1].copy(), torch.get_rng_state()
        env.rollout(30, break_when_any_done=False)
        assert (np.random.get_state()[1] == state[0]).all()
        assert torch.equal(torch.get_rng_state(), state[1])

    def test_follows_its_probabilities(self):
        """In kuhn_poker each of three cards is dealt to the first player a third of the time."""
        env = OpenSpielEnv("kuhn_poker")
        env.set_seed(SEED)
        deals = np.zeros(3)
        for _ in range(600):
            env.reset()
            deals[env.game_state.history()[0]] += 1
        assert (abs(deals - 200) < 50).all()


class TestState:
    def test_a_reset_goes_on_from_it(self, tools):
        env = OpenSpielEnv("leduc_poker", return_state=True)
        env.set_seed(SEED)
        data = env.rollout(3, break_when_any_done=False)
        kept = data[1].clone()
        td = env.reset(kept.select("state"))
        assert str(env.game_state.serialize()) == kept["state"]
        for name in ("observation", "mask", "action_mask"):
            assert torch.equal(td["agents", name], kept["agents", name])
        assert td["current_player"] == kept["current_player"]

    def test_episodes_start_anew_all_the_same(self):
        env = OpenSpielEnv("tic_tac_toe", return_state=True)
        data = env.rollout(30, break_when_any_done=False)
        starts = [i + 1 for i, done in enumerate(data["next", "done"].flatten().tolist()[:-1]) if done]
        assert len(starts) >= 2
        assert all(data[i]["state"].strip() == "" for i in starts)

    @pytest.mark.parametrize("text", ["nonsense", "4\n4\n"])
    def test_that_is_none_is_refused(self, text):
        env = OpenSpielEnv("tic_tac_toe", return_state=True)
        td = TensorDict()
        td.set_non_tensor("state", text)
        with pytest.raises(ValueError, match="'state': expected a state of tic_tac_toe"):
            env.reset(td)

    def test_is_not_there_by_default(self):
        assert "state" not in OpenSpielEnv("tic_tac_toe").reset()

    def test_specs_hold(self):
        assert check_env_specs(OpenSpielEnv("leduc_poker", return_state=True)) == []

    def test_copies_go_on_from_where_they_are(self, tools):
        env = OpenSpielEnv("leduc_poker")
        env.set_seed(SEED)
        td = env.rollout(1)[-1]
        following = env.step_mdp(td)
        for twin in (copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
            assert str(twin.game_state) == str(env.game_state)
            assert twin.rand_step(following.clone())["next", "current_player"] is not None

    def test_a_snapshot(self, tools):
        env = OpenSpielEnv("leduc_poker")
        env.set_seed(SEED)
        td = env.step_mdp(env.rollout(1)[-1])
        kept = env.snapshot()
        runs = []
        for _ in range(2):
            env.restore(kept)
            rows, current = [], td.clone()
            for _ in range(20):
                row, current = env.step_and_maybe_reset(env.rand_action(current))
                rows.append(row)
            runs.append(torch.stack(rows))
        tools.assert_same(*runs)


class TestTogether:
    def test_in_a_batch(self):
        env = SerialEnv(3, lambda: OpenSpielEnv("tic_tac_toe"))
        env.set_seed(SEED)
        data = env.rollout(30, break_when_any_done=False)
        assert data["agents", "observation"].shape == (3, 30, 2, 3, 3, 3)
        assert data["agents", "action_mask"].gather(-1, data["agents", "action"].unsqueeze(-1)).all()
        assert (data["next", "agents", "reward"].sum(-2) == 0).all()

    def test_in_a_collector(self):
        for batch in Collector(lambda: OpenSpielEnv("tic_tac_toe"), frames_per_batch=40, total_frames=80):
            assert batch["agents", "action_mask"].gather(-1, batch["agents", "action"].unsqueeze(-1)).all()
            assert batch["next", "done"].any()

    def test_some_are_reset(self):
        env = SerialEnv(2, lambda: OpenSpielEnv("tic_tac_toe"))
        env.set_seed(SEED)
        td = env.step_mdp(env.rand_step(env.reset()))
        before = td.clone()
        td = env.reset(td.set("_reset", torch.tensor([[True], [False]])))
        assert td["current_player"].tolist() == [0, 1]
        assert torch.equal(td["agents", "observation"][1], before["agents", "observation"][1])
        env.step(env.rand_action(td))

    def test_with_transforms(self):
        env = TransformedEnv(OpenSpielEnv("pig"), StepCounter(max_steps=7))
        data = env.rollout(30, break_when_any_done=False)
        assert data["next", "truncated"].any()
        mask = data["agents", "action_mask"].gather(-1, data["agents", "action"].unsqueeze(-1))
        assert mask.all()


class TestWrapper:
    @pytest.mark.parametrize("take", [lambda game: game, lambda game: game.new_initial_state()])
    def test_takes_games_and_states(self, take):
        env = OpenSpielWrapper(take(pyspiel.load_game("tic_tac_toe")))
        assert env.reset()["current_player"] == 0
        assert "tic_tac_toe" in repr(env)
        assert env.game.num_players() == 2

    def test_information_states_where_there_are_no_observations(self):
        games = [
            kind
            for kind in pyspiel.registered_games()
            if kind.default_loadable
            and kind.provides_information_state_tensor
            and not kind.provides_observation_tensor
            and kind.dynamics != pyspiel.GameType.Dynamics.MEAN_FIELD
        ]
        env = OpenSpielEnv(games[0].short_name)
        td = env.reset()
        expected = np.array([env.game_state.information_state_tensor(i) for i in range(env.game.num_players())])
        assert torch.equal(td["agents", "observation"].flatten(1), torch.from_numpy(expected.astype(np.float32)))

    def test_device(self):
        env = OpenSpielEnv("kuhn_poker", device="cpu")
        assert env.rollout(5).device == torch.device("cpu")
        assert check_env_specs(env) == []


class TestErrors:
    def test_unknown_game(self):
        with pytest.raises(UnknownEnvError, match=r"unknown game 'tictactoe'.*did you mean 'tic_tac_toe'"):
            OpenSpielEnv("tictactoe")

    def test_parameters_that_are_refused(self):
        with pytest.raises(ValueError, match=r"found 'leduc_poker\(players=300\)'"):
            OpenSpielEnv("leduc_poker(players=300)")

    def test_mean_field(self):
        with pytest.raises(ValueError, match="mean-field game"):
            OpenSpielEnv("mfg_crowd_modelling")

    def test_no_tensors(self):
        names = [
            kind.short_name
            for kind in pyspiel.registered_games()
            if kind.default_loadable
            and not kind.provides_information_state_tensor
            and not kind.provides_observation_tensor
            and kind.dynamics != pyspiel.GameType.Dynamics.MEAN_FIELD
        ]
        for name in (names[0], "crossword"):
            with pytest.raises(UnsupportedSpaceError, match="without either"):
                OpenSpielEnv(name)

    def test_neither_game_nor_state(self):
        with pytest.raises(TypeError, match=r"expected a pyspiel\.Game or a pyspiel\.State, found str"):
            OpenSpielWrapper("chess")

    def test_not_installed(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "pyspiel", None)
        with pytest.raises(MissingDependencyError, match=r"pip install 'envkit\[open-spiel\]'"):
            OpenSpielEnv("chess")

    def test_available(self):
        assert {"chess", "leduc_poker", "go"} <= set(OpenSpielEnv.available_envs)
