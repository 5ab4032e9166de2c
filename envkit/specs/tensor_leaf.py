"""Leaves whose values are tensors: how values are made, checked and converted."""

from __future__ import annotations

import abc
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from envkit.errors import SpecError
from envkit.specs.base import Violation
from envkit.specs.convert import as_tensor, cast_exact, describe_dtype, fit_shape, to_array
from envkit.specs.leaf import Leaf
from envkit.specs.numeric import is_integral, widen
from envkit.specs.product import MAX_ENUMERATION
from envkit.specs.shapes import describe_shape, full_size, matches

__all__ = ["TensorLeaf"]


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
            return [Violation((), f"a tensor of shape {describe_shape(self._shape)}", _describe_object(value))]
        if value.dtype is not self._dtype or not matches(value.shape, self._shape):
            expected = f"{describe_dtype(self._dtype)} of shape {describe_shape(self._shape)}"
            return [Violation((), expected, f"{describe_dtype(value.dtype)} of shape {describe_shape(value.shape)}")]
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
        if count > MAX_ENUMERATION or self.has_dynamic_shape:
            raise SpecError(f"{self}: expected a fixed shape and at most {MAX_ENUMERATION} members, found {count}")
        return self._from_options(list(itertools.product(*self._options())))

    def _from_options(self, members: list[tuple[int, ...]]) -> Tensor:
        """Build members from one option for each element."""
        return torch.tensor(members, dtype=self._dtype, device=self._device).reshape(len(members), *self._shape)


def _count(options: Sequence[int]) -> int:
    # len() of a range stops at sys.maxsize, which the integers of an int64 exceed.
    return options.stop - options.start if isinstance(options, range) else len(options)


def _describe_object(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"a numpy array of shape {describe_shape(value.shape)}"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def _named(key: Any) -> str:
    return "value" if key is None else repr(key)
