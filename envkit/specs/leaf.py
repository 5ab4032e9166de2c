"""What every leaf shares: shape and parameters, equality, copies, and the checks of tensor values."""

from __future__ import annotations

import abc
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from envkit.errors import SpecError
from envkit.specs.base import TensorSpec, Violation, as_device, full_size
from envkit.specs.convert import as_tensor, cast_exact, describe_dtype, fit_shape, to_array
from envkit.specs.numeric import is_integral, widen
from envkit.specs.shapes import UNKNOWN, ShapeOp, as_size, compact, describe_shape, matches, probe, settle

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Leaf", "TensorLeaf"]

# Beyond this, a table of all members is a mistake rather than a plan.
_MAX_ENUMERATION = 10_000_000


class Leaf(TensorSpec):
    """A spec without children: a value, immutable but for the mask of some classes.

    A subclass declares what it is made of: ``_fields`` are plain values, ``_params`` are tensors (or specs,
    or None) whose leading dimensions follow those of the shape. An unknown size is stored as 1 in a
    parameter.
    """

    _fields: ClassVar[tuple[str, ...]] = ()
    _params: ClassVar[tuple[str, ...]] = ()

    _dtype: Any  # a torch.dtype, but None for NonTensor

    def __init__(self, shape: int | Iterable[int], dtype: torch.dtype | None, device: Any) -> None:
        self._shape = as_size(shape)
        self._dtype = dtype
        self._device = as_device(device)
        self._locked = False
        self._holders = 0
        self._holds = False

    def _children(self) -> Iterable[TensorSpec]:
        return ()

    def _derive(self) -> None:
        """Check the parameters and compute what follows from them; called after each construction."""
        self._sizes = torch.Size([1 if d < 0 else d for d in self._shape])

    @property
    def shape(self) -> torch.Size:
        """Sizes of a value; -1 where a size is unknown."""
        return self._shape

    @property
    def device(self) -> torch.device:
        """Device of the values."""
        return self._device

    @property
    def dtype(self) -> Any:
        """Dtype of the values."""
        return self._dtype

    @property
    def has_dynamic_shape(self) -> bool:
        """Whether a size of the shape is unknown."""
        return self._sizes != self._shape

    def _replace(self, **attributes: Any) -> Self:
        leaf = object.__new__(type(self))
        leaf.__dict__.update(self.__dict__)
        leaf.__dict__.update(attributes, _locked=False, _holders=0, _holds=False)
        leaf._derive()
        return leaf

    def clone(self) -> Self:
        """Return an unlocked copy."""
        return self._replace()

    def to(self, *dest: Any) -> Self:
        """Return the spec on a device, with a dtype, or both: ``to("cuda")``, ``to(torch.float64)``."""
        device, dtype = self._device, self._dtype
        for target in dest:
            if isinstance(target, torch.dtype):
                dtype = target
            else:
                device = as_device(target)
        if device == self._device and dtype is self._dtype:
            return self
        params = {name: _move(getattr(self, name), device) for name in self._params}
        return self._replace(_device=device, _dtype=dtype, **self._cast(dtype, params))

    def _cast(self, dtype: Any, params: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters for another dtype."""
        return params

    def _reshaped(self, op: ShapeOp, what: str) -> Self:
        n = self._leading()
        lead = self._shape[:n]
        try:
            moved = op(probe(lead, self._device))
            shape = settle(lead, moved.shape, what)
            params = {name: self._follow(getattr(self, name), op, what, shape) for name in self._params}
        except RuntimeError as error:
            raise SpecError(
                f"cannot {what} a {type(self).__name__} of shape {describe_shape(self._shape)}"
            ) from error
        return self._replace(_shape=shape + self._shape[n:], **params)

    def _follow(self, param: Any, op: ShapeOp, what: str, shape: torch.Size) -> Any:
        if param is None:
            return None
        if isinstance(param, TensorSpec):
            return param._reshaped(op, what)
        n = self._leading()
        if -1 not in self._shape[:n]:
            return op(param)
        wide = param.expand(*(UNKNOWN if d < 0 else d for d in self._shape[:n]), *param.shape[n:])
        moved = op(wide)
        for dim, size in enumerate(shape):
            if size < 0:
                moved = moved.narrow(dim, 0, 1)
        return moved

    def _merged(self, specs: Sequence[Self], dim: int) -> Self:
        aligned = self._aligned(specs)
        first = aligned[0]
        for spec in aligned:
            if not first._resembles(spec):
                raise SpecError(
                    f"cannot stack specs of different kinds: expected one like {first}, found {spec}"
                )
        params = {}
        for name in first._params:
            values = [spec._filled(name) for spec in aligned]
            absent = all(getattr(spec, name) is None for spec in aligned)
            params[name] = None if absent else torch.stack(values, dim)
        shape = torch.Size((*first._shape[:dim], len(specs), *first._shape[dim:]))
        return first._replace(_shape=shape, **params)

    def _aligned(self, specs: Sequence[Self]) -> Sequence[Self]:
        """Give specs about to be stacked the same fields where the class can."""
        return specs

    def _filled(self, name: str) -> Any:
        """Return a parameter, or what its absence stands for."""
        return getattr(self, name)

    def _resembles(self, other: object) -> bool:
        """Whether ``other`` is equal except for parameters."""
        return (
            type(other) is type(self)
            and isinstance(other, Leaf)
            and self._shape == other._shape
            and self._dtype == other._dtype
            and self._device == other._device
            and all(_same(getattr(self, name), getattr(other, name)) for name in self._fields)
        )

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, TensorSpec):
            return NotImplemented
        return self._resembles(other) and all(
            _same(getattr(self, name), getattr(other, name)) for name in self._params
        )

    # A mask may change, so a leaf is not a dictionary key.
    __hash__ = None  # type: ignore[assignment]

    def __getstate__(self) -> dict[str, Any]:
        # Parents are not part of the copy, and so do not hold it.
        return {**self.__dict__, "_holders": 0}

    def _details(self) -> dict[str, Any]:
        """Return what the repr shows between the shape and the dtype."""
        return {}

    def __repr__(self) -> str:
        details = {
            "shape": describe_shape(self._shape),
            **self._details(),
            "dtype": self._dtype and describe_dtype(self._dtype),
        }
        if self._device.type != "cpu":
            details["device"] = self._device
        return f"{type(self).__name__}({', '.join(f'{k}={v}' for k, v in details.items() if v is not None)})"


class TensorLeaf(Leaf):
    """A leaf whose values are tensors.

    A subclass provides two functions, from which the checks follow: ``_sample`` draws members, ``_nearest``
    maps any tensor of the right shape to the closest member. A value is a member if it is its own nearest
    member.
    """

    @abc.abstractmethod
    def _sample(self, size: torch.Size, generator: torch.Generator | None) -> Tensor:
        """Draw members with the full shape ``size``."""

    @abc.abstractmethod
    def _nearest(self, value: Tensor) -> Tensor:
        """Return the members closest to ``value``, of any dtype, without touching it."""

    @abc.abstractmethod
    def _expected(self, index: tuple[int, ...]) -> str:
        """Describe the members at an index into :attr:`shape`, for error messages."""

    def _options(self) -> list[Sequence[int]]:
        """Return the possible numbers of each element in row-major order.

        Raises:
            SpecError: if they cannot be counted.
        """
        raise SpecError(f"{self}: expected finitely many members, found a continuum")

    @property
    def domain(self) -> str:
        """``"discrete"`` for integer and bool dtypes, else ``"continuous"``."""
        return "discrete" if is_integral(self._dtype) else "continuous"

    def rand(self, shape: int | Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        """Draw a random member of shape ``(*shape, *self.shape)``; an unknown size is 1."""
        return self._sample(full_size(shape, self._sizes), generator)

    def zero(self, shape: int | Sequence[int] = ()) -> Tensor:
        """Return zeros of shape ``(*shape, *self.shape)``, which need not lie in the spec."""
        return torch.zeros(full_size(shape, self._sizes), dtype=self._dtype, device=self._device)

    def one(self, shape: int | Sequence[int] = ()) -> Tensor:
        """Return ones of shape ``(*shape, *self.shape)``, which need not lie in the spec."""
        return torch.ones(full_size(shape, self._sizes), dtype=self._dtype, device=self._device)

    def is_in(self, value: Any) -> bool:
        """Whether a tensor has this dtype, ends with this shape, and all its elements lie in the box."""
        return (
            isinstance(value, Tensor)
            and value.dtype is self._dtype
            and matches(value.shape, self._shape)
            and self._contains(value)
        )

    def _contains(self, value: Tensor) -> bool:
        value = value.detach().to(self._device)
        return torch.equal(widen(self._nearest(value)), widen(value))

    def violations(self, value: Any) -> list[Violation]:
        """Return why ``value`` is not in the spec: its type, shape, dtype or first bad element."""
        if not isinstance(value, Tensor):
            return [
                Violation((), f"a tensor of shape {describe_shape(self._shape)}", _describe_object(value))
            ]
        if value.dtype is not self._dtype or not matches(value.shape, self._shape):
            expected = f"{describe_dtype(self._dtype)} of shape {describe_shape(self._shape)}"
            return [
                Violation(
                    (), expected, f"{describe_dtype(value.dtype)} of shape {describe_shape(value.shape)}"
                )
            ]
        if self._contains(value):
            return []
        value = value.detach().to(self._device)
        wrong = widen(self._nearest(value)) != widen(value)
        if self._event_dims:
            wrong = wrong.any(-1)
        places = wrong.nonzero().tolist()
        first = tuple(places[0])
        found = f"{value[first].tolist()}" + (f" at index {list(first)}" if first else "")
        if len(places) > 1:
            found += f" ({len(places)} wrong elements in all)"
        extra = value.ndim - len(self._shape)
        return [Violation((), self._expected(first[extra:]), found)]

    def type_check(self, value: Any, key: Any = None) -> None:
        """Check the dtype only.

        Raises:
            SpecError: if it differs; the message names ``key``.
        """
        found = describe_dtype(value.dtype) if isinstance(value, Tensor) else _describe_object(value)
        if not isinstance(value, Tensor) or value.dtype is not self._dtype:
            raise SpecError(f"{_named(key)}: expected dtype {describe_dtype(self._dtype)}, found {found}")

    def project(self, value: Tensor) -> Tensor:
        """Return the closest member, as a fresh tensor on the device of ``value``."""
        if not isinstance(value, Tensor) or not matches(value.shape, self._shape):
            found = describe_shape(value.shape) if isinstance(value, Tensor) else _describe_object(value)
            raise SpecError(f"cannot project: expected shape {describe_shape(self._shape)}, found {found}")
        nearest = self._nearest(value.to(self._device)).to(value.device)
        return nearest.clone() if nearest is value else nearest

    def encode(self, value: Any) -> Tensor:
        """Turn a number, list, array or tensor into a tensor of this dtype, shape and device.

        Dimensions of size 1 may be added or dropped. Bounds are not checked; :meth:`is_in` does that.
        A tensor that already conforms is returned as it is, anything else is copied.

        Raises:
            SpecError: if a fraction, an overflow or a different size stands in the way.
        """
        return fit_shape(cast_exact(as_tensor(value), self._dtype, self._device), self._shape)

    def to_numpy(self, value: Tensor) -> Any:
        """Copy a member to a numpy array."""
        return to_array(value)

    def cardinality(self) -> int:
        """Number of distinct members.

        Raises:
            SpecError: if there are infinitely many.
        """
        return math.prod(_count(options) for options in self._options())

    def enumerate(self) -> Tensor:
        """Return all members, stacked along a leading dimension.

        Raises:
            SpecError: if there are more than ten million.
        """
        count = self.cardinality()
        if count > _MAX_ENUMERATION or self.has_dynamic_shape:
            raise SpecError(
                f"{self}: expected a fixed shape and at most {_MAX_ENUMERATION} members, found {count}"
            )
        return self._from_options(list(itertools.product(*self._options())))

    def _from_options(self, members: list[tuple[int, ...]]) -> Tensor:
        """Build members from one option for each element."""
        return torch.tensor(members, dtype=self._dtype, device=self._device).reshape(
            len(members), *self._shape
        )


def _count(options: Sequence[int]) -> int:
    # len() of a range stops at sys.maxsize, which the integers of an int64 exceed.
    return options.stop - options.start if isinstance(options, range) else len(options)


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.equal(first, second)
    if isinstance(first, np.ndarray):
        return np.array_equal(first, second)
    return type(first) is type(second) and bool(first == second)


def _move(param: Any, device: torch.device) -> Any:
    if isinstance(param, Tensor):
        return compact(param).to(device).expand(param.shape)
    return None if param is None else param.to(device)


def _describe_object(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"a numpy array of shape {describe_shape(value.shape)}"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def _named(key: Any) -> str:
    return "value" if key is None else repr(key)
