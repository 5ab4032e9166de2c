from __future__ import annotations

import functools

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from envkit import (
    BinarizeReward,
    Bounded,
    Categorical,
    Compose,
    Composite,
    EnvBase,
    GymEnv,
    LineariseRewards,
    RewardClipping,
    RewardSum,
    SpecError,
    SuccessReward,
    TransformedEnv,
    Unbounded,
    check_env_specs,
)

few = settings(deadline=None, max_examples=30, derandomize=True)
pendulum = functools.partial(GymEnv, "Pendulum-v1", max_episode_steps=9)


class Objectives(EnvBase):
    """Three rewards at once, and a flag that says whether the action was large; ends after some steps."""

    def __init__(self, flag_shape=()):
        super().__init__()
        self.flag_shape = flag_shape
        flag = Categorical(2, flag_shape, dtype=torch.bool)
        self.observation_spec = Composite(observation=Unbounded((2,)), success=flag)
        self.action_spec = Bounded(-1.0, 1.0, (3,))
        self.reward_spec = Bounded(-1.0, 1.0, (3,))
        self.random = torch.Generator()

    def _set_seed(self, seed):
        self.random.manual_seed(seed)

    def _reset(self, tensordict=None):
        self.left = int(torch.randint(2, 9, (), generator=self.random))
        return TensorDict({"observation": torch.zeros(2), "success": torch.zeros(self.flag_shape, dtype=torch.bool)})

    def _step(self, tensordict):
        action = tensordict["action"]
        self.left -= 1
        return TensorDict(
            {
                "observation": action[:2],
                "success": (action[0] > 0).reshape(self.flag_shape),
                "reward": action,
                "done": torch.tensor([self.left == 0]),
            }
        )


class Single(Objectives):
    """The same with one reward."""

    def __init__(self, flag_shape=()):
        super().__init__(flag_shape)
        self.reward_spec = Unbounded((1,))

    def _step(self, tensordict):
        out = super()._step(tensordict)
        return out.set("reward", out["reward"][:1])


class TestRewardClipping:
    def test_promises(self, kit):
        kit.all(pendulum, lambda: RewardClipping(-5.0, -1.0))
        assert kit.on_rows(TransformedEnv(pendulum(), RewardClipping(-5.0)))

    def test_bounds(self):
        assert TransformedEnv(Objectives(), RewardClipping(clamp_max=0.5)).reward_spec == Bounded(-1.0, 0.5, (3,))
        assert TransformedEnv(Single(), RewardClipping(-0.5)).reward_spec == Bounded(-0.5, torch.inf, (1,))

    def test_same_as_gymnasium(self):
        theirs = gymnasium.wrappers.ClipReward(gymnasium.make("Pendulum-v1"), -3, -1)
        ours = TransformedEnv(GymEnv("Pendulum-v1"), RewardClipping(-3.0, -1.0))
        theirs.reset(seed=0)
        td = ours.reset(seed=0)
        for action in np.random.default_rng(0).uniform(-2, 2, (200, 1)).astype(np.float32):
            reward = theirs.step(action)[1]
            td = ours.step(td.set("action", torch.from_numpy(action)))["next"]
            assert td["reward"].item() == np.float32(reward)

    def test_arguments(self):
        with pytest.raises(ValueError, match=r"RewardClipping: expected a lower bound, an upper bound or both"):
            RewardClipping()


class TestBinarizeReward:
    def test_promises(self, kit):
        kit.all(lambda: GymEnv("MountainCarContinuous-v0", max_episode_steps=9), BinarizeReward)
        assert kit.on_rows(TransformedEnv(pendulum(), BinarizeReward()))

    def test_values(self):
        td = BinarizeReward()(TensorDict({"reward": torch.tensor([[-2.0], [0.0], [0.25]])}, [3]))
        assert td["reward"].flatten().tolist() == [1.0, 0.0, 1.0]

    @few
    @given(data=st.data())
    def test_spec(self, kit, data):
        leaf = data.draw(kit.number_specs)
        assert kit.spec_contains_output(BinarizeReward("observation"), leaf) == Bounded(
            0, 1, leaf.shape, dtype=leaf.dtype
        )


class TestLineariseRewards:
    @pytest.mark.parametrize("weights", [None, [1.0, -0.5, 0.25], torch.tensor([1.0, 2.0, 3.0])])
    def test_promises(self, kit, weights):
        kit.all(Objectives, lambda: LineariseRewards("reward", weights=weights))
        assert kit.on_rows(TransformedEnv(Objectives(), LineariseRewards("reward")))

    def test_values_and_bounds(self):
        env = TransformedEnv(Objectives(), LineariseRewards("reward", weights=[1.0, -0.5, 0.25]))
        assert env.reward_spec == Bounded(-1.75, 1.75, (1,))
        data = env.rollout(5)
        expected = data["action"] @ torch.tensor([1.0, -0.5, 0.25])
        torch.testing.assert_close(data["next", "reward"].squeeze(-1), expected)

    def test_under_another_name_and_summed_by_the_next(self):
        chain = Compose(LineariseRewards("reward", "total"), RewardSum(["total"]))
        env = TransformedEnv(Objectives(), chain)
        check_env_specs(env)
        data = env.rollout(4)
        torch.testing.assert_close(data["next", "episode_total"], data["next", "reward"].sum(-1, True).cumsum(0))

    @few
    @given(data=st.data())
    def test_spec(self, kit, data):
        leaf = data.draw(kit.float_specs)
        weights = data.draw(st.lists(st.integers(-3, 3), min_size=leaf.shape[-1], max_size=leaf.shape[-1]))
        outer = kit.spec_contains_output(LineariseRewards("observation", weights=weights), leaf)
        assert outer.shape == (*leaf.shape[:-1], 1)

    def test_number_of_weights(self):
        with pytest.raises(SpecError, match=r"LineariseRewards: 'reward': .* expected 2 rewards for 2 weights, found"):
            TransformedEnv(Objectives(), LineariseRewards("reward", weights=[1.0, 2.0]))


class TestSuccessReward:
    @pytest.mark.parametrize("shape", [(), (1,)])
    def test_promises(self, kit, shape):
        kit.all(lambda: Single(shape), lambda: SuccessReward(success=10.0, failure=-1.0))
        assert kit.on_rows(TransformedEnv(Single(shape), SuccessReward()))

    def test_values(self):
        env = TransformedEnv(Single(), SuccessReward(success=10.0, failure=-1.0))
        assert env.reward_spec == Bounded(-1.0, 10.0, (1,))
        data = env.rollout(8)
        expected = torch.where(data["next", "success"], 10.0, -1.0)
        assert torch.equal(data["next", "reward"].squeeze(-1), expected)

    def test_errors(self, kit):
        with pytest.raises(SpecError, match=r"SuccessReward: unknown key 'oops' in in_keys"):
            TransformedEnv(Single(), SuccessReward("oops"))
        with pytest.raises(
            SpecError, match=r"SuccessReward: 'observation': expected a flag of dtype torch.bool, found"
        ):
            TransformedEnv(Single(), SuccessReward("observation"))
        specs = kit.specs_with(Categorical(2, (2,), dtype=torch.bool), "success")
        with pytest.raises(SpecError, match=r"'success': expected a flag of shape \[1\], as 'reward' has, found \[2\]"):
            SuccessReward().transform_specs(specs)
        with pytest.raises(ValueError, match=r"SuccessReward: expected one key"):
            SuccessReward(["a", "b"], ["c", "d"])
