from __future__ import annotations

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from envkit import (
    ActionMask,
    Bounded,
    Categorical,
    Composite,
    DiscreteActionProjection,
    EnvBase,
    FlattenAction,
    GymEnv,
    MultiCategorical,
    MultiOneHot,
    OneHot,
    SerialEnv,
    SpecError,
    TransformedEnv,
    Unbounded,
)

few = settings(deadline=None, max_examples=30, derandomize=True)
cartpole = functools.partial(GymEnv, "CartPole-v1")


class Wide(EnvBase):
    """Takes an action of two dimensions."""

    def __init__(self):
        super().__init__()
        self.observation_spec = Composite(observation=Unbounded((2, 3)))
        self.action_spec = Bounded(torch.arange(6.0).reshape(2, 3), 9.0, (2, 3))
        self.random = torch.Generator()

    def _set_seed(self, seed):
        self.random.manual_seed(seed)

    def _reset(self, tensordict=None):
        return TensorDict({"observation": torch.rand(2, 3, generator=self.random)})

    def _step(self, tensordict):
        action = tensordict["action"]
        return TensorDict({"observation": action, "reward": action[0, :1], "done": action[1, 2:] > 8})


class TestFlattenAction:
    def test_promises(self, kit):
        kit.all(Wide, FlattenAction)
        kit.all(Wide, lambda: FlattenAction(out_keys_inv="flat"))
        assert kit.on_rows(TransformedEnv(Wide(), FlattenAction()))

    @few
    @given(data=st.data())
    def test_round_trip(self, kit, data):
        kit.round_trip(FlattenAction(), data.draw(kit.float_specs))

    def test_bounds_stay_with_their_elements(self):
        env = TransformedEnv(SerialEnv(2, Wide), FlattenAction())
        assert env.action_spec == Bounded(torch.arange(6.0).expand(2, 6), 9.0, (2, 6))
        action = env.rand_action()
        assert torch.equal(env.transform.inv(action)["action"].flatten(1), action["action"])

    def test_in_a_buffer(self):
        flatten = TransformedEnv(Wide(), FlattenAction(out_keys_inv="flat")).transform[0].clone()
        assert flatten.inv(TensorDict({"flat": torch.zeros(4, 5, 6)}, [4, 5]))["action"].shape == (4, 5, 2, 3)

    def test_errors(self):
        with pytest.raises(SpecError, match=r"FlattenAction: 'action': .* expected an action with dimensions, found"):
            TransformedEnv(cartpole(), FlattenAction())
        with pytest.raises(ValueError, match=r"FlattenAction: expected one key, found \['a', 'b'\]"):
            FlattenAction(["a", "b"])
        with pytest.raises(RuntimeError, match=r"FlattenAction: expected the shape of an env's action, found none"):
            FlattenAction().inv(TensorDict({"action": torch.zeros(1)}))


LEAVES = {
    "categories": (Categorical(4), (4,), [4]),
    "one-hot": (OneHot(4), (4,), [4]),
    "several": (MultiCategorical([2, 3]), (5,), [2, 3]),
    "several one-hot": (MultiOneHot([2, 3]), (5,), [2, 3]),
}


class Masked(EnvBase):
    """Allows some actions, other ones at each step, and refuses the rest."""

    def __init__(self, name="categories"):
        super().__init__()
        self.leaf, shape, self.blocks = LEAVES[name]
        self.observation_spec = Composite(action_mask=Categorical(2, shape, dtype=torch.bool))
        self.action_spec = self.leaf.clone()
        self.random = torch.Generator()

    def _set_seed(self, seed):
        self.random.manual_seed(seed)

    def _observe(self):
        parts = [torch.rand(n, generator=self.random) for n in self.blocks]
        return torch.cat([(part > 0.5) | (part == part.max()) for part in parts])

    def _reset(self, tensordict=None):
        self.mask = self._observe()
        return TensorDict({"action_mask": self.mask})

    def _step(self, tensordict):
        allowed = self.leaf.clone()
        allowed.update_mask(self.mask)
        assert allowed.is_in(tensordict["action"])
        self.mask = self._observe()
        return TensorDict(
            {"action_mask": self.mask, "reward": torch.ones(1), "done": torch.rand(1, generator=self.random) > 0.8}
        )


class TestActionMask:
    @pytest.mark.parametrize("name", LEAVES)
    def test_random_actions_are_legal(self, name):
        env = TransformedEnv(Masked(name), ActionMask())
        env.rollout(30, break_when_any_done=False)
        TransformedEnv(SerialEnv(3, lambda: Masked(name)), ActionMask()).rollout(20, break_when_any_done=False)
        SerialEnv(3, lambda: TransformedEnv(Masked(name), ActionMask())).rollout(20, break_when_any_done=False)

    def test_without_it_they_are_not(self):
        with pytest.raises(AssertionError):
            Masked().rollout(30, break_when_any_done=False)

    def test_no_spec_changes(self):
        env = TransformedEnv(Masked(), ActionMask())
        env.rollout(5)
        assert env.action_spec == Categorical(4)

    def test_come_from_the_seed(self):
        env = TransformedEnv(Masked(), ActionMask())
        found = []
        for _ in range(2):
            env.set_seed(3)
            found.append(env.rollout(10, break_when_any_done=False)["action"])
        assert torch.equal(*found)

    def test_errors(self):
        with pytest.raises(SpecError, match=r"ActionMask: 'action': expected a discrete action, found Bounded"):
            TransformedEnv(Wide(), ActionMask())
        with pytest.raises(
            SpecError, match=r"'action_mask': expected a mask of dtype torch.bool and shape \[2\], found None"
        ):
            TransformedEnv(cartpole(), ActionMask())
        with pytest.raises(SpecError, match=r"shape \[2\], found torch.float32 of shape \[4\]"):
            TransformedEnv(cartpole(), ActionMask(mask_key="observation"))
        env = TransformedEnv(Masked(), ActionMask())
        td = env.reset().set("action_mask", torch.zeros(4, dtype=torch.bool))
        with pytest.raises(SpecError, match=r"mask: expected at least one allowed category"):
            env.rand_action(td)


class TestDiscreteActionProjection:
    @pytest.mark.parametrize("one_hot", [False, True])
    def test_promises(self, kit, one_hot):
        make = functools.partial(GymEnv, "CartPole-v1", categorical_action_encoding=not one_hot)
        kit.ports_agree(make, lambda: DiscreteActionProjection(2, 5))
        env = TransformedEnv(make(), DiscreteActionProjection(2, 5))
        assert env.action_spec == (OneHot(5) if one_hot else Categorical(5))

    @few
    @given(n=st.integers(1, 5), more=st.integers(0, 4), one_hot=st.booleans())
    def test_legal_actions_stay(self, kit, n, more, one_hot):
        leaf = OneHot(n) if one_hot else Categorical(n)
        transform = DiscreteActionProjection(n, n + more)
        outer = transform.transform_specs(kit.specs_with(leaf, "action", "action"))["action"]["action"]
        for index in range(n + more):
            shown = outer.encode(index)
            found = transform.inv(TensorDict({"action": shown}))["action"]
            assert leaf.is_in(found)
            if index < n:
                assert torch.equal(found, leaf.encode(index))

    def test_others_are_replaced_by_any(self):
        transform = DiscreteActionProjection(3, 5)
        transform.set_seed(0)
        found = transform.inv(TensorDict({"action": torch.full((100,), 4)}, [100]))["action"]
        assert found.unique().tolist() == [0, 1, 2]
        transform.set_seed(0)
        again = transform.inv(TensorDict({"action": torch.full((100,), 4)}, [100]))["action"]
        assert torch.equal(found, again)

    def test_errors(self):
        with pytest.raises(ValueError, match=r"expected num_actions_effective from 1 to max_actions, found 3 and 2"):
            DiscreteActionProjection(3, 2)
        with pytest.raises(
            SpecError, match=r"'action': .* expected a discrete action with 3 categories, found Categor"
        ):
            TransformedEnv(cartpole(), DiscreteActionProjection(3, 5))
