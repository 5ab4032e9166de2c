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
    ActionScaling,
    Bounded,
    GymEnv,
    ObservationScaling,
    RewardScaling,
    SpecError,
    TransformedEnv,
)

few = settings(deadline=None, max_examples=30, derandomize=True)
pendulum = functools.partial(GymEnv, "Pendulum-v1", max_episode_steps=9)
ACTIONS = np.random.default_rng(0).uniform(-1, 1, (200, 1)).astype(np.float32)


def fitted(make):
    """A transform that has been on an env, without it."""
    return lambda: TransformedEnv(pendulum(), make()).transform[0].clone()


class TestRewardScaling:
    @pytest.mark.parametrize("standard_normal", [False, True])
    def test_promises(self, kit, standard_normal):
        kit.all(pendulum, lambda: RewardScaling(0.5, 3.0, standard_normal=standard_normal))
        assert kit.on_rows(TransformedEnv(pendulum(), RewardScaling(0.5, 3.0)))

    def test_values_and_bounds(self):
        td = TensorDict({"reward": torch.tensor([2.0])})
        assert RewardScaling(1.0, 3.0)(td.clone())["reward"].tolist() == [7.0]
        assert RewardScaling(1.0, 4.0, standard_normal=True)(td.clone())["reward"].tolist() == [0.25]
        assert RewardScaling(1.0, -2.0)._transform_leaf(Bounded(-1, 1, (1,))) == Bounded(-1.0, 3.0, (1,))

    def test_under_another_name(self, kit):
        data = TransformedEnv(pendulum(), RewardScaling(0.0, 2.0, out_keys=["scaled"])).rollout(3)
        assert torch.equal(data["next", "scaled"], data["next", "reward"] * 2)


class TestActionScaling:
    @pytest.mark.parametrize("kwargs", [{}, {"standard_normal": False}, {"loc": 0.5, "scale": 1.5}])
    def test_promises(self, kit, kwargs):
        kit.all(pendulum, lambda: ActionScaling(**kwargs))
        assert kit.on_rows(TransformedEnv(pendulum(), ActionScaling(**kwargs)))

    @few
    @given(low=st.floats(-100, 100), width=st.floats(0.0625, 100), standard_normal=st.booleans())
    def test_bounds(self, kit, low, width, standard_normal):
        leaf = Bounded(low, low + width, (2,), dtype=torch.float64)
        transform = ActionScaling(standard_normal=standard_normal)
        kit.round_trip(transform, leaf, exact=False)
        outer = transform.transform_specs(kit.specs_with(leaf, "action", "action"))["action"]["action"]
        assert outer == Bounded(-1.0 if standard_normal else 0.0, 1.0, (2,), dtype=torch.float64)
        for end in (outer.low, outer.high):
            assert leaf.is_in(transform.inv(TensorDict({"action": end}))["action"])

    def test_beyond_the_bounds(self):
        env = TransformedEnv(pendulum(), ActionScaling())
        assert env.transform.inv(TensorDict({"action": torch.tensor([7.0])}))["action"].tolist() == [2.0]

    @pytest.mark.parametrize(("least", "standard_normal"), [(-1.0, True), (0.0, False)])
    def test_same_as_gymnasium(self, least, standard_normal):
        theirs = gymnasium.wrappers.RescaleAction(gymnasium.make("Pendulum-v1"), np.float32(least), np.float32(1))
        ours = TransformedEnv(GymEnv("Pendulum-v1"), ActionScaling(standard_normal=standard_normal))
        assert ours.action_spec == Bounded(least, 1.0, (1,))
        theirs.reset(seed=0)
        td = ours.reset(seed=0)
        for action in np.clip(ACTIONS, least, 1):
            expected = theirs.step(action)[0]
            td = ours.step(td.set("action", torch.from_numpy(action)))["next"]
            torch.testing.assert_close(td["observation"], torch.from_numpy(expected), rtol=1e-5, atol=1e-5)

    def test_errors(self):
        with pytest.raises(SpecError, match=r"ActionScaling: 'action': .* expected finite bounds, found Categorical"):
            TransformedEnv(GymEnv("CartPole-v1"), ActionScaling())
        with pytest.raises(ValueError, match=r"ActionScaling: expected loc and scale together or neither"):
            ActionScaling(loc=1.0)
        with pytest.raises(ValueError, match=r"ActionScaling: expected one key"):
            ActionScaling(in_keys_inv=["a", "b"])
        with pytest.raises(RuntimeError, match=r"ActionScaling: expected the bounds of an env, found none"):
            ActionScaling().inv(TensorDict({"action": torch.zeros(1)}))


class TestObservationScaling:
    def test_promises(self, kit):
        kit.ports_agree(pendulum, ObservationScaling)
        kit.commutes(pendulum, ObservationScaling)
        kit.stored_data_agrees(pendulum, fitted(lambda: ObservationScaling(-2.0, 3.0)))
        assert kit.on_rows(TransformedEnv(pendulum(), ObservationScaling()))

    @few
    @given(st.data())
    def test_spec(self, kit, data):
        low = data.draw(st.integers(-50, 50))
        leaf = Bounded(
            low,
            low + data.draw(st.integers(1, 90)),
            (2, 3),
            dtype=data.draw(st.sampled_from([torch.float32, torch.int64])),
        )
        outer = kit.spec_contains_output(ObservationScaling(-0.3, 0.7), leaf)
        assert outer == Bounded(-0.3, 0.7, (2, 3))

    def test_same_as_gymnasium(self):
        theirs = gymnasium.wrappers.RescaleObservation(gymnasium.make("Pendulum-v1"), np.float32(-1), np.float32(2))
        ours = TransformedEnv(GymEnv("Pendulum-v1"), ObservationScaling(-1.0, 2.0))
        expected = [theirs.reset(seed=0)[0]] + [theirs.step(action)[0] for action in ACTIONS]
        td = ours.reset(seed=0)
        for action, value in zip([*ACTIONS, None], expected, strict=True):
            torch.testing.assert_close(td["observation"], torch.from_numpy(value).float(), rtol=1e-6, atol=1e-6)
            if action is not None:
                td = ours.step(td.set("action", torch.from_numpy(action)))["next"]

    def test_errors(self):
        with pytest.raises(SpecError, match=r"ObservationScaling: 'observation': .* expected finite bounds"):
            TransformedEnv(GymEnv("CartPole-v1"), ObservationScaling())
        with pytest.raises(SpecError, match=r"expected low < high, found Bounded"):
            ObservationScaling()._transform_leaf(Bounded(1.0, 1.0, (2,)))
        with pytest.raises(ValueError, match=r"ObservationScaling: expected low < high, found low=1.0, high=0.0"):
            ObservationScaling(1.0, 0.0)
        with pytest.raises(RuntimeError, match=r"expected the bounds of an env"):
            ObservationScaling()(TensorDict({"observation": torch.zeros(1)}))
