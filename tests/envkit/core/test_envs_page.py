"""What the page on envs says and no other test has a place for."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from torch import nn

from envkit import (
    Binary,
    Bounded,
    Categorical,
    Composite,
    EnvBase,
    EnvDataError,
    GymEnv,
    LockedSpecError,
    SerialEnv,
    Unbounded,
)


class Balance(EnvBase):
    """Five agents in three worlds, whose episodes end together."""

    n_agents = 5

    def __init__(self):
        super().__init__(batch_size=(3,))
        self.action_spec = self.of_agents(action=Bounded(-1, 1, shape=(2,)))
        self.reward_spec = self.of_agents(reward=Unbounded((1,)))
        self.observation_spec = self.of_agents(
            observation=Unbounded((16,)), info=Composite(ground_rew=Unbounded((1,)), pos_rew=Unbounded((1,)))
        )
        self.done_spec = Categorical(n=2, shape=torch.Size((3, 1)), dtype=torch.bool)

    def of_agents(self, **specs):
        one = {name: spec.expand(3, self.n_agents, *spec.shape) for name, spec in specs.items()}
        return Composite({"agents": Composite(one, shape=(3, self.n_agents))}, shape=(3,))

    def _reset(self, tensordict=None):
        return self.full_observation_spec.zero()

    def _step(self, tensordict):
        out = self.full_observation_spec.zero().update(self.full_reward_spec.zero())
        return out.set("done", torch.zeros(3, 1, dtype=torch.bool))

    def _set_seed(self, seed):
        pass


class TestAgents:
    def test_a_random_step(self):
        td = Balance().rand_step()
        shapes = {key: value.shape for key, value in td.items(True, True)}
        assert shapes["agents", "action"] == (3, 5, 2)
        assert shapes["next", "agents", "info", "ground_rew"] == (3, 5, 1)
        assert shapes["next", "agents", "info", "pos_rew"] == (3, 5, 1)
        assert shapes["next", "agents", "observation"] == (3, 5, 16)
        assert shapes["next", "agents", "reward"] == (3, 5, 1)
        assert shapes["next", "done"] == (3, 1)
        assert td.batch_size == td["next"].batch_size == (3,)
        for level in (td["agents"], td["next", "agents"], td["next", "agents", "info"]):
            assert level.batch_size == (3, 5)

    def test_keys_have_the_prefix_of_their_group(self):
        env = Balance()
        assert env.action_key == ("agents", "action")
        assert env.reward_key == ("agents", "reward")
        assert env.done_key == "done"

    def test_the_leaf_and_the_whole(self):
        env = Balance()
        assert env.reward_spec == env.output_spec["full_reward_spec"][env.reward_key]
        assert env.action_spec == env.input_spec["full_action_spec"][env.action_key]
        assert env.reward_spec.shape == (3, 5, 1)


class TestSpecs:
    def test_shapes_contain_the_batch_size(self):
        env = SerialEnv(4, lambda: GymEnv("Pendulum-v1"))
        assert env.batch_size == (4,)
        assert env.action_spec.shape == (4, 1)
        assert env.observation_spec["observation"].shape == (4, 3)

    def test_a_lock_covers_the_children(self):
        env = Balance()
        for spec in (env.observation_spec, env.observation_spec["agents"], env.output_spec):
            with pytest.raises(LockedSpecError):
                spec["more"] = Unbounded((3, 1))
        env.set_spec_lock_(False)
        env.observation_spec["more"] = Unbounded((3, 1))
        env.set_spec_lock_(True)
        assert "more" in env.observation_keys

    def test_an_unlocked_env_stays_so_when_a_spec_is_assigned(self):
        for locked in (True, False):
            env = Balance().set_spec_lock_(locked)
            env.observation_spec = Composite(x=Unbounded((3, 1)), shape=(3,))
            assert env.is_spec_locked is locked
            assert env.observation_keys == ["x"]


class TestMethods:
    def test_an_env_is_a_module(self):
        assert isinstance(GymEnv("CartPole-v1"), nn.Module)

    def test_a_loop_that_never_stops(self):
        env, N, result = GymEnv("CartPole-v1"), 60, []
        env.set_seed(0)
        data_ = env.reset()
        for _ in range(N):
            env.rand_action(data_)
            data, data_ = env.step_and_maybe_reset(data_)
            result.append(data)
        result = torch.stack(result)
        assert result["next", "done"].sum() > 1
        assert not result["done"].any()
        over = result["next", "done"].squeeze(-1)
        goes_on = ~over[:-1]
        assert torch.equal(result["observation"][1:][goes_on], result["next", "observation"][:-1][goes_on])
        assert result["observation"][1:][over[:-1]].abs().max() <= 0.05

    def test_a_reset_returns_no_reward(self):
        class Early(Balance):
            def _reset(self, tensordict=None):
                return super()._reset(tensordict).update(self.full_reward_spec.zero())

        assert ("agents", "reward") not in Balance().reset().keys(True, True)
        with pytest.raises(EnvDataError, match=r"_reset returned a reward \(\('agents', 'reward'\)\)"):
            Early().reset()

    def test_a_reset_need_not_be_given_anything(self):
        env = GymEnv("CartPole-v1")
        assert set(env.reset().keys()) == {"observation", "done", "terminated", "truncated"}
        assert set(env.reset(TensorDict()).keys()) == {"observation", "done", "terminated", "truncated"}

    def test_a_single_flag_is_a_termination(self):
        class One(Balance):
            def __init__(self):
                super().__init__()
                self.full_done_spec = Composite(terminated=Binary(1, (3, 1), dtype=torch.bool), shape=(3,))

        env = One()
        assert env.done_keys == ["done", "terminated"]
        following = env.rand_step()["next"]
        assert torch.equal(following["done"], following["terminated"])
