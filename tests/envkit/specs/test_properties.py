"""Properties that hold for every class of spec and every method."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import LazyStackedTensorDict, TensorDictBase, is_non_tensor

from envkit.errors import LockedSpecError, SpecError
from envkit.specs import (
    Binary,
    Bounded,
    Categorical,
    Choice,
    Composite,
    MultiCategorical,
    NonTensor,
    OneHot,
    Stacked,
    StackedComposite,
    TensorSpec,
    TextBox,
    Unbounded,
)

torch.set_num_threads(1)

few = settings(deadline=None, max_examples=60, derandomize=True)

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
INTS = [
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.uint16,
    torch.uint32,
    torch.uint64,
]

sizes = st.lists(st.integers(1, 3), max_size=2).map(tuple)


@st.composite
def masks(draw, batch, blocks):
    """A mask that allows something in each block of each row."""
    rows = int(np.prod(batch, dtype=int))
    bits = []
    for _ in range(rows):
        for n in blocks:
            block = draw(st.lists(st.booleans(), min_size=n, max_size=n))
            block[draw(st.integers(0, n - 1))] = True
            bits += block
    return torch.tensor(bits).reshape(*batch, sum(blocks))


@st.composite
def bounded(draw):
    shape = draw(sizes)
    dtype = draw(st.sampled_from(FLOATS + INTS + [torch.bool]))
    n = int(np.prod(shape, dtype=int))
    top = 1 if dtype is torch.bool else 100
    bottom = 0 if dtype is torch.bool or not (dtype.is_floating_point or dtype.is_signed) else -top
    pairs = draw(st.lists(st.tuples(st.integers(bottom, top), st.integers(bottom, top)), min_size=n, max_size=n))
    low = np.array([min(p) for p in pairs], dtype=float).reshape(shape)
    high = np.array([max(p) for p in pairs], dtype=float).reshape(shape)
    if draw(st.booleans()):
        low = np.where(low < -50, -np.inf, low)
        high = np.where(high > 50, np.inf, high)
    return Bounded(low, high, shape, dtype=dtype)


@st.composite
def categorical(draw):
    shape, n = draw(sizes), draw(st.integers(1, 4))
    mask = draw(st.none() | masks(shape, [n]))
    return Categorical(n, shape, dtype=draw(st.sampled_from(INTS)), mask=mask, start=draw(st.integers(0, 3)))


@st.composite
def one_hot(draw):
    batch, n = draw(sizes), draw(st.integers(1, 4))
    dtype = draw(st.sampled_from([torch.bool, torch.int64, torch.uint8, torch.float32]))
    return OneHot(n, (*batch, n), dtype=dtype, mask=draw(st.none() | masks(batch, [n])), start=draw(st.integers(0, 2)))


@st.composite
def multi_categorical(draw):
    batch = draw(sizes)
    nvec = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    mask = draw(st.none() | masks(batch, nvec))
    start = draw(st.lists(st.integers(-2, 2), min_size=len(nvec), max_size=len(nvec)))
    return MultiCategorical(nvec, (*batch, len(nvec)), mask=mask, start=start)


@st.composite
def ragged_categorical(draw):
    """Numbers of categories that differ between rows."""
    nvec = draw(st.lists(st.lists(st.integers(1, 3), min_size=2, max_size=2), min_size=1, max_size=3))
    return MultiCategorical(nvec)


flags = st.builds(Categorical, st.just(2), sizes, dtype=st.just(torch.bool))
binaries = st.builds(Binary, shape=sizes, dtype=st.sampled_from([torch.int8, torch.bool, torch.float32]))
unbounded = st.builds(Unbounded, sizes, dtype=st.sampled_from([*FLOATS, *INTS, torch.bool, torch.complex64]))
maskable = categorical() | one_hot() | multi_categorical() | multi_categorical().map(lambda s: s.to_one_hot_spec())
discrete = maskable | ragged_categorical() | flags | binaries
tensor_leaves = discrete | bounded() | unbounded
leaves = tensor_leaves | st.builds(NonTensor, sizes, space=st.just(TextBox(3, 0, "abc")))


@st.composite
def composites(draw, leaf=leaves):
    batch = draw(sizes)
    inner = draw(st.dictionaries(st.sampled_from("xyz"), leaf, max_size=2))
    outer = draw(st.dictionaries(st.sampled_from("abc"), leaf, max_size=2))
    make = lambda specs: {k: s.expand(*batch, *s.shape) for k, s in specs.items()}
    return Composite({**make(outer), "nested": make(inner)}, shape=batch)


specs = leaves | composites()


@st.composite
def siblings(draw, ragged, unknown=False):
    """Leaves of one dtype and number of dimensions, of one shape unless ``ragged``."""
    floats = draw(st.booleans())
    ndim = draw(st.integers(int(ragged), 2))
    one_shape = st.lists(st.integers(1, 3), min_size=ndim, max_size=ndim).map(tuple)
    common = draw(one_shape)
    siblings = []
    for _ in range(draw(st.integers(2, 3))):
        shape = draw(one_shape) if ragged else common
        if unknown and shape and draw(st.booleans()):
            shape = (*shape[:-1], -1)
        if floats:
            kinds = [
                lambda s: Unbounded(s),
                lambda s: Bounded(-1, 2, s),
                lambda s: Binary(shape=s, dtype=torch.float32),
            ]
        else:
            kinds = [lambda s: Categorical(3, s), lambda s: Categorical(2, s, start=4), lambda s: Bounded(0, 5, s)]
            kinds[2] = lambda s: Bounded(0, 5, s, dtype=torch.int64)
            if shape and shape[-1] > 0:
                kinds += [
                    lambda s: OneHot(s[-1], s, dtype=torch.int64),
                    lambda s: MultiCategorical(range(1, s[-1] + 1), s),
                ]
        siblings.append(draw(st.sampled_from(kinds))(shape))
    return siblings


@st.composite
def stacks(draw, elements):
    elements = draw(elements)
    return torch.stack(elements, draw(st.integers(0, min(element._leading() for element in elements))))


@st.composite
def choices(draw):
    low = draw(st.integers(0, 3))
    shape = draw(sizes)
    make = draw(
        st.sampled_from(
            [
                lambda n: Bounded(n, n + 1, shape),
                lambda n: Bounded(n, n + 1, shape, dtype=torch.int64),
                lambda n: Categorical(n + 1, shape),
                lambda n: Binary(shape=shape),
            ]
        )
    )
    options = [make(n) for n in range(low, low + draw(st.integers(1, 3)))]
    return Choice(draw(st.just(options) | st.just(["a", 3])))


@st.composite
def unequal_composites(draw):
    shape = draw(sizes)
    elements = []
    first = draw(siblings(ragged=draw(st.booleans())))
    for i, leaf in enumerate(first):
        specs = {"common": leaf, **{name: Binary(2) for name in draw(st.sets(st.sampled_from("xy")))}}
        if draw(st.booleans()):
            specs["nested"] = {name: Categorical(i + 2) for name in draw(st.sets(st.sampled_from("xy")))}
        elements.append(Composite(specs))
    elements = [element.expand(shape) for element in elements]
    return torch.stack(elements, draw(st.integers(0, len(shape))))


dense_stacks = stacks(siblings(ragged=False))
ragged_stacks = stacks(siblings(ragged=True))
unknown = siblings(ragged=True, unknown=True).map(lambda leaves: leaves[0]) | stacks(
    siblings(ragged=True, unknown=True)
)
expanded_choices = st.builds(lambda spec, shape: spec.expand(*shape, *spec.shape), choices(), sizes)
held = st.builds(lambda spec: Composite(stack=spec, shape=spec.shape[:1]), unequal_composites())
unequal = dense_stacks | ragged_stacks | expanded_choices | unequal_composites() | held
everything = specs | unequal | unknown


def same(first, second) -> bool:
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, LazyStackedTensorDict):
        parts = [value.unbind(first.stack_dim) for value in (first, second)]
        return first.batch_size == second.batch_size and all(map(same, *parts))
    if isinstance(first, TensorDictBase) and not is_non_tensor(first):
        return first.batch_size == second.batch_size and all(same(first.get(k), second.get(k)) for k in first.keys())
    if is_non_tensor(first):
        return first.batch_size == second.batch_size and first.tolist() == second.tolist()
    return first.dtype == second.dtype and first.shape == second.shape and torch.equal(first, second)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@few
@given(specs, sizes)
def test_rand_is_in(spec, shape):
    value = spec.rand(shape, generator())
    assert spec.is_in(value) is True
    assert spec.violations(value) == []
    spec.assert_is_in(value)
    assert value.shape == (*shape, *spec.shape)


@few
@given(everything)
def test_rand_follows_the_generator(spec):
    torch.manual_seed(1)
    first = spec.rand((5,), generator())
    torch.manual_seed(2)
    assert same(first, spec.rand((5,), generator()))
    assert torch.initial_seed() == 2


@few
@given(specs, sizes)
def test_zero_and_one(spec, shape):
    for make in (spec.zero, spec.zeros, spec.one, spec.ones):
        assert make(shape).shape == (*shape, *spec.shape)


@few
@given(tensor_leaves, sizes)
def test_zero_and_one_have_the_dtype(spec, shape):
    assert spec.zero(shape).dtype == spec.one(shape).dtype == spec.dtype
    assert not spec.zero(shape).to(torch.complex64).any()
    assert (spec.one(shape).to(torch.complex64) == 1).all()


@few
@given(tensor_leaves)
def test_values_of_another_kind_are_refused(spec):
    value = spec.rand()
    other = torch.float64 if spec.dtype is not torch.float64 else torch.float32
    wrong_values = [value.real.to(other), "text"]
    if spec.shape:
        wrong_values += [value[..., None].expand(*value.shape, 4), value[0]]
    for wrong in wrong_values:
        assert spec.is_in(wrong) is False
        (violation,) = spec.violations(wrong)
        assert violation.key == ()
        with pytest.raises(SpecError, match=r"expected .* found"):
            spec.assert_is_in(wrong)


@few
@given(tensor_leaves, st.integers(0, 99))
def test_violations_agree_with_is_in(spec, seed):
    value = (torch.randn(spec.shape, generator=generator(seed), dtype=torch.float64) * 4).to(spec.dtype)
    assert spec.is_in(value) is not bool(spec.violations(value))


@few
@given(
    tensor_leaves,
    st.sampled_from([torch.float32, torch.float64, torch.int64, torch.bool]),
    st.integers(0, 99),
)
def test_project(spec, dtype, seed):
    value = (torch.randn((2, *spec.shape), generator=generator(seed)) * 200).to(dtype)
    before = value.clone()
    projected = spec.project(value)
    assert spec.is_in(projected)
    assert torch.equal(value, before)
    assert torch.equal(projected, spec.project(value))
    again = spec.project(projected)
    assert torch.equal(again, projected)
    assert projected.numel() == 0 or again.data_ptr() != projected.data_ptr()


@few
@given(composites(tensor_leaves))
def test_project_composite(spec):
    value = spec.one()
    before = value.clone()
    projected = spec.project(value)
    assert spec.is_in(projected)
    assert same(value, before)
    assert projected.batch_size == value.batch_size


@few
@given(st.sampled_from(FLOATS), st.booleans())
def test_nan_is_in_no_float_spec(dtype, closed):
    spec = Bounded(-1, 1, (2,), dtype=dtype) if closed else Unbounded((2,), dtype=dtype)
    nan = torch.tensor([0.0, torch.nan], dtype=dtype)
    assert spec.is_in(nan) is False
    assert "nan" in spec.violations(nan)[0].found
    assert spec.is_in(spec.project(nan))


@few
@given(specs)
def test_encode_inverts_to_numpy(spec):
    value = spec.rand((), generator())
    if isinstance(spec, NonTensor) and spec.shape:
        return  # a list is one object: only single objects are told apart
    if isinstance(spec, Composite):
        spec = Composite({k: s for k, s in spec.items(True, True) if not isinstance(s, NonTensor)}, shape=spec.shape)
        value = value.select(*spec.keys(True, True)) if len(spec) else spec.zero()
    encoded = spec.encode(spec.to_numpy(value))
    assert spec.is_in(encoded)
    assert same(encoded, value)


@few
@given(tensor_leaves)
def test_encode_accepts_lists_and_tensors(spec):
    value = spec.rand((), generator())
    if spec.dtype.is_complex:
        return
    array = spec.to_numpy(value)
    assert same(spec.encode(array.tolist()), value)
    assert same(spec.encode(value), value)


@few
@given(tensor_leaves)
def test_encode_refuses_other_sizes(spec):
    array = np.asarray(spec.to_numpy(spec.rand()))
    with pytest.raises(SpecError, match="expected"):
        spec.encode(np.stack([array, array, array, array, array]))


@few
@given(tensor_leaves)
def test_encode_copies(spec):
    value = spec.rand()
    array = np.array(spec.to_numpy(value))
    encoded = spec.encode(array)
    array[...] = 0
    assert same(encoded, value)


@few
@given(everything, sizes)
def test_expand_and_index_invert(spec, shape):
    wide = spec.expand(*shape, *spec.shape)
    assert wide.shape == (*shape, *spec.shape)
    assert wide.is_in(wide.rand())
    assert wide[(0,) * len(shape)] == spec


@few
@given(specs)
def test_shape_methods_agree_with_tensors(spec):
    wide = spec.expand(2, 1, *spec.shape)
    value = wide.rand()
    pairs = [
        (wide[1], value[1]),
        (wide[:, 0], value[:, 0]),
        (wide[0:1], value[0:1]),
        (wide[None], value[None]),
        (wide[..., None, :] if spec.shape and not spec._event_dims else wide, None),
        (wide[torch.tensor([1, 0, 1])], value[torch.tensor([1, 0, 1])]),
        (wide[torch.tensor([True, False])], value[torch.tensor([True, False])]),
        (wide.squeeze(1), value.squeeze(1)),
        (wide.unsqueeze(1), value.unsqueeze(1)),
        (torch.squeeze(wide, 1), value.squeeze(1)),
        (torch.unsqueeze(wide, 0), value.unsqueeze(0)),
        (wide.unbind(0)[1], value.unbind(0)[1]),
        (wide.flatten(0, 1), value.flatten(0, 1) if not is_non_tensor(value) else None),
    ]
    for moved, expected in pairs:
        if expected is not None:
            assert moved.shape == expected.shape
            assert moved.is_in(expected)
        assert moved.is_in(moved.rand())
    assert wide.flatten(0, 1).unflatten(0, (2, 1)) == wide
    assert wide.flatten(0, 1).reshape(2, 1, *spec.shape) == wide
    assert wide.reshape(-1, *spec.shape) == wide.flatten(0, 1)
    assert wide.view(2, *spec.shape) == wide.squeeze(1)


@few
@given(everything)
def test_stack_inverts_unbind(spec):
    wide = spec.expand(3, *spec.shape)
    assert torch.stack(wide.unbind(0)) == wide
    assert torch.stack([spec.clone() for _ in range(3)], 0) == wide


@few
@given(bounded())
def test_stack_keeps_bounds(spec):
    other = Bounded(spec.low, spec.low, spec.shape, dtype=spec.dtype)
    stacked = torch.stack([spec, other])
    assert stacked[0] == spec
    assert stacked[1] == other


@few
@given(maskable, st.data())
def test_stack_keeps_masks(spec, data):
    batch, blocks = spec.to_one_hot_spec().shape[:-1], spec.to_categorical_spec()._blocks()
    other = spec.clone()
    other.update_mask(data.draw(masks(batch, blocks)))
    stacked = torch.stack([spec, other], 0)
    members = stacked.rand((20,))
    assert all(spec.is_in(v) for v in members[:, 0])
    assert all(other.is_in(v) for v in members[:, 1])


@few
@given(discrete)
def test_enumerate_lists_each_member_once(spec):
    if spec.cardinality() > 300:
        return
    members = spec.enumerate()
    assert members.shape == (spec.cardinality(), *spec.shape)
    assert spec.is_in(members)
    rows = {tuple(member.flatten().tolist()) for member in members}
    assert len(rows) == spec.cardinality()
    assert tuple(spec.rand().flatten().tolist()) in rows


@few
@given(composites(flags | binaries))
def test_enumerate_composite(spec):
    if spec.cardinality() > 300:
        return
    members = spec.enumerate()
    assert members.batch_size == (spec.cardinality(), *spec.shape)
    assert spec.is_in(members)
    rows = {str([v.tolist() for v in member.values(True, True)]) for member in members.unbind(0)}
    assert len(rows) == spec.cardinality()


@few
@given(maskable)
def test_one_hot_and_index_are_inverse(spec):
    hot, index = spec.to_one_hot_spec(), spec.to_categorical_spec()
    assert hot.to_categorical_spec().to_one_hot_spec() == hot.to(torch.bool)
    assert hot.cardinality() == index.cardinality() == spec.cardinality()
    value = hot.rand((4,))
    assert index.is_in(hot.to_categorical(value).to(index.dtype))
    assert torch.equal(index.to_one_hot(hot.to_categorical(value)), value.bool())
    value = index.rand((4,))
    assert hot.to(torch.bool).is_in(index.to_one_hot(value))
    assert torch.equal(hot.to_categorical(index.to_one_hot(value)), value.to(torch.int64))
    assert np.array_equal(hot.to_numpy(index.to_one_hot(value)), index.to_numpy(value))


@few
@given(everything)
def test_copies_are_equal_and_unlocked(spec):
    assert spec == spec.clone()
    assert spec == copy.deepcopy(spec)
    assert spec == pickle.loads(pickle.dumps(spec))
    spec.lock_()
    assert spec.is_locked
    assert not spec.clone().is_locked
    assert copy.deepcopy(spec).is_locked
    restored = pickle.loads(pickle.dumps(spec))
    assert restored.is_locked
    assert not restored.unlock_().is_locked
    assert spec == restored
    assert spec.is_locked


@few
@given(everything, everything)
def test_equality(first, second):
    assert (first == second) is (second == first)
    assert first != second or repr(first) == repr(second)
    assert first != first.expand(7, *first.shape)
    assert first != 3
    assert first == first.clone()


@few
@given(leaves)
def test_leaf_attributes_are_read_only(spec):
    for name in ("shape", "dtype", "device", "space", "domain"):
        with pytest.raises(AttributeError):
            setattr(spec, name, None)


@few
@given(maskable)
def test_lock_refuses_masks(spec):
    mask = spec.mask
    spec.lock_()
    with pytest.raises(LockedSpecError, match=f"mask of a locked {type(spec).__name__}"):
        spec.update_mask(None)
    assert spec.mask is mask
    spec.unlock_().update_mask(None)
    assert spec.mask is None


@few
@given(maskable, st.data())
def test_update_mask_spares_copies(spec, data):
    mask = data.draw(masks(spec.to_one_hot_spec().shape[:-1], spec.to_categorical_spec()._blocks()))
    twin = spec.clone()
    shown = repr(spec)
    twin.update_mask(mask)
    assert repr(spec) == shown
    assert torch.equal(twin.mask, mask)
    mask.zero_()
    assert twin.is_in(twin.rand())


@few
@given(tensor_leaves)
def test_to_keeps_members(spec):
    assert spec.to("cpu") is spec
    assert spec.cpu() is spec
    if spec.dtype in (torch.float16, torch.float32):
        assert spec.to(torch.float64).is_in(spec.rand().to(torch.float64))
        assert spec.to(torch.float64).to(spec.dtype) == spec


@few
@given(everything)
def test_repr_names_the_class(spec):
    assert repr(spec).startswith(f"{type(spec).__name__}(")
    assert f"shape=[{', '.join(map(str, spec.shape))}]".replace("-1", "?") in repr(spec)


@few
@given(composites())
def test_violations_name_every_missing_leaf(spec):
    found = {v.key for v in spec.violations({"nested": {}})}
    assert found == {key for key, _ in spec.leaves()}
    assert spec.is_in({"nested": {}}) is not bool(found)


@few
@given(composites())
def test_lock_refuses_every_mutation(spec):
    spec.lock_()
    before = copy.deepcopy(spec)
    key = ("nested", "new")
    mutations = [
        lambda: spec.set("new", None),
        lambda: spec.set(key, None),
        lambda: spec["nested"].set("new", None),
        lambda: spec.update({"new": None}),
        lambda: spec.update({"nested": {"new": None}}),
        lambda: spec.pop("nested"),
        lambda: spec.__delitem__("nested"),
        lambda: spec.separates("nested"),
        lambda: setattr(spec, "shape", ()),
        lambda: setattr(spec, "batch_size", ()),
        lambda: setattr(spec, "device", "cpu"),
        lambda: spec["nested"].unlock_(),
    ]
    mutations += [lambda leaf=leaf: leaf.update_mask(None) for _, leaf in spec.leaves() if hasattr(leaf, "update_mask")]
    mutations += [lambda leaf=leaf: leaf.unlock_() for _, leaf in spec.leaves()]
    for mutate in mutations:
        with pytest.raises(LockedSpecError, match="locked"):
            mutate()
    assert spec == before
    spec.unlock_()
    spec.set(key, None)
    assert key in spec
    assert not any(leaf.is_locked for _, leaf in spec.leaves() if leaf is not None)


def leading(value, function):
    """Apply a function of leading dimensions to a value, which may be a list."""
    return [leading(part, function) for part in value] if isinstance(value, list) else function(value)


@few
@given(unequal | unknown, sizes)
def test_unequal_values(spec, shape):
    value = spec.rand(shape, generator())
    assert spec.is_in(value) is True
    assert spec.violations(value) == []
    spec.assert_is_in(value)
    spec.type_check(value)
    for made in (value, spec.zero(shape), spec.one(shape), spec.zeros(shape), spec.ones(shape)):
        prefixes = [part.shape[: len(shape)] for part in (made if isinstance(made, list) else [made])]
        assert prefixes == [shape] * len(prefixes)
    assert same(spec.project(value), value)
    # An unknown size of a stack is one size for all elements.
    assert isinstance(value, list) or spec.has_dynamic_shape or value.shape == (*shape, *spec.shape)


@few
@given(unequal)
def test_unequal_project(spec):
    try:
        projected = spec.project(spec.one((2,)))
    except SpecError:
        assert spec.dtype is None
        return
    assert spec.is_in(projected)
    assert same(spec.project(projected), projected)


@few
@given(unequal | unknown)
def test_unequal_encode_inverts_to_numpy(spec):
    value = spec.rand((), generator())
    encoded = spec.encode(spec.to_numpy(value))
    assert spec.is_in(encoded)
    assert same(encoded, value)


@few
@given(unequal)
def test_unequal_shape_methods_agree_with_values(spec):
    wide = spec.expand(2, 1, *spec.shape)
    value = wide.rand()
    for moved, function in [
        (wide[1], lambda v: v[1]),
        (wide[:, 0], lambda v: v[:, 0]),
        (wide[0:1], lambda v: v[0:1]),
        (wide[None], lambda v: v[None]),
        (wide[torch.tensor([1, 0, 1])], lambda v: v[torch.tensor([1, 0, 1])]),
        (wide[torch.tensor([True, False])], lambda v: v[torch.tensor([True, False])]),
        (wide.squeeze(1), lambda v: v.squeeze(1)),
        (wide.unsqueeze(1), lambda v: v.unsqueeze(1)),
        (wide.unbind(0)[1], lambda v: v.unbind(0)[1]),
        # Not flatten: that of a lazy stack loses exclusive keys.
        (wide.flatten(0, 1), lambda v: v[:, 0]),
    ]:
        assert moved.is_in(leading(value, function))
        assert moved.is_in(moved.rand())
    assert wide.flatten(0, 1).unflatten(0, (2, 1)) == wide
    if -1 not in spec.shape:
        assert wide.reshape(-1, *spec.shape) == wide.flatten(0, 1)
        assert wide.view(2, *spec.shape) == wide.squeeze(1)


@few
@given(dense_stacks | unequal_composites(), st.data())
def test_elements_are_what_was_stacked(spec, data):
    if not isinstance(spec, (Stacked, StackedComposite)):
        return
    elements = spec.unbind(spec.stack_dim)
    order = data.draw(st.permutations(range(len(elements))))
    before = (slice(None),) * spec.stack_dim
    assert spec[(*before, order)] == torch.stack([elements[i] for i in order], spec.stack_dim)
    parts = spec.rand((3,)).unbind(spec.stack_dim + 1)
    assert all(element.is_in(part) for element, part in zip(elements, parts, strict=True))


CALLS = {
    "assert_is_in": lambda spec, value: spec.assert_is_in(value),
    "cardinality": lambda spec, value: spec.cardinality(),
    "clone": lambda spec, value: spec.clone(),
    "contains": lambda spec, value: spec.contains(value),
    "cpu": lambda spec, value: spec.cpu(),
    "encode": lambda spec, value: spec.encode(value),
    "enumerate": lambda spec, value: spec.enumerate() if spec.cardinality() < 300 else None,
    "expand": lambda spec, value: spec.expand(2, *spec.shape),
    "flatten": lambda spec, value: spec.flatten(),
    "is_in": lambda spec, value: spec.is_in(value),
    "lock_": lambda spec, value: spec.lock_(),
    "ndimension": lambda spec, value: spec.ndimension(),
    "numel": lambda spec, value: spec.numel(),
    "one": lambda spec, value: spec.one((2,)),
    "ones": lambda spec, value: spec.ones(2),
    "project": lambda spec, value: spec.project(value),
    "rand": lambda spec, value: spec.rand((2, 0)),
    "reshape": lambda spec, value: spec.reshape(-1),
    "sample": lambda spec, value: spec.sample([2]),
    "squeeze": lambda spec, value: spec.squeeze(),
    "to": lambda spec, value: spec.to(torch.float64),
    # of members only: it is not to check what was checked before
    "to_numpy": lambda spec, value: spec.to_numpy(value) if spec.is_in(value) else None,
    "type_check": lambda spec, value: spec.type_check(value, "key"),
    "unbind": lambda spec, value: spec.unbind(-1),
    "unflatten": lambda spec, value: spec.unflatten(0, (1, -1)),
    "unlock_": lambda spec, value: spec.unlock_(),
    "unsqueeze": lambda spec, value: spec.unsqueeze(-1),
    "view": lambda spec, value: spec.view(-1),
    "violations": lambda spec, value: spec.violations(value),
    "zero": lambda spec, value: spec.zero((0,)),
    "zeros": lambda spec, value: spec.zeros(3),
    # properties and protocols
    "attributes": lambda spec, value: [
        getattr(spec, name)
        for name in ("device", "domain", "dtype", "has_dynamic_shape", "is_locked", "locked", "ndim", "shape", "space")
    ],
    "index": lambda spec, value: (spec[..., None], spec[None], spec[()]),
    "list": lambda spec, value: list(spec),
}


def test_the_table_has_every_public_method():
    methods = {name for name, member in vars(TensorSpec).items() if callable(member) and not name.startswith("_")}
    assert methods | {"lock_", "unlock_"} == set(CALLS) - {"attributes", "index", "list"}


@settings(deadline=None, max_examples=200, derandomize=True)
@given(everything, everything)
def test_every_method_answers_or_refuses(spec, other):
    for value in (spec.rand(), other.rand(), spec.zero((2,)), [1], "text", None):
        for name, call in CALLS.items():
            try:
                result = call(spec, value)
            except SpecError:
                continue
            if name in ("is_in", "contains"):
                assert type(result) is bool
    spec.unlock_()
