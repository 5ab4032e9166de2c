from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from envkit.errors import SpecError, UnsupportedSpaceError
from envkit.specs import (
    Binary,
    Bounded,
    Categorical,
    Composite,
    MultiCategorical,
    MultiOneHot,
    NonTensor,
    OneHot,
    Unbounded,
    register_gym_spec_conversion,
    space_from_spec,
    spec_from_space,
)

torch.set_num_threads(1)

few = settings(deadline=None, max_examples=100, derandomize=True)
many = settings(few, max_examples=500)

sizes = st.lists(st.integers(1, 3), max_size=2).map(tuple)
rows = st.lists(st.integers(1, 3), min_size=1, max_size=2).map(tuple)
INT_DTYPES = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]


@st.composite
def boxes(draw):
    shape = draw(sizes)
    dtype = np.dtype(draw(st.sampled_from([np.float16, np.float32, np.float64, np.bool_, *INT_DTYPES])))
    n = int(np.prod(shape, dtype=int))
    if dtype.kind == "f":
        number = st.floats(-1e4, 1e4, width=16) if dtype.itemsize < 8 else st.floats(-1e300, 1e300)
        number = number.map(lambda x: x + 0.0)  # numpy draws nothing from between 0 and -0
        low_number = number | st.just(-np.inf)
        high_number = number | st.just(np.inf)
    elif dtype.kind == "b":
        low_number = high_number = st.integers(0, 1)
    else:
        # Gymnasium adds one to the bound before it samples, in 64 bits with a sign.
        top = min(int(np.iinfo(dtype).max), 2**63 - 2)
        low_number = high_number = st.integers(int(np.iinfo(dtype).min), top)
    pairs = draw(st.lists(st.tuples(low_number, high_number), min_size=n, max_size=n))
    pairs = [pair if pair[0] <= pair[1] else pair[::-1] for pair in pairs]
    low = np.array([p[0] for p in pairs], dtype=dtype).reshape(shape)
    high = np.array([p[1] for p in pairs], dtype=dtype).reshape(shape)
    return spaces.Box(low, high, shape, dtype.type)


@st.composite
def multi_discretes(draw):
    shape = draw(rows)
    n = int(np.prod(shape))
    numbers = lambda low, high: np.array(draw(st.lists(st.integers(low, high), min_size=n, max_size=n))).reshape(shape)
    dtype = draw(st.sampled_from([np.int64, np.int32, np.int8]))
    return spaces.MultiDiscrete(numbers(1, 4), dtype=dtype, start=numbers(-5, 5))


discretes = st.builds(
    spaces.Discrete,
    st.integers(1, 5),
    start=st.integers(-5, 5),
    dtype=st.sampled_from([np.int64, np.int32, np.int8]),
)
multi_binaries = st.builds(spaces.MultiBinary, st.integers(1, 4) | rows)
texts = st.builds(
    lambda low, extra, charset: spaces.Text(low + extra, min_length=low, charset=charset),
    st.integers(0, 3),
    st.integers(0, 3),
    st.sampled_from(["a", "xyz", "0123456789"]),
)
plain = boxes() | discretes | multi_discretes() | multi_binaries | texts
any_space = st.recursive(
    plain,
    lambda inner: (
        st.dictionaries(st.sampled_from("bac"), inner, min_size=1, max_size=3).map(spaces.Dict)
        | st.lists(inner, min_size=1, max_size=3).map(spaces.Tuple)
    ),
    max_leaves=5,
)


def accepts(spec, value) -> bool:
    try:
        return spec.is_in(spec.encode(value))
    except SpecError:
        return False


def perturb(draw, space, value):
    """Change a sample into one that may lie outside, without changing its type, dtype or shape."""
    if isinstance(space, spaces.Dict):
        return {key: perturb(draw, space[key], value[key]) for key in value}
    if isinstance(space, spaces.Tuple):
        return tuple(perturb(draw, inner, part) for inner, part in zip(space.spaces, value, strict=True))
    if isinstance(space, spaces.Text):
        return draw(st.sampled_from([value, value + "a", value + "?", value[:-1], ""]))
    value = np.array(value)
    if draw(st.booleans()) or not value.size:
        return value
    place = np.unravel_index(draw(st.integers(0, value.size - 1)), value.shape)
    if value.dtype.kind == "f":
        value[place] = draw(st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 1.0, -1.0, 6e4, -6e4]))
    elif value.dtype.kind == "b":
        value[place] = not value[place]
    else:
        info = np.iinfo(value.dtype)
        value[place] = min(max(int(value[place]) + draw(st.integers(-6, 6)), int(info.min)), int(info.max))
    return value


@many
@given(any_space, st.booleans())
def test_round_trip_of_spaces(space, one_hot):
    try:
        spec = spec_from_space(space, one_hot=one_hot)
    except UnsupportedSpaceError:
        assert one_hot  # rows of a MultiDiscrete that differ have no common one-hot form
        return
    if one_hot:
        # One-hot specs are bool tensors, and do not keep the integer dtype of their numbers.
        assert space_from_spec(spec) == space_from_spec(spec_from_space(space_from_spec(spec), one_hot=True))
    else:
        assert space_from_spec(spec) == space


@pytest.mark.filterwarnings("ignore:.*Casting input x to numpy array")  # Gymnasium's own samples may be NumPy scalars
@many
@given(any_space, st.integers(0, 99), st.data())
def test_members_agree(space, seed, data):
    space.seed(seed)
    spec = spec_from_space(space)
    sample = space.sample()
    assume(space.contains(sample))  # Gymnasium rounds large integers out of their bounds
    assert spec.is_in(spec.encode(sample))
    changed = perturb(data.draw, space, sample)
    assert accepts(spec, changed) is (changed in space)


@many
@given(any_space, st.integers(0, 99))
def test_rand_is_in_the_space(space, seed):
    spec = spec_from_space(space)
    generator = torch.Generator().manual_seed(seed)
    assert spec.to_numpy(spec.rand((), generator)) in space


@few
@given(discretes | multi_discretes().filter(lambda s: len(s.shape) == 1), st.integers(0, 99))
def test_one_hot_means_the_same_numbers(space, seed):
    space.seed(seed)
    spec = spec_from_space(space, one_hot=True)
    sample = space.sample()
    assert np.array_equal(spec.to_numpy(spec.encode(sample)), sample)
    assert spec.shape[-1] == np.sum(space.nvec if isinstance(space, spaces.MultiDiscrete) else space.n)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_bounds_may_be_the_largest_integer(dtype):
    top = np.iinfo(dtype).max
    space = spaces.Box(top - 1, top, (8,), dtype)
    spec = spec_from_space(space)
    assert space_from_spec(spec) == space
    assert spec.to_numpy(spec.rand()) in space


def test_float64_bounds_are_kept_exactly():
    low, high = np.array([0.1, -1e-300]), np.array([1 / 3, np.inf])
    spec = spec_from_space(spaces.Box(low, high, dtype=np.float64))
    back = space_from_spec(spec)
    assert np.array_equal(back.low, low)
    assert np.array_equal(back.high, high)


def test_classes():
    cases = {
        Bounded: spaces.Box(0, 1, (2,)),
        Unbounded: spaces.Box(-np.inf, np.inf, (2,)),
        Categorical: spaces.Discrete(3),
        MultiCategorical: spaces.MultiDiscrete([2, 3]),
        Binary: spaces.MultiBinary(3),
        Composite: spaces.Dict(a=spaces.Discrete(2)),
        NonTensor: spaces.Text(3),
    }
    for kind, space in cases.items():
        assert type(spec_from_space(space)) is kind
    assert type(spec_from_space(spaces.Discrete(3), one_hot=True)) is OneHot
    assert type(spec_from_space(spaces.MultiDiscrete([2, 3]), one_hot=True)) is MultiOneHot


@pytest.mark.parametrize(
    ("spec", "space"),
    [
        (Categorical(3, (2, 2), start=1), spaces.MultiDiscrete(np.full((2, 2), 3), start=np.full((2, 2), 1))),
        (OneHot(3, (2, 3)), spaces.MultiDiscrete([3, 3])),
        (MultiOneHot([2, 3], (2, 5)), spaces.MultiDiscrete(np.array([[2, 3], [2, 3]]))),
        (Binary(1, (4, 1), dtype=torch.bool), spaces.MultiBinary((4, 1))),
        (Binary(3), spaces.MultiBinary(3)),
        (Unbounded((2,), dtype=torch.uint8), spaces.Box(0, 255, (2,), np.uint8)),
        (Composite(a=None, b=Binary(3)), spaces.Dict(b=spaces.MultiBinary(3))),
    ],
    ids=lambda case: type(case).__name__,
)
def test_space_from_spec(spec, space):
    assert space_from_spec(spec) == space
    assert spec.to_numpy(spec.rand()) in space


def test_tuple_values_are_tuples():
    space = spaces.Tuple([spaces.Discrete(2), spaces.Dict(a=spaces.Discrete(3))])
    spec = spec_from_space(space)
    assert list(spec.keys(True, True)) == ["0", ("1", "a")]
    value = spec.encode((1, {"a": 2}))
    assert value["1", "a"] == 2
    assert spec.to_numpy(value) == (1, {"a": 2})
    assert spec.expand(3).is_tuple
    assert spec.clone().is_tuple


@pytest.mark.parametrize(
    "space",
    [
        spaces.Sequence(spaces.Discrete(2)),
        spaces.Graph(spaces.Discrete(2), None),
        spaces.OneOf([spaces.Discrete(2)]),
        spaces.Dict({"a": spaces.Sequence(spaces.Discrete(2))}),
    ],
    ids=lambda space: type(space).__name__,
)
def test_unsupported_spaces_are_named(space):
    culprit = space["a"] if isinstance(space, spaces.Dict) else space
    with pytest.raises(UnsupportedSpaceError, match=rf"\.{type(culprit).__name__}: expected one of"):
        spec_from_space(space)


def test_unsupported_details():
    with pytest.raises(UnsupportedSpaceError, match="key 3: expected a str, found int"):
        spec_from_space(spaces.Dict({3: spaces.Discrete(2)}))
    with pytest.raises(UnsupportedSpaceError, match="float128"):
        spec_from_space(spaces.Box(0, 1, (2,), np.longdouble))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (Unbounded((2, -1)), "unknown size"),
        (Unbounded((2,), dtype=torch.complex64), "ordered dtype"),
        (Unbounded((2,), dtype=torch.bfloat16), "bfloat16"),
        (NonTensor(()), "TextBox"),
    ],
)
def test_specs_without_a_space(spec, message):
    with pytest.raises(UnsupportedSpaceError, match=message):
        space_from_spec(spec)


def test_registered_converter_serves_subclasses():
    class Angle(spaces.Space):
        pass

    class SmallAngle(Angle):
        pass

    with pytest.raises(UnsupportedSpaceError, match="SmallAngle"):
        spec_from_space(SmallAngle())

    @register_gym_spec_conversion(Angle)
    def angle(space, *, one_hot, device):
        return Bounded(-180, 180, (1,), device=device)

    assert spec_from_space(SmallAngle()) == Bounded(-180, 180, (1,))
    assert spec_from_space(spaces.Dict(a=Angle()))["a"] == Bounded(-180, 180, (1,))


def test_subclasses_of_known_spaces():
    class Pixels(spaces.Box):
        pass

    assert spec_from_space(Pixels(0, 255, (2,), np.uint8)) == Bounded(0, 255, (2,), dtype=torch.uint8)


def test_stacks_of_unequal_specs_are_tuples():
    for spec in (
        torch.stack([Bounded(0, 1, (2,)), Bounded(0, 1, (3,))]),
        torch.stack([Categorical(2), Categorical(3, start=1)]),
        torch.stack([Composite(a=Categorical(2)), Composite(a=Categorical(2), b=Binary(2))]),
    ):
        space = space_from_spec(spec)
        assert isinstance(space, spaces.Tuple)
        assert space.contains(spec.to_numpy(spec.rand()))
        assert spec.is_in(spec.encode(space.sample()))
