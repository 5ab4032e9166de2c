from __future__ import annotations

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from envkit import (
    Compose,
    GymEnv,
    Reward2GoTransform,
    SerialEnv,
    SpecError,
    TargetReturn,
    TransformedEnv,
    Unbounded,
)
from envkit.transforms.functional import reward_to_go

few = settings(deadline=None, max_examples=30, derandomize=True)
pendulum = functools.partial(GymEnv, "Pendulum-v1", max_episode_steps=9)


class TestTargetReturn:
    @pytest.mark.parametrize("mode", ["reduce", "constant"])
    def test_promises(self, kit, mode):
        kit.all(pendulum, lambda: TargetReturn(100.0, mode))
        assert kit.on_rows(TransformedEnv(pendulum(), TargetReturn(100.0, mode)))

    def test_less_each_reward(self, scripted):
        env = TransformedEnv(scripted([1.0, 2.0, 3.0], [False, False, True]), TargetReturn(10.0))
        data = env.rollout(5, break_when_any_done=False)
        assert data["target_return"].flatten().tolist() == [10.0, 9.0, 7.0, 10.0, 9.0]
        assert data["next", "target_return"].flatten().tolist() == [9.0, 7.0, 4.0, 9.0, 7.0]
        assert env.observation_spec["target_return"] == Unbounded((1,))

    def test_groups(self, two_agents, kit):
        keys = [("agent0", "reward"), ("agent1", "reward")]
        kit.all(two_agents, lambda: TargetReturn(3.0, in_keys=keys))

    def test_errors(self):
        with pytest.raises(ValueError, match=r"TargetReturn: mode: expected 'reduce' or 'constant', found 'oops'"):
            TargetReturn(1.0, "oops")
        with pytest.raises(SpecError, match=r"TargetReturn: unknown key 'oops' in in_keys"):
            TransformedEnv(pendulum(), TargetReturn(1.0, in_keys="oops"))
        with pytest.raises(SpecError, match=r"'observation': expected a new observation, found one of the env's"):
            TransformedEnv(pendulum(), TargetReturn(1.0, out_keys="observation"))
        with pytest.raises(NotImplementedError, match=r"stored data already has its target_return"):
            TargetReturn(1.0)(TensorDict())


class TestReward2Go:
    @few
    @given(data=st.data(), gamma=st.sampled_from([0.0, 0.5, 1.0]))
    def test_is_the_sum_to_the_end_of_the_episode(self, data, gamma):
        steps = data.draw(st.integers(1, 8))
        rewards = data.draw(st.lists(st.integers(-4, 4), min_size=steps, max_size=steps))
        ends = data.draw(st.lists(st.booleans(), min_size=steps, max_size=steps))
        found = reward_to_go(torch.tensor(rewards).float()[:, None], torch.tensor(ends)[:, None], gamma)
        for t in range(steps):
            end = next((i for i in range(t, steps) if ends[i]), steps - 1)
            assert found[t].item() == sum(rewards[i] * gamma ** (i - t) for i in range(t, end + 1))

    def test_of_a_batch(self, scripted, kit):
        env = SerialEnv(2, lambda: scripted([1.0, 2.0, 3.0], [False, False, True]))
        data = env.rollout(5, break_when_any_done=False)
        out = Reward2GoTransform(gamma=0.5).inv(data)
        assert out["reward_to_go"].squeeze(-1).tolist() == [[2.75, 3.5, 3.0, 2.0, 2.0]] * 2
        assert "reward_to_go" not in data

    def test_in_a_buffer(self):
        from agents import LazyTensorStorage, ReplayBuffer, SamplerWithoutReplacement

        buffer = ReplayBuffer(
            LazyTensorStorage(5), SamplerWithoutReplacement(), batch_size=5, transform=Reward2GoTransform(gamma=0.5)
        )
        data = pendulum().rollout(5)
        buffer.extend(data)
        found = buffer.sample()["reward_to_go"].sort(0)[0]
        assert torch.equal(found, Reward2GoTransform(gamma=0.5).inv(data)["reward_to_go"].sort(0)[0])

    def test_belongs_on_stored_data(self):
        with pytest.raises(
            SpecError, match=r"Reward2GoTransform needs what comes later: it belongs on a replay buffer"
        ):
            TransformedEnv(pendulum(), Reward2GoTransform())
        data = pendulum().rollout(3)
        assert Reward2GoTransform()(data) is data

    def test_errors(self):
        with pytest.raises(ValueError, match=r"expected gamma in \[0, 1\], found 1.5"):
            Reward2GoTransform(1.5)
        with pytest.raises(KeyError, match=r"Reward2GoTransform: .*done.* is missing"):
            Reward2GoTransform().inv(TensorDict({("next", "reward"): torch.zeros(1, 1)}, [1]))
        flat = TensorDict({("next", "reward"): torch.zeros(3), ("next", "done"): torch.zeros(3, dtype=torch.bool)}, [3])
        with pytest.raises(ValueError, match=r"expected shape \[\*batch, time, 1\], found \[3\]"):
            Reward2GoTransform().inv(flat)

    def test_after_other_transforms_of_a_buffer(self):
        chain = Compose(Reward2GoTransform(gamma=1.0))
        data = pendulum().rollout(3)
        torch.testing.assert_close(chain.inv(data)["reward_to_go"][0], data["next", "reward"].sum(0))
