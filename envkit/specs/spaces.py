"""Specs to and from Gymnasium spaces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from gymnasium import spaces

from envkit.errors import SpecError, UnsupportedSpaceError
from envkit.specs.base import TensorSpec
from envkit.specs.boxes import TextBox
from envkit.specs.composite import Composite
from envkit.specs.continuous import Bounded, Unbounded
from envkit.specs.convert import numpy_dtype, torch_dtype
from envkit.specs.discrete import Categorical, OneHot
from envkit.specs.multi import Binary, MultiCategorical, MultiOneHot
from envkit.specs.nontensor import NonTensor
from envkit.specs.spec_stack import SpecStack

__all__ = ["register_gym_spec_conversion", "space_from_spec", "spec_from_space"]

Converter = Callable[..., TensorSpec]
ConverterT = TypeVar("ConverterT", bound=Converter)

_TO_SPEC: dict[type[spaces.Space], Converter] = {}


def register_gym_spec_conversion(space_class: type[spaces.Space]) -> Callable[[ConverterT], ConverterT]:
    """Make :func:`spec_from_space` use a function for a class of spaces and its subclasses.

    The function is called as ``function(space, one_hot=..., device=...)`` and returns a spec.

    >>> class Angle(spaces.Space):
    ...     pass
    >>> @register_gym_spec_conversion(Angle)
    ... def angle(space, *, one_hot, device):
    ...     return Bounded(-180.0, 180.0, shape=(1,), device=device)
    >>> spec_from_space(Angle())
    Bounded(shape=[1], low=-180.0, high=180.0, dtype=float32)
    """

    def register(function: ConverterT) -> ConverterT:
        _TO_SPEC[space_class] = function
        return function

    return register


def spec_from_space(
    space: spaces.Space, *, one_hot: bool = False, device: torch.device | str | int | None = None
) -> TensorSpec:
    """Return the spec of the elements of a Gymnasium space.

    Args:
        space: ``Box``, ``Discrete``, ``MultiDiscrete``, ``MultiBinary``, ``Dict``, ``Tuple``, ``Text``, or
            any space with a converter (:func:`register_gym_spec_conversion`).
        one_hot: describe discrete spaces by one-hot vectors instead of category numbers.
        device: device of the values.

    Raises:
        UnsupportedSpaceError: if there is no converter for the class, or torch has no such dtype.

    >>> spec_from_space(spaces.Discrete(3, start=1))
    Categorical(shape=[], n=3, start=1, dtype=int64)
    >>> spec_from_space(spaces.Tuple([spaces.Discrete(2), spaces.MultiBinary(4)]))["1"]
    Binary(shape=[4], dtype=int8)
    """
    for kind in type(space).__mro__:
        if kind in _TO_SPEC:
            try:
                return _TO_SPEC[kind](space, one_hot=one_hot, device=device)
            except UnsupportedSpaceError:
                raise
            except SpecError as error:
                raise UnsupportedSpaceError(f"cannot describe {space}: {error}") from error
    known = sorted(kind.__name__ for kind in _TO_SPEC)
    raise UnsupportedSpaceError(
        f"no spec for spaces of class {type(space).__module__}.{type(space).__qualname__}: expected one of "
        f"{known}, or a converter registered by register_gym_spec_conversion"
    )


@register_gym_spec_conversion(spaces.Box)
def _box(space: spaces.Box, *, one_hot: bool, device: Any) -> TensorSpec:
    dtype = torch_dtype(space.dtype)
    if dtype.is_floating_point and np.isneginf(space.low).all() and np.isposinf(space.high).all():
        return Unbounded(space.shape, device, dtype)
    return Bounded(space.low, space.high, space.shape, device, dtype)


@register_gym_spec_conversion(spaces.Discrete)
def _discrete(space: spaces.Discrete, *, one_hot: bool, device: Any) -> TensorSpec:
    spec = Categorical(int(space.n), (), device, torch_dtype(space.dtype), start=int(space.start))
    return spec.to_one_hot_spec() if one_hot else spec


@register_gym_spec_conversion(spaces.MultiDiscrete)
def _multi_discrete(space: spaces.MultiDiscrete, *, one_hot: bool, device: Any) -> TensorSpec:
    spec = MultiCategorical(space.nvec, None, device, torch_dtype(space.dtype), start=space.start)
    return spec.to_one_hot_spec() if one_hot else spec


@register_gym_spec_conversion(spaces.MultiBinary)
def _multi_binary(space: spaces.MultiBinary, *, one_hot: bool, device: Any) -> TensorSpec:
    return Binary(space.n if isinstance(space.n, int) else None, space.shape, device)


@register_gym_spec_conversion(spaces.Text)
def _text(space: spaces.Text, *, one_hot: bool, device: Any) -> TensorSpec:
    box = TextBox(space.max_length, space.min_length, space.characters)
    return NonTensor((), device, example_data=space.characters[:1] * space.min_length, space=box)


@register_gym_spec_conversion(spaces.Dict)
def _dict(space: spaces.Dict, *, one_hot: bool, device: Any) -> TensorSpec:
    for key in space.spaces:
        if not isinstance(key, str):
            raise UnsupportedSpaceError(f"Dict key {key!r}: expected a str, found {type(key).__name__}")
    specs = {key: spec_from_space(inner, one_hot=one_hot, device=device) for key, inner in space.spaces.items()}
    return Composite(specs, device=device)


@register_gym_spec_conversion(spaces.Tuple)
def _tuple(space: spaces.Tuple, *, one_hot: bool, device: Any) -> TensorSpec:
    specs = [spec_from_space(inner, one_hot=one_hot, device=device) for inner in space.spaces]
    return Composite.from_sequence(specs, device=device)


def space_from_spec(spec: TensorSpec) -> spaces.Space:
    """Return the Gymnasium space of the numpy values (:meth:`TensorSpec.to_numpy`) of a spec.

    A stack of unequal specs becomes a ``Tuple``. A mask has no counterpart and is dropped: Gymnasium passes masks to
    ``sample``. Dtypes of ``Binary`` become int8.

    Raises:
        UnsupportedSpaceError: if a size is unknown, numpy lacks the dtype, or entries are arbitrary objects.

    >>> space_from_spec(Composite(a=Bounded(0, 1, shape=(2,)), b=Categorical(3, shape=(2,))))
    Dict('a': Box(0.0, 1.0, (2,), float32), 'b': MultiDiscrete([3 3]))
    """
    if isinstance(spec, SpecStack):
        return spaces.Tuple([space_from_spec(element) for element in spec.unbind(spec.stack_dim)])
    if isinstance(spec, Composite):
        inner = {key: space_from_spec(leaf) for key, leaf in spec.items() if leaf is not None}
        return spaces.Tuple(list(inner.values())) if spec.is_tuple else spaces.Dict(inner, sort_keys=False)
    if spec.has_dynamic_shape:
        raise UnsupportedSpaceError(f"no space for {spec}: expected a fixed shape, found an unknown size")
    try:
        for kind, convert in _FROM_SPEC.items():
            if isinstance(spec, kind):
                return convert(spec)
    except UnsupportedSpaceError:
        raise
    except SpecError as error:
        raise UnsupportedSpaceError(f"no space for {spec}: {error}") from error
    raise UnsupportedSpaceError(f"no space for specs of class {type(spec).__name__}")


def _box_space(spec: Any) -> spaces.Space:
    if spec.space is None:
        raise UnsupportedSpaceError(f"no space for {spec}: expected an ordered dtype, found {spec.dtype}")
    dtype = numpy_dtype(spec.dtype)
    low, high = spec.space.low.cpu().numpy().copy(), spec.space.high.cpu().numpy().copy()
    return spaces.Box(low, high, tuple(spec.shape), dtype.type)


def _discrete_space(spec: Categorical) -> spaces.Space:
    dtype: Any = numpy_dtype(spec.dtype).type
    if not np.issubdtype(dtype, np.integer):
        dtype = np.int64
    if not spec.shape:
        return spaces.Discrete(spec.n, start=spec.start, dtype=dtype)
    counts = np.full(tuple(spec.shape), spec.n)
    return spaces.MultiDiscrete(counts, dtype=dtype, start=np.full_like(counts, spec.start))


def _multi_discrete_space(spec: MultiCategorical) -> spaces.Space:
    dtype: Any = numpy_dtype(spec.dtype).type
    return spaces.MultiDiscrete(spec.nvec.cpu().numpy(), dtype=dtype, start=spec.start.cpu().numpy())


def _index_space(spec: Any) -> spaces.Space:
    return space_from_spec(spec.to_categorical_spec())


def _binary_space(spec: Binary) -> spaces.Space:
    flat = len(spec.shape) == 1 and spec._by_length
    return spaces.MultiBinary(spec.n if flat else tuple(spec.shape))


def _text_space(spec: NonTensor) -> spaces.Space:
    if spec.space is None or spec.shape:
        raise UnsupportedSpaceError(f"no space for {spec}: expected a single string in a TextBox, found other objects")
    box = spec.space
    return spaces.Text(box.max_length, min_length=box.min_length, charset=box.charset)


_FROM_SPEC: dict[type[TensorSpec], Callable[[Any], spaces.Space]] = {
    Binary: _binary_space,
    Bounded: _box_space,
    Categorical: _discrete_space,
    MultiCategorical: _multi_discrete_space,
    MultiOneHot: _index_space,
    NonTensor: _text_space,
    OneHot: _index_space,
    Unbounded: _box_space,
}
