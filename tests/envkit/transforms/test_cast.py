from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from tensordict import TensorDict

from envkit import (
    Bounded,
    Composite,
    DoubleToFloat,
    DTypeCastTransform,
    EnvBase,
    GymEnv,
    GymWrapper,
    RewardSum,
    SerialEnv,
    SpecError,
    TransformedEnv,
    Unbounded,
    check_env_specs,
)

F32, F64 = torch.float32, torch.float64


class Doubles(EnvBase):
    """Everything is float64, and an action of any other dtype is refused."""

    def __init__(self):
        super().__init__()
        self.observation_spec = Composite(
            wide=Unbounded((2,), dtype=F64),
            nested=Composite(wide=Bounded(-9.0, 9.0, (2,), dtype=F64)),
            count=Unbounded((), dtype=torch.int64),
        )
        self.action_spec = Bounded(-1.0, 1.0, shape=(2,), dtype=F64)
        self.reward_spec = Unbounded((1,), dtype=F64)

    def _set_seed(self, seed):
        pass

    def _observe(self, value, count):
        return {"wide": value, "nested": TensorDict({"wide": -value}), "count": torch.tensor(count)}

    def _reset(self, tensordict=None):
        return TensorDict(self._observe(torch.full((2,), 0.1, dtype=F64), 0))

    def _step(self, tensordict):
        action = tensordict["action"]
        assert action.dtype is F64
        return TensorDict(
            {
                **self._observe(action / 3, 1),
                "reward": action.sum().reshape(1) / 7,
                "done": torch.zeros(1, dtype=torch.bool),
            }
        )


def dtypes(td):
    return {key: value.dtype for key, value in td.items(True, True) if value.dtype is not torch.bool}


class TestAllKeys:
    def test_everything_double_becomes_float(self):
        env = TransformedEnv(Doubles(), DoubleToFloat())
        data = env.rollout(3)
        assert dtypes(data["next"]) == {"wide": F32, ("nested", "wide"): F32, "reward": F32, "count": torch.int64}
        assert data["action"].dtype is F32
        check_env_specs(env)

    def test_specs(self):
        env = TransformedEnv(Doubles(), DoubleToFloat())
        assert env.observation_spec["nested", "wide"] == Bounded(-9.0, 9.0, (2,))
        assert env.action_spec == Bounded(-1.0, 1.0, (2,))
        assert env.reward_spec == Unbounded((1,))
        assert env.base_env.specs == Doubles().specs

    def test_values(self, tools):
        env = TransformedEnv(Doubles(), DoubleToFloat())
        actions = tools.draw_actions(env, 5)
        data = env.rollout(5, tools.FixedPolicy(actions))
        for row, action in zip(data.unbind(0), actions, strict=True):
            wide = action["action"].double()
            assert torch.equal(row["next", "wide"], (wide / 3).float())
            assert torch.equal(row["next", "nested", "wide"], (-wide / 3).float())
            assert torch.equal(row["next", "reward"], (wide.sum().reshape(1) / 7).float())
        tools.assert_same(data, tools.by_hand(env, actions))

    def test_sums_come_after(self):
        env = TransformedEnv(Doubles(), DoubleToFloat()).append_transform(RewardSum())
        assert env.rollout(3)["next", "episode_reward"].dtype is F32

    def test_in_a_batch_and_around_it(self, tools):
        inside = SerialEnv(2, lambda: TransformedEnv(Doubles(), DoubleToFloat()))
        outside = TransformedEnv(SerialEnv(2, Doubles), DoubleToFloat())
        assert inside.specs == outside.specs
        actions = tools.draw_actions(inside, 4)
        tools.assert_same(inside.rollout(4, tools.FixedPolicy(actions)), outside.rollout(4, tools.FixedPolicy(actions)))

    def test_nothing_to_do(self):
        env = TransformedEnv(GymEnv("CartPole-v1"), DoubleToFloat())
        assert env.specs == env.base_env.specs
        assert len(env.rollout(3)) == 3


class TestChosenKeys:
    def test_others_stay_double(self):
        env = TransformedEnv(Doubles(), DoubleToFloat(in_keys=["wide"]))
        data = env.rollout(2)
        assert dtypes(data) == {
            "wide": F32,
            ("nested", "wide"): F64,
            "count": torch.int64,
            "action": F64,
            ("next", "wide"): F32,
            ("next", "nested", "wide"): F64,
            ("next", "count"): torch.int64,
            ("next", "reward"): F64,
        }

    def test_under_another_name(self):
        env = TransformedEnv(Doubles(), DoubleToFloat(in_keys=["wide"], out_keys=["narrow"]))
        data = env.rollout(2)
        assert data["wide"].dtype is F64
        assert torch.equal(data["narrow"], data["wide"].float())
        check_env_specs(env)

    def test_actions_as_the_pages_write_it(self):
        env = TransformedEnv(Doubles())
        env.append_transform(DoubleToFloat(in_keys_inv=["action"]))
        assert env.action_spec.dtype is F32
        assert env.rollout(3)["action"].dtype is F32
        assert env.reward_spec.dtype is F64

    def test_actions_under_another_name(self):
        env = TransformedEnv(Doubles(), DoubleToFloat(in_keys_inv=["action"], out_keys_inv=["short"]))
        assert env.action_keys == ["short"]
        data = env.rollout(2)
        assert data["short"].dtype is F32
        assert torch.equal(data["next", "wide"], data["short"].double() / 3)

    def test_unknown(self):
        with pytest.raises(
            SpecError, match=r"DoubleToFloat: unknown key 'oops' in in_keys; the env inside has .*'wide'"
        ):
            TransformedEnv(Doubles(), DoubleToFloat(in_keys=["oops"]))
        with pytest.raises(SpecError, match=r"DoubleToFloat: unknown key 'oops' in in_keys_inv.*\['action'\]"):
            TransformedEnv(Doubles(), DoubleToFloat(in_keys_inv=["oops"]))


class TestOutsideOfEnvs:
    def test_every_double_without_keys(self):
        td = TensorDict(
            {"a": torch.ones(2, dtype=F64), "b": {"c": torch.ones(2, dtype=F64)}, "n": torch.ones(2).long()}
        )
        assert dtypes(DoubleToFloat()(td)) == {"a": F32, ("b", "c"): F32, "n": torch.int64}

    def test_given_keys(self):
        td = TensorDict({"a": torch.ones(2, dtype=F64), "b": torch.ones(2, dtype=F64)})
        assert dtypes(DoubleToFloat(in_keys=["a"])(td)) == {"a": F32, "b": F64}
        with pytest.raises(KeyError, match=r"DoubleToFloat: .*c.* is missing"):
            DoubleToFloat(in_keys=["c"])(td)

    def test_inverse(self):
        td = TensorDict({"action": torch.ones(2)})
        assert DoubleToFloat(in_keys_inv=["action"]).inv(td)["action"].dtype is F64
        assert td["action"].dtype is F32

    def test_a_recorded_batch(self):
        stored = Doubles().rollout(4)
        env = TransformedEnv(Doubles(), DoubleToFloat())
        out = env.transform[0].clone()(stored)
        assert out["wide"].dtype is out["nested", "wide"].dtype is F32
        assert out["count"].dtype is torch.int64


def test_a_simulator_that_takes_float64():
    class Strict(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float64)
        action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float64)
        render_mode = None

        def reset(self, *, seed=None, options=None):
            return np.zeros(1), {}

        def step(self, action):
            assert action in self.action_space
            return action / 3, 0.0, False, False, {}

    env = TransformedEnv(GymWrapper(Strict()), DoubleToFloat())
    data = env.rollout(20)
    assert data["observation"].dtype is data["action"].dtype is F32
    assert torch.equal(data["next", "observation"], (data["action"].double() / 3).float())


class TestDTypeCast:
    def test_promises(self, kit):
        kit.all(Doubles, lambda: DTypeCastTransform(F64, F32))
        kit.all(Doubles, lambda: DTypeCastTransform(torch.int64, F32))
        assert kit.on_rows(TransformedEnv(GymEnv("CartPole-v1"), DTypeCastTransform(F32, F64)))

    def test_same_as_double_to_float(self, kit, tools):
        chains = [DoubleToFloat(), DTypeCastTransform(F64, F32)]
        envs = [TransformedEnv(Doubles(), transform) for transform in chains]
        assert envs[0].specs == envs[1].specs
        actions = tools.draw_actions(envs[0], 5)
        tools.assert_same(*(kit.rollout(env, actions) for env in envs))

    def test_chosen_keys(self):
        env = TransformedEnv(Doubles(), DTypeCastTransform(torch.int64, torch.int32, "count", "short"))
        data = env.rollout(2)
        assert (data["count"].dtype, data["short"].dtype) == (torch.int64, torch.int32)

    def test_round_trip(self, kit):
        kit.round_trip(DTypeCastTransform(F64, F32, in_keys_inv="action"), Bounded(-1.0, 1.0, (2,), dtype=F64))

    def test_another_dtype(self):
        with pytest.raises(
            SpecError, match=r"DTypeCastTransform: 'count': .* expected dtype torch.float64, found torch.int64"
        ):
            TransformedEnv(Doubles(), DTypeCastTransform(F64, F32, "count"))
