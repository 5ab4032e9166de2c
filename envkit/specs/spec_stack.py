"""What the stacks of unequal leaves and of unequal Composites share: all is left to the elements."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from tensordict import TensorDictBase, is_non_tensor
from torch import Tensor

from envkit.errors import SpecError
from envkit.specs.base import TensorSpec, Violation
from envkit.specs.convert import describe_dtype
from envkit.specs.elements import call_each, moved, parted
from envkit.specs.product import product_rows
from envkit.specs.shapes import ShapeOp, describe_shape

if TYPE_CHECKING:
    from typing import Self

__all__ = ["SpecStack"]


class SpecStack(TensorSpec):
    """Specs along a dimension that stay what they are.

    A subclass says what form its values have, and how they are put together.
    """

    _elements: Sequence[Any]
    _stack_dim: int

    def __init__(self, *specs: Any, dim: int = 0) -> None:
        if not specs:
            raise SpecError("specs: expected at least one, found none")
        for spec in specs:
            self._check_element(specs[0], spec)
            # One position for all, as they have as many dimensions; but any of them may refuse it.
            self._stack_dim = spec._dim(dim, extra=1)
        # Copies: the mask of a leaf, or the entries of a Composite, may change later.
        self._elements = [spec.clone() for spec in specs]
        self._locked = False
        self._holders = 0
        self._holds = False

    @abc.abstractmethod
    def _check_element(self, first: Any, spec: Any) -> None:
        """Raise a SpecError if ``spec`` cannot be in one stack with ``first``."""

    @abc.abstractmethod
    def _form(self) -> str:
        """Describe the form of a value, for error messages."""

    @abc.abstractmethod
    def _takes(self, value: Any) -> bool:
        """Whether a value of this type can be taken apart."""

    @abc.abstractmethod
    def _join(self, values: Sequence[Any]) -> Any:
        """Make one value of those of the elements."""

    @property
    def stack_dim(self) -> int:
        """The dimension along which the elements lie."""
        return self._stack_dim

    def _split(self, value: Any) -> list[Any] | None:
        """Return the values of the elements, or None if ``value`` has another form."""
        if not self._takes(value):
            return None
        return parted(value, self._stack_dim, len(self.shape), len(self._elements))

    def _position(self, part: Any) -> int:
        """Return the dimension along which ``part``, the value of an element, is stacked with the others."""
        return part.ndim + 1 - len(self.shape) + self._stack_dim

    def _must_split(self, value: Any, what: str) -> list[Any]:
        parts = self._split(value)
        if parts is None:
            raise SpecError(f"cannot {what}: expected {self._form()}, found {_describe(value)}")
        return parts

    # ------------------------------------------------------------------ values

    def rand(self, shape: int | Sequence[int] = (), generator: Any = None) -> Any:
        """Draw a random member of each element, each with the leading sizes ``shape``."""
        return self._join([element.rand(shape, generator) for element in self._elements])

    def zero(self, shape: int | Sequence[int] = ()) -> Any:
        """Return zeros, which need not lie in the spec."""
        return self._join([element.zero(shape) for element in self._elements])

    def one(self, shape: int | Sequence[int] = ()) -> Any:
        """Return ones, which need not lie in the spec."""
        return self._join([element.one(shape) for element in self._elements])

    def is_in(self, value: Any) -> bool:
        """Whether the part of each element lies in it."""
        parts = self._split(value)
        return parts is not None and all(e.is_in(part) for e, part in zip(self._elements, parts, strict=True))

    def violations(self, value: Any) -> list[Violation]:
        """Return the violations of all elements; what is found says in which."""
        parts = self._split(value)
        if parts is None:
            return [Violation((), self._form(), _describe(value))]
        return [
            Violation(v.key, v.expected, f"{v.found} in element {i}")
            for i, (element, part) in enumerate(zip(self._elements, parts, strict=True))
            for v in element.violations(part)
        ]

    def type_check(self, value: Any, key: Any = None) -> None:
        """Check dtypes only.

        Raises:
            SpecError: if one differs, or there is no part for each element; the message names ``key``.
        """
        parts = self._must_split(value, "check dtypes" if key is None else f"check dtypes of {key!r}")
        for element, part in zip(self._elements, parts, strict=True):
            element.type_check(part, key)

    def project(self, value: Any) -> Any:
        """Return the closest member: of each element, the one closest to its part.

        Raises:
            SpecError: if a shape is wrong or an entry missing; the message names the element.
        """
        parts = self._must_split(value, "project")
        return self._join(call_each([element.project for element in self._elements], parts))

    def encode(self, value: Any) -> Any:
        """Encode the part of each element: of a tensor or array along the stack dimension, of a list item by item.

        Raises:
            SpecError: if there is no part for each element, or one cannot be encoded; the message names it.
        """
        dim, count = self._stack_dim, len(self._elements)
        parts: list[Any] | None = None
        if isinstance(value, (np.ndarray, Tensor)):
            # From the left: the parts of a one-hot element may be category numbers, which have fewer dimensions.
            if value.ndim > dim and value.shape[dim] == count:
                parts = list(np.moveaxis(value, dim, 0) if isinstance(value, np.ndarray) else value.unbind(dim))
        else:
            parts = parted(value, dim, len(self.shape), count)
        if parts is None:
            raise SpecError(f"expected {count} values along dim {dim}, found {_describe(value)}")
        return self._join(call_each([element.encode for element in self._elements], parts))

    def to_numpy(self, value: Any) -> tuple[Any, ...]:
        """Return a tuple with the numpy value of each element; the inverse of :meth:`encode`."""
        parts = self._must_split(value, "convert to numpy")
        return tuple(call_each([element.to_numpy for element in self._elements], parts))

    def cardinality(self) -> int:
        """Number of distinct members, the product over the elements.

        Raises:
            SpecError: if an element has none; the message names it.
        """
        return math.prod(call_each([element.cardinality for element in self._elements]))

    def enumerate(self) -> Any:
        """Return all members, stacked along a leading dimension, the last element varying fastest.

        Raises:
            SpecError: if there are infinitely many, or more than ten million.
        """
        rows = product_rows(call_each([element.cardinality for element in self._elements]), self.device)
        members = call_each([element.enumerate for element in self._elements])
        return self._join([_rows(part, row) for part, row in zip(members, rows, strict=True)])

    # ------------------------------------------------------------------ copies

    def to(self, *dest: Any) -> Self:
        """Return the spec on a device; leaves also with a dtype."""
        elements = [element.to(*dest) for element in self._elements]
        same = all(new is old for new, old in zip(elements, self._elements, strict=True))
        return self if same else type(self)(*elements, dim=self._stack_dim)

    def clone(self, recurse: bool = True) -> Self:
        """Return an unlocked copy; the elements are never shared."""
        return type(self)(*self._elements, dim=self._stack_dim)

    def _reshaped(self, op: ShapeOp, what: str) -> Any:
        return moved(self._elements, self._stack_dim, op, what)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TensorSpec):
            return NotImplemented
        return (
            isinstance(other, SpecStack)
            and self._stack_dim == other._stack_dim
            and len(self._elements) == len(other._elements)
            and all(mine == theirs for mine, theirs in zip(self._elements, other._elements, strict=True))
        )

    __hash__ = None  # type: ignore[assignment]

    def _shown(self, lines: Sequence[str], **details: Any) -> str:
        body = "".join("    " + line.replace("\n", "\n    ") + ",\n" for line in lines)
        details = {"shape": describe_shape(self.shape), "stack_dim": self._stack_dim, **details}
        tail = ", ".join(f"{name}={value}" for name, value in details.items() if value is not None)
        return f"{type(self).__name__}(\n{body}    {tail})"


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{describe_dtype(value.dtype)} of shape {describe_shape(value.shape)}"
    if isinstance(value, (TensorDictBase, np.ndarray)) or is_non_tensor(value):
        return f"a {type(value).__name__} of shape {describe_shape(value.shape)}"
    if isinstance(value, (list, tuple)):
        return f"a {type(value).__name__} of length {len(value)}"
    return f"a {type(value).__name__}"


def _rows(members: Any, rows: Tensor) -> Any:
    return [_rows(part, rows) for part in members] if isinstance(members, list) else members[rows]
