from __future__ import annotations

import pytest
import torch

from envkit import CartPoleEnv, StepCounter, TicTacToeEnv
from envkit.export.native_ids import NATIVE_IDS, is_native, make_native


@pytest.mark.parametrize("name", NATIVE_IDS)
def test_every_id_makes_its_env(name):
    env = make_native(f"envkit/{name}-v0", batch_size=[2])
    assert env.batch_size == (2,)
    assert env.rollout(3, break_when_any_done=False).batch_size == (2, 3)


def test_limits_are_those_registered():
    env = make_native("envkit/CartPole-v0")
    assert isinstance(env.base_env, CartPoleEnv)
    assert [type(one) for one in env.transform] == [StepCounter]
    env.set_seed(0)
    ends = make_native("envkit/MountainCar-v0", batch_size=[3]).rollout(200, break_when_any_done=False)["next"]
    assert torch.equal(ends["truncated"].any(1), ~ends["terminated"].any(1))


def test_arguments_count_over_those_registered():
    env = make_native("envkit/TicTacToe-v0")
    assert isinstance(env, TicTacToeEnv)
    assert (env.single_player, env.illegal_moves, env.opponent) == (True, "lose", "random")
    env = make_native("envkit/TicTacToe-v0", illegal_moves="raise", opponent="minimax", player=None)
    assert (env.illegal_moves, env.opponent, env.player) == ("raise", "minimax", None)
    with pytest.raises(TypeError, match="colour"):
        make_native("envkit/TicTacToe-v0", colour=1)


@pytest.mark.parametrize("id", ["CartPole-v1", "CartPole", "CartPole-v0", "envkit/CartPole-v1", "envkit/CartPole", ""])
def test_other_ids(id):
    assert not is_native(id)
