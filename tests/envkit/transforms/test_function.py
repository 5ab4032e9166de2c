from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule

from envkit import (
    Bounded,
    Categorical,
    Compose,
    EnvDataError,
    GymEnv,
    GymWrapper,
    NonTensor,
    RewardSum,
    SerialEnv,
    SpecError,
    StepCounter,
    TransformedEnv,
    Unbounded,
    check_env_specs,
)


def pendulum():
    return GymEnv("Pendulum-v1", max_episode_steps=8)


def more(td):
    return td.set("more", td["observation"].double() + 1)


def in_place(td):
    td["high"] = td["observation"] > 0


def less(td):
    return td.exclude("observation")


def other_reward(td):
    if "reward" in td.keys():
        td["reward"] = td["reward"].square()


def other_bounds(td):
    return td.set("observation", td["observation"] * 3)


@pytest.mark.parametrize("function", [more, in_place, other_reward, other_bounds, lambda td: td, lambda td: None])
def test_is_a_transform_like_any_other(function, kit):
    check_env_specs(TransformedEnv(pendulum(), function))
    kit.commutes(pendulum, lambda: Compose(function), steps=12)
    kit.ports_agree(pendulum, lambda: Compose(function, StepCounter(max_steps=4), RewardSum()))


class TestSpecs:
    def test_of_new_entries(self):
        spec = TransformedEnv(pendulum(), [more, in_place]).observation_spec
        assert spec["more"] == Unbounded((3,), dtype=torch.float64)
        assert spec["high"] == Categorical(2, (3,), dtype=torch.bool)
        assert isinstance(spec["observation"], Bounded)

    def test_of_changed_entries(self):
        assert TransformedEnv(pendulum(), other_bounds).observation_spec["observation"] == Unbounded((3,))
        assert TransformedEnv(pendulum(), other_reward).reward_spec == Unbounded((1,))

    def test_of_entries_taken_out(self):
        env = TransformedEnv(pendulum(), [more, less])
        assert set(env.observation_spec.keys()) == {"more"}
        assert set(env.rollout(2).keys()) == {"more", "action", "done", "terminated", "truncated", "next"}
        check_env_specs(env)

    def test_of_done_flags(self):
        def late(td):
            return td.set("done", td["done"] | (td["observation"][..., :1] > 5))

        assert TransformedEnv(pendulum(), late).done_spec == pendulum().done_spec

    def test_of_batches(self):
        inside = SerialEnv(2, lambda: TransformedEnv(pendulum(), more))
        assert inside.specs == TransformedEnv(SerialEnv(2, pendulum), more).specs

    def test_of_nested_entries_and_data_that_is_no_tensor(self, dict_obs):
        def named(td):
            td["state", "double"] = td["state", "speed"] * 2
            return td.set("name", "x")

        env = TransformedEnv(GymWrapper(dict_obs()), named)
        assert env.observation_spec["state", "double"] == Unbounded(())
        assert isinstance(env.observation_spec["name"], NonTensor)
        data = env.rollout(3)
        assert data["name"] == ["x"] * len(data)


class TestMistakes:
    def test_that_raise_on_zeros(self):
        def missing(td):
            return td.set("x", td["oops"])

        with pytest.raises(
            SpecError, match=r"FunctionTransform of missing: it raises KeyError.*a reset.*'observation'"
        ):
            TransformedEnv(pendulum(), missing)

    def test_that_need_a_reward(self):
        def bonus(td):
            return td.set("bonus", td["reward"] + 1) if "reward" in td.keys() else td

        with pytest.raises(
            SpecError, match=r"bonus: expected the same entries after a reset and after a step, found 'bon"
        ):
            TransformedEnv(pendulum(), bonus)

    def test_that_return_something_else(self):
        with pytest.raises(SpecError, match="expected it to return a TensorDict, found int"):
            TransformedEnv(pendulum(), lambda td: 3)

        answers = iter([None] * 3 + [3])
        env = TransformedEnv(pendulum(), lambda td: next(answers))
        env.reset()
        with pytest.raises(EnvDataError, match="FunctionTransform of <lambda>: expected it to return a TensorDict"):
            env.reset()


class TestModules:
    def make(self):
        return TensorDictModule(torch.nn.Linear(3, 2), in_keys=["observation"], out_keys=["hidden"])

    def test_may_be_transforms(self):
        module = self.make()
        env = TransformedEnv(pendulum(), module)
        data = env.rollout(4)
        assert torch.equal(data["hidden"][0], module.module(data["observation"][0]))
        assert not data["hidden"].requires_grad

    def test_have_their_parameters_in_the_state(self):
        env = TransformedEnv(pendulum(), Compose(StepCounter(), self.make()))
        assert set(env.state_dict()) == {
            f"transform.transforms.1.function.module.{name}" for name in ("weight", "bias")
        }
        twin = TransformedEnv(pendulum(), Compose(StepCounter(), self.make()))
        twin.load_state_dict(env.state_dict())
        td = TensorDict({"observation": torch.ones(3)})
        assert torch.equal(twin.transform[1](td.clone())["hidden"], env.transform[1](td.clone())["hidden"])

    def test_are_shared_by_clones(self):
        env = TransformedEnv(pendulum(), self.make())
        assert env.transform[0].clone().function is env.transform[0].function


def test_stored_data_is_handed_over_as_it_is():
    """A function that is to change what is under ``"next"`` says so."""
    seen = []
    stored = pendulum().rollout(3)
    Compose(seen.append)(stored)
    assert seen[0] is stored
    assert len(seen) == 1
    assert Compose(lambda numbers: numbers + 1)(torch.zeros(2)).tolist() == [1, 1]
    assert "more" in repr(Compose(more))
