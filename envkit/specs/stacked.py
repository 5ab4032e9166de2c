"""The stack of unequal leaves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from envkit.errors import SpecError
from envkit.specs.base import TensorSpec
from envkit.specs.composite import Composite
from envkit.specs.convert import describe_dtype
from envkit.specs.elements import joined
from envkit.specs.shapes import describe_shape
from envkit.specs.spec_stack import SpecStack

__all__ = ["Stacked"]


class Stacked(SpecStack):
    """A stack of leaves that a single leaf cannot describe, as ``torch.stack`` returns it.

    Args:
        *specs: the leaves, at least one, of one dtype, device and number of dimensions.
        dim: where the stack dimension is, among the leading dimensions.

    A size in which the leaves differ reads as -1. Where they have one shape, a value is a tensor (or a
    ``NonTensorStack``) like any other. Where they do not, no tensor can hold a value: it is a list with the value
    of each leaf, which is what ``get(key, as_list=True)`` of a ``LazyStackedTensorDict`` returns. A Composite
    refuses such an entry; a :class:`StackedComposite` has it.

    Every method does to each element what the element's own method does. Indexing gives elements, or stacks of
    fewer; :meth:`to_numpy` gives a tuple with one item for each element.

    Raises:
        SpecError: if the leaves differ in dtype, device or number of dimensions; the message shows two of them.

    >>> from envkit.specs import Bounded, Unbounded
    >>> spec = torch.stack([Unbounded((2,)), Bounded(0, 1, (2,))])
    >>> spec.shape, spec[1]
    (torch.Size([2, 2]), Bounded(shape=[2], low=0.0, high=1.0, dtype=float32))
    >>> spec.project(torch.full((2, 2), 9.0)).tolist()
    [[9.0, 9.0], [1.0, 1.0]]
    >>> ragged = torch.stack([Unbounded((2,)), Unbounded((3,))])
    >>> ragged.shape, [value.shape for value in ragged.rand((5,))]
    (torch.Size([2, -1]), [torch.Size([5, 2]), torch.Size([5, 3])])
    """

    def __init__(self, *specs: TensorSpec, dim: int = 0) -> None:
        super().__init__(*specs, dim=dim)
        shapes = [spec.shape for spec in specs]
        sizes = [column[0] if len(set(column)) == 1 else -1 for column in zip(*shapes, strict=True)]
        sizes.insert(self._stack_dim, len(specs))
        self._shape = torch.Size(sizes)
        self._listed = len(set(shapes)) > 1 or any(spec._ragged for spec in specs)

    def _check_element(self, first: TensorSpec, spec: TensorSpec) -> None:
        if isinstance(spec, Composite):
            raise SpecError(f"cannot stack specs of different kinds: expected a leaf, found {spec}")
        for name, expected, found in (
            ("dtype", first.dtype, spec.dtype),
            ("device", first.device, spec.device),
            ("number of dimensions", len(first.shape), len(spec.shape)),
        ):
            if expected != found:
                raise SpecError(f"cannot stack specs of different kinds: expected the {name} of {first}, found {spec}")

    def _children(self) -> Iterable[TensorSpec]:
        # The elements are only handed out as copies, so that nothing of them can change.
        return ()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_holders": 0}

    @property
    def _ragged(self) -> bool:
        return self._listed

    @property
    def shape(self) -> torch.Size:
        """Sizes of a value; -1 where a size is unknown, or differs between elements."""
        return self._shape

    @property
    def device(self) -> torch.device | None:
        """Device of the values."""
        return self._elements[0].device

    @property
    def dtype(self) -> torch.dtype | None:
        """Dtype of the values."""
        return self._elements[0].dtype

    @property
    def domain(self) -> str | None:
        """The domain that all elements have, or None."""
        domains = {element.domain for element in self._elements}
        return domains.pop() if len(domains) == 1 else None

    @property
    def space(self) -> None:
        """None: the elements have their own."""
        return None

    @property
    def has_dynamic_shape(self) -> bool:
        """Whether a size is unknown, or differs between elements."""
        return self._ragged or any(element.has_dynamic_shape for element in self._elements)

    def _leading(self) -> int:
        return min(element._leading() for element in self._elements) + 1

    def _merged(self, specs: Sequence[Any], dim: int) -> None:
        return None

    def _takes(self, value: Any) -> bool:
        return self._ragged or not isinstance(value, (list, tuple))

    def _join(self, values: Sequence[Any]) -> Any:
        return list(values) if self._ragged else joined(values, self._position(values[0]))

    def _form(self) -> str:
        if self._ragged:
            shapes = ", ".join(describe_shape(element.shape) for element in self._elements)
            return f"a list of {len(self._elements)} values, of shapes {shapes}"
        what = "objects" if self.dtype is None else describe_dtype(self.dtype)
        return f"{what} of shape {describe_shape(self._shape)}"

    def __repr__(self) -> str:
        return self._shown([str(element) for element in self._elements])
