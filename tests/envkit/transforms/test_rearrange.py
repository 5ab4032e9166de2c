from __future__ import annotations

import math

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from envkit import (
    Binary,
    Bounded,
    Categorical,
    Composite,
    EnvBase,
    FlattenObservation,
    GymWrapper,
    MultiCategorical,
    OneHot,
    PermuteTransform,
    SpecError,
    SqueezeTransform,
    TransformedEnv,
    Unbounded,
    UnsqueezeTransform,
)

few = settings(deadline=None, max_examples=40, derandomize=True)
KEYS = {"in_keys": ["observation"]}
ACTION = {"in_keys_inv": ["action"]}


class Plates(EnvBase):
    """Takes actions of shape (2, 1, 3) and shows them transposed."""

    def __init__(self):
        super().__init__()
        self.observation_spec = Composite(observation=Bounded(-1.0, 1.0, (3, 1, 2)), kind=OneHot(4, (2, 4)))
        self.action_spec = Bounded(-1.0, 1.0, (2, 1, 3))

    def _set_seed(self, seed):
        self.steps = 0

    def _reset(self, tensordict=None):
        self.steps = 0
        return TensorDict({"observation": torch.zeros(3, 1, 2), "kind": torch.eye(4, dtype=torch.bool)[:2]})

    def _step(self, tensordict):
        action = tensordict["action"]
        self.steps += 1
        return TensorDict(
            {
                "observation": action.permute(2, 1, 0),
                "kind": torch.eye(4, dtype=torch.bool)[[self.steps % 4, 0]],
                "reward": action[0, 0, :1].clone(),
                "terminated": action[0, 0, :1] > 0.5,
            }
        )


TRANSFORMS = {
    "flatten": lambda: FlattenObservation(-3, -1, **KEYS),
    "flatten_one_hot": lambda: FlattenObservation(-2, -1, ["kind"], ["flat"]),
    "permute": lambda: PermuteTransform((-1, -3, -2), **KEYS, **ACTION),
    "permute_apart": lambda: PermuteTransform((-1, -2), ["observation"], ["turned"], ["action"], ["turned_action"]),
    "squeeze": lambda: SqueezeTransform(-2, **KEYS, **ACTION),
    "squeeze_apart": lambda: SqueezeTransform(-2, ["observation"], ["less"], ["action"], ["flat_action"]),
    "unsqueeze": lambda: UnsqueezeTransform(-1, ["observation", "kind"], **ACTION),
    "unsqueeze_apart": lambda: UnsqueezeTransform(-4, ["observation"], ["more"], ["action"], ["deep_action"]),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_promises(name, kit):
    kit.all(Plates, TRANSFORMS[name])


@pytest.mark.parametrize("name", [name for name in TRANSFORMS if "apart" in name])
def test_on_rows(name, kit):
    assert kit.on_rows(TransformedEnv(Plates(), TRANSFORMS[name]()))


@few
@given(data=st.data())
def test_output_in_its_spec(kit, data):
    leaf = data.draw(kit.leaf_specs)
    dims = leaf.ndim
    first = data.draw(st.integers(-dims, -1))
    flat = kit.spec_contains_output(FlattenObservation(first, data.draw(st.integers(first, -1)), **KEYS), leaf)
    assert flat.shape.numel() == leaf.shape.numel()
    order = data.draw(st.permutations(range(-dims, 0)))
    turned = kit.spec_contains_output(PermuteTransform(order, **KEYS), leaf)
    assert turned.shape == tuple(leaf.shape[dim] for dim in order)
    place = data.draw(st.integers(-dims - 1, -1))
    more = kit.spec_contains_output(UnsqueezeTransform(place, **KEYS), leaf)
    assert more.shape == leaf.zero().unsqueeze(place).shape


@few
@given(data=st.data())
def test_there_and_back(kit, data):
    shape = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    leaf = Bounded(-1.0, 1.0, shape)
    order = data.draw(st.permutations(range(-len(shape), 0)))
    kit.round_trip(PermuteTransform(order, **ACTION), leaf)
    place = data.draw(st.integers(-len(shape) - 1, -1))
    kit.round_trip(UnsqueezeTransform(place, **ACTION), leaf)
    kit.round_trip(SqueezeTransform(place, **ACTION), leaf.unsqueeze(place))


def test_bounds_go_along(kit):
    low = torch.arange(6.0).reshape(2, 3)
    leaf = Bounded(low, low + 1, (2, 3))
    assert kit.spec_contains_output(FlattenObservation(-2, -1, **KEYS), leaf).low.tolist() == [0, 1, 2, 3, 4, 5]
    assert kit.spec_contains_output(PermuteTransform((-1, -2), **KEYS), leaf).low.tolist() == low.T.tolist()


def test_kinds_stay(kit):
    turn = PermuteTransform((-1, -2), **KEYS)
    assert kit.spec_contains_output(turn, Categorical(4, (2, 3))) == Categorical(4, (3, 2))
    assert kit.spec_contains_output(turn, Unbounded((2, 3))) == Unbounded((3, 2))
    flags = kit.spec_contains_output(turn, Categorical(2, (2, 3), dtype=torch.bool))
    assert flags == Categorical(2, (3, 2), dtype=torch.bool)


@pytest.mark.parametrize("leaf", [OneHot(4), OneHot(4, (3, 4)), Binary(4), OneHot(4, dtype=torch.bool)])
def test_one_hot_vectors_become_numbers(leaf, kit):
    flat = kit.spec_contains_output(FlattenObservation(-leaf.ndim, -1, **KEYS), leaf)
    assert flat.shape == (leaf.shape.numel(),)
    assert flat.dtype is leaf.dtype
    assert kit.spec_contains_output(UnsqueezeTransform(-1, **KEYS), leaf).shape == (*leaf.shape, 1)


def test_as_gymnasium(fake_atari):
    theirs = gymnasium.wrappers.FlattenObservation(fake_atari())
    ours = TransformedEnv(GymWrapper(fake_atari()), FlattenObservation(**KEYS))
    ours.set_seed(3)
    first, data = theirs.reset(seed=3)[0], ours.rollout(5)
    assert data["observation"].shape[1:] == (math.prod(fake_atari().observation_space.shape),)
    assert np.array_equal(data["observation"][0], first)
    for action, value in zip(data["action"], data["next", "observation"], strict=True):
        assert np.array_equal(value, theirs.step(int(action))[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FlattenObservation(0, 2), "expected first_dim <= last_dim < 0, .*; found 0 and 2"),
        (lambda: FlattenObservation(-1, -3), "found -1 and -3"),
        (lambda: PermuteTransform((0, 1), **KEYS), r"PermuteTransform: dims: expected each of \[-2, -1\] once, found"),
        (lambda: PermuteTransform((-1, -1), **KEYS), r"found \(-1, -1\)"),
        (lambda: PermuteTransform((-1, -2)), "PermuteTransform: expected in_keys or in_keys_inv, found neither"),
        (lambda: SqueezeTransform(0, **KEYS), "SqueezeTransform: dim: expected a negative number, .*; found 0"),
        (lambda: UnsqueezeTransform(1, **KEYS), "UnsqueezeTransform: dim: expected a negative number, .*; found 1"),
        (lambda: UnsqueezeTransform(-1), "UnsqueezeTransform: expected in_keys or in_keys_inv, found neither"),
    ],
)
def test_options(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (lambda: FlattenObservation(-4, -1, **KEYS), r"FlattenObservation: 'observation': .*at least 4 dimensions"),
        (lambda: PermuteTransform((-1, -2, -3, -4), **KEYS), r"at least 4 dimensions, found shape \[3, 1, 2\]"),
        (lambda: SqueezeTransform(-1, **KEYS), r"expected size 1 in dimension -1, found shape \[3, 1, 2\]"),
        (lambda: SqueezeTransform(-1, **ACTION), r"SqueezeTransform: 'action': .*found shape \[2, 1, 3\]"),
        (lambda: UnsqueezeTransform(-5, **KEYS), r"at least 4 dimensions, found shape \[3, 1, 2\]"),
    ],
)
def test_refused_by_shape(transform, message):
    with pytest.raises(SpecError, match=message):
        TransformedEnv(Plates(), transform())


def test_numbers_of_several_ranges_are_in_the_widest(kit):
    out = kit.spec_contains_output(UnsqueezeTransform(-1, **KEYS), MultiCategorical([4, 2]))
    assert out == Bounded(0, 3, (2, 1), dtype=torch.int64)
