"""A choice among leaves."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from tensordict import is_non_tensor
from torch import Tensor

from envkit.errors import SpecError
from envkit.specs.base import TensorSpec, Violation
from envkit.specs.convert import describe_dtype
from envkit.specs.elements import joined
from envkit.specs.leaf import Leaf, same
from envkit.specs.nontensor import NonTensor
from envkit.specs.numeric import widen
from envkit.specs.product import MAX_ENUMERATION
from envkit.specs.shapes import describe_shape, full_size, matches

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Choice"]


class Choice(Leaf):
    """Values that lie in one of several leaves, or are one of several objects.

    Args:
        choices: leaves of one class, shape, dtype and device; or objects that are no tensors, bare or wrapped in
            ``NonTensorData``.

    A choice is made for a value as a whole: the dimensions of an option cannot be indexed. Leading dimensions come
    from :meth:`expand` (or a ``shape`` given to :meth:`rand`), and each element of them chooses on its own.

    :meth:`zero` and :meth:`one` are those of the first option, :meth:`project` takes the option whose closest
    member is closest (the first of several), :meth:`encode` and :meth:`to_numpy` the first option that fits.

    Raises:
        SpecError: if there is no option, or two differ in class, shape, dtype or device.

    >>> from envkit.specs import Bounded
    >>> spec = Choice([Bounded(0, 1, (2,)), Bounded(8, 9, (2,))])
    >>> spec.is_in(torch.tensor([0.5, 0.5])), spec.is_in(torch.tensor([0.5, 8.5]))
    (True, False)
    >>> spec.project(torch.tensor([3.0, 7.0]))
    tensor([8., 8.])
    >>> Choice(["left", "right"]).is_in("up")
    False
    """

    _fields: ClassVar[tuple[str, ...]] = ("_choices", "_objects")

    def __init__(self, choices: Sequence[Any]) -> None:
        options = list(choices)
        if not options:
            raise SpecError("choices: expected at least one option, found none")
        # An object is described by a spec that has it as its example, and compared with that.
        self._objects = not any(isinstance(option, (TensorSpec, Tensor)) for option in options)
        if self._objects:
            options = [NonTensor((), example_data=_bare(option)) for option in options]
        first = options[0]
        for option in options:
            if not isinstance(option, Leaf):
                found = "a Tensor" if isinstance(option, Tensor) else str(option)
                raise SpecError(f"choices: expected leaves, or objects that are no tensors, found {found}")
            for name, mine, other in (
                ("class", type(first), type(option)),
                ("shape", first.shape, option.shape),
                ("dtype", first.dtype, option.dtype),
                ("device", first.device, option.device),
            ):
                if mine != other:
                    raise SpecError(f"choices: expected the {name} of {first}, found {option}")
        super().__init__(first.shape, first.dtype, first.device)
        self._choices: tuple[Leaf, ...] = tuple(option.clone().lock_() for option in options)
        self._derive()

    @property
    def choices(self) -> tuple[Any, ...]:
        """The options, locked; objects stand in a :class:`NonTensor`, as its example."""
        return self._choices

    @property
    def domain(self) -> str | None:
        """The domain of the options."""
        return self._choices[0].domain

    @property
    def space(self) -> None:
        """None: the options have their own."""
        return None

    def _leading(self) -> int:
        return len(self._shape) - len(self._choices[0].shape)

    def _fits(self, option: Any, value: Any) -> bool:
        if not self._objects or not option.is_in(value):
            return option.is_in(value)
        return same(_bare(value), option.example_data)

    def _option(self, value: Any) -> Any:
        """Return the first option in which one element lies, or None."""
        return next((option for option in self._choices if self._fits(option, value)), None)

    def _depth(self, value: Any) -> int | None:
        """Return how many leading dimensions ``value`` has in front of an option; None if its shape is wrong."""
        if not isinstance(value, Tensor) and not is_non_tensor(value):
            # A bare object stands for itself.
            return 0 if self._dtype is None and not self._leading() else None
        return value.ndim - len(self._choices[0].shape) if matches(value.shape, self._shape) else None

    def _must_depth(self, value: Any) -> int:
        depth = self._depth(value)
        if depth is None:
            raise SpecError(f"expected shape {describe_shape(self._shape)}, found {_describe(value)}")
        return depth

    def _lead(self, shape: int | Sequence[int] = ()) -> torch.Size:
        return full_size(shape, self._sizes[: self._leading()])

    def rand(self, shape: int | Sequence[int] = (), generator: torch.Generator | None = None) -> Any:
        """Choose an option for each element of the leading dimensions and draw from it."""
        lead = self._lead(shape)
        device = None if generator is None else generator.device
        picks = torch.randint(len(self._choices), lead, generator=generator, device=device)
        if not picks.numel():
            return self.zero(shape)
        return _join(_each(picks, len(lead), lambda pick: self._choices[int(pick)].rand((), generator)))

    def zero(self, shape: int | Sequence[int] = ()) -> Any:
        """Return zeros, which need not lie in the spec, or the first object."""
        return self._choices[0].zero(self._lead(shape))

    def one(self, shape: int | Sequence[int] = ()) -> Any:
        """Return ones, which need not lie in the spec, or the first object."""
        return self._choices[0].one(self._lead(shape))

    def is_in(self, value: Any) -> bool:
        """Whether each element of the leading dimensions lies in one option."""
        depth = self._depth(value)
        return depth is not None and all(_flat(_each(value, depth, lambda v: self._option(v) is not None), depth))

    def violations(self, value: Any) -> list[Violation]:
        """Return one violation if ``value`` is not in the spec."""
        depth = self._depth(value)
        expected = f"one of {self._listed()}"
        if depth is None:
            return [Violation((), f"{expected}, of shape {describe_shape(self._shape)}", _describe(value))]
        wrong = [v for v in _flat(_each(value, depth, lambda v: v), depth) if self._option(v) is None]
        if not wrong:
            return []
        count = f" ({len(wrong)} wrong elements in all)" if len(wrong) > 1 else ""
        return [Violation((), expected, _describe(wrong[0]) + count)]

    def type_check(self, value: Any, key: Any = None) -> None:
        """Check the dtype only.

        Raises:
            SpecError: if it differs; the message names ``key``.
        """
        self._choices[0].type_check(value, key)

    def project(self, value: Any) -> Any:
        """Return the closest member of the closest option.

        Raises:
            SpecError: if the shape is wrong, or ``value`` an object that is no option: none is closest to it.
        """
        if self._dtype is None:
            self.assert_is_in(value)
            return value
        depth = self._must_depth(value)
        return _join(_each(value, depth, self._closest)) if value.numel() else value.to(self._dtype)

    def _closest(self, value: Tensor) -> Tensor:
        members = [option.project(value) for option in self._choices]
        target = widen(value.detach()).to(torch.complex128)
        distances = [(widen(member).to(target) - target).abs().nan_to_num(0.0).sum() for member in members]
        return members[int(torch.stack(distances).argmin())]

    def encode(self, value: Any) -> Any:
        """Encode as the first option that can hold the value does, for each element of the leading dimensions.

        Raises:
            SpecError: if no option can.
        """
        sizes = self._lead()

        def encoded(value: Any, depth: int) -> Any:
            if depth == len(sizes):
                return self._encode_one(value)
            # A tensor without dimensions has a length that raises.
            scalar = isinstance(value, (Tensor, np.ndarray)) and not value.ndim
            if scalar or isinstance(value, str) or not hasattr(value, "__len__") or len(value) != sizes[depth]:
                raise SpecError(f"expected {sizes[depth]} values in dim {depth}, found {_describe(value)}")
            return [encoded(item, depth + 1) for item in value]

        return _join(encoded(value, 0)) if sizes.numel() else self.zero()

    def _encode_one(self, value: Any) -> Any:
        for option in self._choices:
            try:
                encoded = option.encode(value)
            except SpecError:
                continue
            if self._fits(option, encoded):
                return encoded
        raise SpecError(f"expected one of {self._listed()}, found {_describe(value)}")

    def to_numpy(self, value: Any) -> Any:
        """Turn a member into numpy as its option does; leading dimensions give an array, of objects a list.

        Raises:
            SpecError: if ``value`` is not in the spec.
        """
        self.assert_is_in(value)
        depth = self._must_depth(value)
        if self._dtype is not None and not value.numel():
            return self._choices[0].to_numpy(value)
        items = _each(value, depth, lambda v: self._option(v).to_numpy(v))
        return np.array(items) if depth and self._dtype is not None else items

    def _members(self) -> list[Any]:
        if self._objects:
            objects = [option.zero() for option in self._choices]
            # Unhashable ones too, so by comparison.
            return [value for i, value in enumerate(objects) if self._option(value) is self._choices[i]]
        if sum(option.cardinality() for option in self._choices) > MAX_ENUMERATION:
            raise SpecError(f"{self}: expected at most {MAX_ENUMERATION} members, found more")
        members = [member for option in self._choices for member in option.enumerate().unbind(0)]
        return list({tuple(member.flatten().tolist()): member for member in members}.values())

    def cardinality(self) -> int:
        """Number of distinct members.

        Raises:
            SpecError: if there are infinitely, or too, many.
        """
        return len(self._members()) ** self._lead().numel()

    def enumerate(self) -> Any:
        """Return all distinct members, stacked along a leading dimension, those of the first option first.

        Raises:
            SpecError: if there are infinitely, or too, many, or a size is unknown.
        """
        members, lead = self._members(), self._lead()
        count = len(members) ** lead.numel()
        if count > MAX_ENUMERATION or self.has_dynamic_shape:
            raise SpecError(f"{self}: expected a fixed shape and at most {MAX_ENUMERATION} members, found {count}")
        rows = itertools.product(range(len(members)), repeat=lead.numel())
        picks = torch.tensor(list(rows)).reshape(count, *lead)
        return _join(_each(picks, picks.ndim, lambda pick: members[int(pick)]))

    def to(self, *dest: Any) -> Self:
        """Return the spec on a device, with a dtype, or both."""
        choices = tuple(option.to(*dest) for option in self._choices)
        if all(new is old for new, old in zip(choices, self._choices, strict=True)):
            return self
        first = choices[0]
        return self._replace(
            _choices=tuple(c.clone().lock_() for c in choices), _dtype=first.dtype, _device=first.device
        )

    def _listed(self) -> str:
        options: Sequence[Any] = self._choices
        return "[" + ", ".join(repr(o.example_data) if self._objects else str(o) for o in options) + "]"

    def _details(self) -> dict[str, Any]:
        return {"choices": self._listed()}


def _bare(value: Any) -> Any:
    return value.tolist() if is_non_tensor(value) else value


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        shown = f" {value.tolist()}" if value.numel() <= 8 else ""
        return f"{describe_dtype(value.dtype)}{shown} of shape {describe_shape(value.shape)}"
    text = repr(_bare(value))
    return text if len(text) <= 60 else text[:57] + "..."


def _each(value: Any, depth: int, function: Callable[[Any], Any]) -> Any:
    """Apply a function to the elements of the first ``depth`` dimensions; the results stand in nested lists."""
    return [_each(part, depth - 1, function) for part in value.unbind(0)] if depth else function(value)


def _flat(nested: Any, depth: int) -> list[Any]:
    return [item for part in nested for item in _flat(part, depth - 1)] if depth else [nested]


def _join(nested: Any) -> Any:
    """Stack what nested lists hold."""
    return joined([_join(part) for part in nested], 0) if isinstance(nested, list) else nested
