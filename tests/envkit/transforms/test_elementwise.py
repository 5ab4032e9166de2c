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
    Bounded,
    ClipTransform,
    Composite,
    EnvBase,
    GymEnv,
    ObservationTransform,
    SignTransform,
    SpecError,
    TransformedEnv,
    UnaryTransform,
    Unbounded,
    check_env_specs,
)

few = settings(deadline=None, max_examples=30, derandomize=True)
pendulum = functools.partial(GymEnv, "Pendulum-v1", max_episode_steps=9)


class TestObservationTransform:
    class Doubled(ObservationTransform):
        takes_arrays = True

        def _apply_transform(self, value):
            return value * 2

    def test_promises(self, kit):
        kit.all(pendulum, self.Doubled)

    def test_other_entries_are_refused(self):
        with pytest.raises(SpecError, match=r"Doubled: unknown key 'reward' in in_keys; .*\['observation'\]"):
            TransformedEnv(pendulum(), self.Doubled(["reward"]))


class TestClipTransform:
    def test_promises(self, kit):
        keys = {"in_keys": ["observation", "reward"], "in_keys_inv": ["action"]}
        kit.all(pendulum, lambda: ClipTransform(**keys, low=-0.5, high=0.75))
        assert kit.on_rows(TransformedEnv(pendulum(), ClipTransform("reward", low=-1.0)))

    @few
    @given(data=st.data(), low=st.integers(-30, 30) | st.none(), width=st.integers(0, 30))
    def test_spec(self, kit, data, low, width):
        leaf = data.draw(kit.float_specs)
        high = data.draw(st.sampled_from([None, width])) if low is not None else width
        high = None if high is None else (low or 0) + high
        outer = kit.spec_contains_output(ClipTransform("observation", low=low, high=high), leaf)
        assert isinstance(outer, Bounded)
        assert outer.dtype is leaf.dtype
        if isinstance(leaf, Bounded):
            assert torch.equal(outer.low, leaf.low.clip(low, high))

    def test_integers(self, kit):
        leaf = Bounded(0, 255, (2,), dtype=torch.uint8)
        outer = kit.spec_contains_output(ClipTransform("observation", low=5, high=9), leaf)
        assert outer == Bounded(5, 9, (2,), dtype=torch.uint8)
        with pytest.raises(SpecError, match=r"expected bounds that torch.uint8 can hold, found 0.5 and None"):
            ClipTransform("observation", low=0.5)._transform_leaf(leaf)

    def test_actions_are_clipped_on_their_way_in(self):
        env = TransformedEnv(pendulum(), ClipTransform(in_keys_inv=["action"], low=-1.0, high=1.0))
        assert env.action_spec == Bounded(-1.0, 1.0, (1,))
        assert env.transform.inv(TensorDict({"action": torch.tensor([1.5])}))["action"].item() == 1.0

    def test_same_as_gymnasium(self):
        theirs = gymnasium.wrappers.ClipAction(gymnasium.make("Pendulum-v1"))
        ours = TransformedEnv(GymEnv("Pendulum-v1"), ClipTransform(in_keys_inv=["action"], low=-2.0, high=2.0))
        theirs.reset(seed=0)
        td = ours.reset(seed=0)
        for action in np.random.default_rng(0).uniform(-4, 4, (200, 1)).astype(np.float32):
            obs, reward, *_ = theirs.step(action)
            td = ours.step(td.set("action", torch.from_numpy(action)))["next"]
            assert torch.equal(td["observation"], torch.from_numpy(obs))
            assert td["reward"].item() == np.float32(reward)

    @pytest.mark.parametrize(
        ("kwargs", "message"),
        [
            ({"low": 0.0}, "expected in_keys or in_keys_inv, found none"),
            ({"in_keys": "a"}, "expected a lower bound, an upper bound or both, found none"),
            (
                {"in_keys": "a", "low": 2.0, "high": 1.0},
                "expected a lower bound up to the upper one, found 2.0 and 1.0",
            ),
        ],
    )
    def test_arguments(self, kwargs, message):
        with pytest.raises(ValueError, match=rf"ClipTransform: {message}"):
            ClipTransform(**kwargs)


class Signs(EnvBase):
    """Takes -1, 0 or 1 alone."""

    def __init__(self):
        super().__init__()
        self.observation_spec = Composite(observation=Unbounded((2,)))
        self.action_spec = Bounded(-9.0, 9.0, (2,))

    def _set_seed(self, seed):
        pass

    def _reset(self, tensordict=None):
        return TensorDict({"observation": torch.zeros(2)})

    def _step(self, tensordict):
        action = tensordict["action"]
        assert torch.equal(action, action.sign())
        return TensorDict({"observation": action, "reward": action.sum(-1, keepdim=True), "done": action[:1] > 2})


class TestSignTransform:
    def test_promises(self, kit):
        kit.all(pendulum, lambda: SignTransform(["observation", "reward"]))
        kit.all(Signs, lambda: SignTransform(in_keys_inv=["action"]))
        assert kit.on_rows(TransformedEnv(pendulum(), SignTransform()))

    @few
    @given(data=st.data())
    def test_spec(self, kit, data):
        leaf = data.draw(kit.number_specs)
        outer = kit.spec_contains_output(SignTransform("observation"), leaf)
        assert outer.dtype is leaf.dtype
        assert outer.low.int().min() >= -1
        assert outer.high.int().max() <= 1

    def test_rewards_by_default(self):
        assert SignTransform().in_keys == ["reward"]
        assert SignTransform(in_keys_inv=["action"]).in_keys == []


class TestUnaryTransform:
    def test_promises(self, kit):
        kit.all(
            pendulum,
            lambda: UnaryTransform(
                "observation", "size", "action", "push", fn=lambda x: x[..., :1] * 2, inv_fn=lambda x: x / 2
            ),
        )

    def test_specs_are_found_from_zeros(self):
        env = TransformedEnv(pendulum(), UnaryTransform("observation", "large", fn=lambda obs: obs > 0))
        assert env.observation_spec["large"] == Unbounded((3,), dtype=torch.bool)
        check_env_specs(env)

    def test_without_fn_actions_look_like_those_inside(self):
        env = TransformedEnv(pendulum(), UnaryTransform(in_keys_inv="action", inv_fn=torch.neg))
        assert env.action_spec == env.base_env.action_spec
        assert env.transform.inv(TensorDict({"action": torch.ones(1)}))["action"].item() == -1.0

    def test_errors(self):
        with pytest.raises(ValueError, match=r"UnaryTransform: expected fn for the keys \['a'\], found none"):
            UnaryTransform("a")
        with pytest.raises(ValueError, match=r"UnaryTransform: expected inv_fn for the keys \['a'\], found none"):
            UnaryTransform(in_keys_inv="a", fn=torch.neg)
        with pytest.raises(SpecError, match=r"UnaryTransform: 'observation': cannot transform torch.float32"):
            TransformedEnv(pendulum(), UnaryTransform("observation", fn=lambda obs: obs @ torch.zeros(7, 7)))
        with pytest.raises(SpecError, match=r"UnaryTransform: 'action': expected the inverse to give"):
            TransformedEnv(pendulum(), UnaryTransform(in_keys_inv="action", inv_fn=lambda a: a.expand(2)))
