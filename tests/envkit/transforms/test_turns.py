from __future__ import annotations

import pytest
import torch

from envkit import (
    Compose,
    ConditionalPolicySwitch,
    ConditionalSkip,
    EnvDataError,
    GymEnv,
    SerialEnv,
    StepCounter,
    TicTacToeEnv,
    TransformedEnv,
    check_env_specs,
)


def pendulum():
    return GymEnv("Pendulum-v1", max_episode_steps=5)


class TestConditionalSkip:
    def test_promises(self, kit):
        kit.all(pendulum, lambda: ConditionalSkip(lambda td: td["action"] > 0))

    def test_skips(self):
        env = TransformedEnv(
            SerialEnv(3, pendulum), Compose(StepCounter(), ConditionalSkip(lambda td: td["action"][..., 0] > 0))
        )
        env.set_seed(0)
        data = env.rollout(30, break_when_any_done=False)
        skipped = data["action"] > 0
        assert skipped.any()
        assert not skipped.all()
        counts = data["step_count"] + (~skipped).long()
        assert torch.equal(data["next", "step_count"], counts)
        assert not data["next", "reward"][skipped].any()
        same = (data["next", "observation"] == data["observation"]).all(-1, keepdim=True)
        assert torch.equal(same, skipped)

    def test_beside_a_mask(self):
        env = TransformedEnv(SerialEnv(2, pendulum), ConditionalSkip(lambda td: torch.tensor([True, False])))
        td = env.rand_action(env.reset()).set("_step", torch.tensor([[True], [True]]))
        td = env.step(td)
        assert (td["next", "observation"] == td["observation"]).all(-1).tolist() == [True, False]
        td = env.step(env.rand_action(env.step_mdp(td)).set("_step", torch.tensor([[True], [False]])))
        assert torch.equal(td["next", "observation"], td["observation"])

    def test_a_mask_that_leaves_out_nothing(self):
        env = pendulum()
        td = env.rand_action(env.reset()).set("_step", torch.tensor([True]))
        assert (env.step(td)["next", "observation"] != td["observation"]).any()

    def test_a_bool_will_do(self):
        env = TransformedEnv(pendulum(), ConditionalSkip(lambda td: True))
        data = env.rollout(3)
        assert torch.equal(data["next", "observation"], data["observation"])

    @pytest.mark.parametrize("said", [1.0, torch.ones(1), torch.ones(3, dtype=torch.bool)])
    def test_refused(self, said):
        env = TransformedEnv(pendulum(), ConditionalSkip(lambda td: said))
        with pytest.raises(EnvDataError, match="ConditionalSkip: expected the condition to give a bool for each"):
            env.rollout(1)


def first_free(td):
    return td.set("action", td["mask"].int().argmax(-1))


def last_free(td):
    return td.set("action", 8 - td["mask"].flip(-1).int().argmax(-1))


def against(player, **kwargs):
    return TransformedEnv(TicTacToeEnv(**kwargs), ConditionalPolicySwitch(last_free, lambda td: td["turn"] == player))


class TestConditionalPolicySwitch:
    def test_promises(self, kit):
        for kwargs in ({"illegal_moves": "lose"}, {"illegal_moves": "lose", "batch_size": [3]}):
            kit.ports_agree(
                lambda kwargs=kwargs: TicTacToeEnv(**kwargs),
                lambda: ConditionalPolicySwitch(last_free, lambda td: td["turn"] == 1),
            )
            check_env_specs(against(1, **kwargs))

    def test_batch_of_one_env(self, kit):
        kit.commutes(
            pendulum,
            lambda: ConditionalPolicySwitch(
                lambda td: td.set("action", td["observation"][..., :1]), lambda td: td["observation"][..., 0] > 0.5
            ),
        )

    @pytest.mark.parametrize("player", [0, 1])
    def test_a_game(self, player):
        """Both policies in one env, in turns, play the same game."""
        found = against(player).rollout(9, first_free)
        policies = [first_free, first_free]
        policies[player] = last_free
        both = TicTacToeEnv().rollout(9, lambda td: policies[int(td["turn"])](td))
        ours = (both["turn"] != player).flatten()
        assert (found["turn"] != player).all()
        assert torch.equal(found["board"], both["board"][ours])
        assert torch.equal(found["action"], both["action"][ours])
        assert torch.equal(found["next", "board"][-1], both["next", "board"][-1])
        for name in ("player0", "player1"):
            assert torch.equal(found["next", name, "reward"][-1], both["next", name, "reward"][-1])

    def test_an_end_before_the_other_one_has_played(self, scripted):
        env = TransformedEnv(
            scripted(terminated=[True]),
            ConditionalPolicySwitch(lambda td: td.set("action", torch.tensor(0)), lambda td: td["observation"] == 0),
        )
        with pytest.raises(EnvDataError, match="'done' is True right after a reset"):
            env.reset()
