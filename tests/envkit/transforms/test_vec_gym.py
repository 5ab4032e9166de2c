from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from envkit import (
    Bounded,
    Categorical,
    Composite,
    EnvBase,
    RewardSum,
    SpecError,
    StepCounter,
    TransformedEnv,
    Unbounded,
    VecGymEnvTransform,
)


class SameStep(EnvBase):
    """Three counters that begin anew in the step that ends their episode, and tell elsewhere what they came to."""

    def __init__(self, final=True, resets=True) -> None:
        super().__init__(batch_size=[3])
        leaf = Unbounded((3, 1))
        self.observation_spec = Composite(
            x=leaf, **({"final": Composite(x=leaf.clone(), shape=(3,))} if final else {}), shape=(3,)
        )
        self.action_spec = Bounded(-1.0, 1.0, (3, 1))
        self.reward_spec = Unbounded((3, 1))
        self.full_done_spec = Composite(done=Categorical(2, (3, 1), dtype=torch.bool), shape=(3,))
        self.final, self.lengths = final, torch.tensor([[2.0], [3.0], [5.0]])
        self.count = torch.zeros(3, 1)
        self.resets = 0

    def _set_seed(self, seed):
        pass

    def _shown(self, last):
        final = {"final": TensorDict({"x": last}, [3])} if self.final else {}
        return TensorDict({"x": self.count.clone(), **final}, [3])

    def _reset(self, tensordict=None):
        self.resets += 1
        self.count = torch.zeros(3, 1)
        return self._shown(torch.full((3, 1), -7.0))

    def _step(self, tensordict):
        self.count = self.count + 1
        done = self.count >= self.lengths
        last = torch.where(done, self.count, torch.full((3, 1), -7.0))
        self.count = torch.where(done, torch.zeros(3, 1), self.count)
        return self._shown(last).update({"reward": torch.ones(3, 1), "done": done})


def test_last_and_first_observations(tools):
    env = TransformedEnv(SameStep(), [VecGymEnvTransform(), StepCounter(), RewardSum()])
    assert env.observation_keys == ["episode_reward", "step_count", "x"]
    actions = tools.draw_actions(env, 11)
    data = env.rollout(11, tools.FixedPolicy(actions), break_when_any_done=False)
    for row, length in zip(data, (2, 3, 5), strict=True):
        root = torch.arange(11) % length
        assert torch.equal(row["x"].flatten(), root.float())
        assert torch.equal(row["next", "x"].flatten(), root.float() + 1)
        assert torch.equal(row["next", "step_count"].flatten(), root + 1)
    assert env.base_env.resets == 1
    other = TransformedEnv(SameStep(), [VecGymEnvTransform(), StepCounter(), RewardSum()])
    tools.assert_same(data, tools.by_hand(other, actions))


def test_refused():
    with pytest.raises(SpecError, match=r"expected a level 'final' of observations, found \['x'\]"):
        TransformedEnv(SameStep(final=False), VecGymEnvTransform())
    with pytest.raises(SpecError, match="expected it next to the env, before all other transforms; found StepCounter"):
        TransformedEnv(SameStep(), [StepCounter(), VecGymEnvTransform()])
    env = SameStep()
    env.observation_spec = env.observation_spec.clone().set(("final", "x"), Unbounded((3, 2)))
    with pytest.raises(SpecError, match=r"\('final', 'x'\): expected .*found"):
        TransformedEnv(env, VecGymEnvTransform())
