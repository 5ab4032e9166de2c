"""Entries that are no tensors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from tensordict import NonTensorData, NonTensorStack, is_non_tensor
from torch import Tensor

from envkit.errors import SpecError
from envkit.specs.base import Violation
from envkit.specs.boxes import TextBox
from envkit.specs.leaf import Leaf
from envkit.specs.shapes import as_size, describe_shape, full_size, matches

__all__ = ["NonTensor"]


class NonTensor(Leaf):
    """Python objects, such as strings, one for each element of ``shape``.

    Args:
        shape: shape of a value.
        device: device reported to the surrounding Composite.
        example_data: what :meth:`rand`, :meth:`zero` and :meth:`one` return.
        space: restricts the objects to the strings of a :class:`TextBox`; None allows all objects but
            tensors.

    Values are ``tensordict.NonTensorData`` (or ``NonTensorStack``), as entries of a TensorDict are. A bare
    object is accepted in their place.

    >>> spec = NonTensor(shape=(), example_data="go north")
    >>> spec.rand().data, spec.is_in("go south"), spec.is_in(torch.zeros(()))
    ('go north', True, False)
    """

    _fields: ClassVar[tuple[str, ...]] = ("_example_data", "_space")

    def __init__(
        self,
        shape: int | Iterable[int] = (1,),
        device: torch.device | str | int | None = None,
        dtype: None = None,
        example_data: Any = None,
        space: TextBox | None = None,
    ) -> None:
        if dtype is not None:
            raise SpecError(f"dtype: expected None for objects that are no tensors, found {dtype}")
        super().__init__(as_size(shape), None, device)
        self._example_data = example_data
        self._space = space
        self._derive()

    @property
    def example_data(self) -> Any:
        """What :meth:`zero` returns."""
        return self._example_data

    @property
    def space(self) -> TextBox | None:
        """The admissible strings, or None if all objects are admissible."""
        return self._space

    @property
    def domain(self) -> None:
        """None: neither continuous nor discrete."""
        return None

    def _wrap(self, shape: int | Sequence[int], data: Any) -> Any:
        size = full_size(shape, self._sizes)
        return NonTensorData(data, batch_size=size, device=self._device)

    def rand(self, shape: int | Sequence[int] = (), generator: torch.Generator | None = None) -> Any:
        """Draw random strings if there is a text box, else return the example."""
        if self._space is None:
            return self._wrap(shape, self._example_data)
        box, size = self._space, full_size(shape, self._sizes)
        return _nest(size, lambda: box.sample(generator)) if size.numel() else self.zero(shape)

    def zero(self, shape: int | Sequence[int] = ()) -> Any:
        """Return the example for each element of ``(*shape, *self.shape)``."""
        return self._wrap(shape, self._example_data)

    def one(self, shape: int | Sequence[int] = ()) -> Any:
        """Return the example for each element of ``(*shape, *self.shape)``."""
        return self._wrap(shape, self._example_data)

    def is_in(self, value: Any) -> bool:
        """Whether ``value`` holds admissible objects and, if it has a batch size, ends with this shape."""
        return not self.violations(value)

    def violations(self, value: Any) -> list[Violation]:
        """Return why ``value`` is not in the spec."""
        objects = [value]
        if is_non_tensor(value):
            if not matches(value.batch_size, self._shape):
                expected = f"objects of shape {describe_shape(self._shape)}"
                return [Violation((), expected, f"shape {describe_shape(value.batch_size)}")]
            objects = _flatten(value.tolist(), value.batch_dims) if value.numel() else []
        if any(isinstance(item, Tensor) for item in objects):
            return [Violation((), "an object that is no tensor", "a Tensor")]
        if self._space is not None:
            wrong = [item for item in objects if not self._space.contains(item)]
            if wrong:
                return [Violation((), f"a string in {self._space}", repr(wrong[0]))]
        return []

    def type_check(self, value: Any, key: Any = None) -> None:
        """Check that ``value`` is no tensor.

        Raises:
            SpecError: if it is one; the message names ``key``.
        """
        if isinstance(value, Tensor):
            name = "value" if key is None else repr(key)
            raise SpecError(f"{name}: expected an object that is no tensor, found a Tensor of {value.dtype}")

    def project(self, value: Any) -> Any:
        """Return ``value``.

        Raises:
            SpecError: if it is not in the spec; there is no notion of a closest object.
        """
        self.assert_is_in(value)
        return value

    def encode(self, value: Any) -> Any:
        """Wrap an object for each element of the shape; wrapped objects are returned as they are.

        Raises:
            SpecError: if ``value`` is a tensor.
        """
        if isinstance(value, Tensor):
            raise SpecError(f"expected an object that is no tensor, found a Tensor of {value.dtype}")
        return value if is_non_tensor(value) else self._wrap((), value)

    def to_numpy(self, value: Any) -> Any:
        """Return the bare objects: one, or a nested list of them."""
        if isinstance(value, NonTensorStack):
            return value.tolist()
        return value.data if is_non_tensor(value) else value

    def cardinality(self) -> int:
        """Refuse, as objects cannot be counted.

        Raises:
            SpecError: always.
        """
        raise SpecError(f"{self}: expected finitely many members, found arbitrary objects")

    def enumerate(self) -> Any:
        """Refuse, as objects cannot be counted.

        Raises:
            SpecError: always.
        """
        return self.cardinality()

    def to(self, *dest: Any) -> NonTensor:
        """Return the spec on another device.

        Raises:
            SpecError: if ``dest`` is a dtype.
        """
        for target in dest:
            if isinstance(target, torch.dtype):
                raise SpecError(f"dtype: expected a device for {self}, found {target}")
        return super().to(*dest)

    def _details(self) -> dict[str, Any]:
        example = None if self._example_data is None else repr(self._example_data)
        return {"example_data": example, "space": self._space}


def _nest(size: torch.Size, make: Any) -> Any:
    if not size:
        return NonTensorData(make(), batch_size=())
    return NonTensorStack(*(_nest(size[1:], make) for _ in range(size[0])))


def _flatten(values: Any, depth: int) -> list[Any]:
    for _ in range(depth - 1):
        values = [item for group in values for item in group]
    return values if depth else [values]
