from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from envkit import (
    BatchSizeTransform,
    GymEnv,
    PendulumEnv,
    RewardSum,
    SerialEnv,
    SpecError,
    StepCounter,
    TransformedEnv,
    check_env_specs,
)


def six():
    return SerialEnv(6, [lambda n=n: GymEnv("Pendulum-v1", max_episode_steps=n) for n in range(2, 8)])


class TestOfAnUnlockedEnv:
    def test_promises(self, kit):
        kit.ports_agree(PendulumEnv, lambda: BatchSizeTransform([2, 3]))
        check_env_specs(TransformedEnv(PendulumEnv(), BatchSizeTransform([4])))

    def test_equals_the_same_env_with_a_batch_size(self, kit, tools):
        envs = TransformedEnv(PendulumEnv(), BatchSizeTransform([4])), PendulumEnv(batch_size=[4])
        assert envs[0].specs == envs[1].specs
        assert envs[0].batch_locked
        actions = tools.draw_actions(envs[0], 10)
        tools.assert_same(*(kit.rollout(env, actions) for env in envs))

    def test_below_other_transforms(self):
        env = TransformedEnv(PendulumEnv(), [BatchSizeTransform([4]), StepCounter(max_steps=3), RewardSum()])
        data = env.rollout(7, break_when_any_done=False)
        assert data["step_count"][0].flatten().tolist() == [0, 1, 2, 0, 1, 2, 0]

    def test_partial_resets(self):
        env = TransformedEnv(PendulumEnv(), BatchSizeTransform([3]))
        td = env.step_mdp(env.rand_step(env.reset()))
        before = td["thdot"].clone()
        after = env.reset(td.set("_reset", torch.tensor([[False], [True], [False]])))["thdot"]
        assert (after == before).tolist() == [True, False, True]


class TestOfABatch:
    @pytest.mark.parametrize(
        "make",
        [lambda: BatchSizeTransform([2, 3]), lambda: BatchSizeTransform(reshape_fn=lambda td: td.unflatten(0, (2, 3)))],
    )
    def test_promises(self, kit, tools, make):
        kit.ports_agree(six, make)
        env = TransformedEnv(six(), make())
        check_env_specs(env)
        actions = tools.draw_actions(env, 20)
        found = kit.rollout(env, actions)
        expected = kit.rollout(six(), [action.reshape(6) for action in actions])
        tools.assert_same(found.reshape(6, 20), expected)

    def test_partial_steps_and_resets(self):
        env = TransformedEnv(six(), BatchSizeTransform([3, 2]))
        td = env.reset()
        first = td["observation"].clone()
        mask = torch.tensor([[True, False], [False, False], [False, True]]).unsqueeze(-1)
        td = env.step_mdp(env.step(env.rand_action(td).set("_step", mask)))
        assert torch.equal((td["observation"] != first).any(-1), mask.squeeze(-1))
        second = td["observation"].clone()
        td = env.reset(td.set("_reset", mask))
        assert torch.equal((td["observation"] != second).any(-1), mask.squeeze(-1))


def test_refused():
    with pytest.raises(SpecError, match=r"expected a batch size of as many elements as \[6\], found \[4\]"):
        TransformedEnv(six(), BatchSizeTransform([4]))
    with pytest.raises(SpecError, match=r"expected a batch size of as many elements as \[\], found \[4\]"):
        TransformedEnv(GymEnv("Pendulum-v1"), BatchSizeTransform([4]))
    for options in ({}, {"batch_size": [2], "reshape_fn": lambda td: td}):
        with pytest.raises(ValueError, match="expected batch_size or reshape_fn"):
            BatchSizeTransform(**options)
    with pytest.raises(NotImplementedError, match="BatchSizeTransform gives an env a batch size"):
        BatchSizeTransform([2])(TensorDict())
