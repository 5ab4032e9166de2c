"""The stack of unequal Composites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from tensordict import TensorDictBase

from envkit.errors import SpecError
from envkit.specs.base import TensorSpec
from envkit.specs.composite import Composite, fitted
from envkit.specs.elements import call_each, joined
from envkit.specs.keys import EntryError, Key, below, named_call, split_key
from envkit.specs.shapes import describe_shape
from envkit.specs.spec_stack import SpecStack

if TYPE_CHECKING:
    from typing import Self

__all__ = ["StackedComposite"]


class StackedComposite(SpecStack, Composite):
    """A stack of Composites that a single Composite cannot describe, as ``torch.stack`` returns it.

    Args:
        *specs: the Composites, at least one, of one shape and device.
        dim: where the stack dimension is.

    Its values are ``LazyStackedTensorDict`` with the elements along the same dimension. As there, :meth:`keys`
    are the keys that all elements have; those of some elements only (:meth:`exclusive_keys`) are reached by
    indexing the stack first. An entry read from here is the ``torch.stack`` of the elements' entries and locked:
    what is set goes through the stack, ``stacked.set(("agent", "x"), spec)``, to all elements.

    Raises:
        SpecError: if the Composites differ in shape or device, or entries of the same name in dtype or number of
            dimensions; the message names the entry.

    >>> from envkit.specs import Categorical, Unbounded
    >>> walker = Composite(position=Unbounded((2,)), arm=Categorical(3))
    >>> flyer = Composite(position=Unbounded((3,)))
    >>> spec = torch.stack([walker, flyer])
    >>> list(spec), spec["position"].shape, spec.exclusive_keys()
    (['position'], torch.Size([2, -1]), {'arm': [0]})
    >>> value = spec.rand()
    >>> type(value).__name__, value[1]["position"].shape
    ('LazyStackedTensorDict', torch.Size([3]))
    """

    _unequal: ClassVar[bool] = True

    def __init__(self, *specs: Composite, dim: int = 0) -> None:
        SpecStack.__init__(self, *specs, dim=dim)
        self._is_tuple = specs[0].is_tuple
        self._specs = {}
        self._show(self._elements)

    def _check_element(self, first: Composite, spec: Any) -> None:
        if not isinstance(spec, Composite) or spec.shape != first.shape or spec.device != first.device:
            raise SpecError(f"cannot stack: expected a Composite like {first}, found {spec}")

    def _show(self, elements: Sequence[Any]) -> None:
        """Take over ``elements`` and stack the entries that all have."""
        first, dim = elements[0], self._stack_dim
        entries: dict[str, Any] = {}
        for name in first:
            found = [element.get(name, None) for element in elements if name in element]
            if len(found) == len(elements):
                absent = any(entry is None for entry in found)
                entries[name] = None if absent else named_call(name, torch.stack, found, dim)
        for view in self._specs.values():
            if view is not None:
                view._release()
        # Held like the children of a locked parent: a change would not reach the elements.
        for view in entries.values():
            if view is not None:
                view._acquire()
        self._elements, self._specs = list(elements), entries
        self._shape = torch.Size((*first.shape[:dim], len(elements), *first.shape[dim:]))
        self._device = first.device

    @property
    def has_dynamic_shape(self) -> bool:
        """Whether a size is unknown, or differs between elements."""
        return super().has_dynamic_shape or any(element.has_dynamic_shape for element in self._elements)

    def exclusive_keys(self) -> dict[Key, list[int]]:
        """Return the keys, nested ones as tuples, that some elements lack, with the elements that have them."""
        owners: dict[Key, list[int]] = {}
        for i, element in enumerate(self._elements):
            for name in element:
                if name not in self._specs:
                    owners.setdefault(name, []).append(i)
        for name, view in self._specs.items():
            if isinstance(view, StackedComposite) and view.stack_dim == self._stack_dim:
                owners.update({below(name, key): elements for key, elements in view.exclusive_keys().items()})
        return owners

    # ------------------------------------------------------------------ dictionary

    def _changed(self, change: Any, *columns: Sequence[Any]) -> list[Any]:
        """Apply a change to copies of all elements, so that a refusal leaves none changed."""
        elements = [element.clone() for element in self._elements]
        call_each([partial(change, element) for element in elements], *columns)
        return elements

    def _parts_of(self, value: Any, key: Any) -> Sequence[Any]:
        if isinstance(value, Mapping):
            value = named_call(key, Composite, value, shape=self._shape, device=self._device)
        if value is None:
            return [None] * len(self._elements)
        if not isinstance(value, TensorSpec):
            raise EntryError(key, f"expected a spec, a mapping or None, found {type(value).__name__}")
        return fitted(value, key, self._shape).unbind(self._stack_dim)

    def _set(self, names: tuple[str, ...], value: Any, key: Any) -> None:
        self._refuse_if_locked(f"key {key!r}")
        parts = self._parts_of(value, key)
        self._show(self._changed(lambda element, part: element._set(names, part, key), parts))

    def _delete(self, names: tuple[str, ...], key: Any) -> None:
        self._refuse_if_locked(f"key {key!r}")
        self._show(self._changed(lambda element: element._delete(names, key)))

    def pop(self, key: Any, *default: Any) -> Any:
        """Remove the entry ``key`` from all elements and return a copy of it.

        Raises:
            KeyError: if there is none and no ``default``.
            LockedSpecError: if the spec is locked.
        """
        found = super().pop(key, *default)
        return found.clone() if isinstance(found, TensorSpec) and found.is_locked else found

    def update(self, other: Mapping[Any, Any] | Composite) -> Self:
        """Set all entries of ``other``, merging nested Composites, those of another stack element by element.

        Raises:
            LockedSpecError: if the spec is locked.
            SpecError: if an entry does not fit, or the stacks have other dimensions.
        """
        self._refuse_if_locked("update")
        if not isinstance(other, Composite):
            other = Composite(other, shape=self._shape, device=self._device)
        if isinstance(other, StackedComposite) and other.shape != self._shape:
            raise SpecError(
                f"cannot update: expected a stack of shape {describe_shape(self._shape)}, "
                f"found {describe_shape(other.shape)}"
            )
        parts = fitted(other, (), self._shape).unbind(self._stack_dim)
        self._show(self._changed(lambda element, part: element.update(part), parts))
        return self

    def separates(self, *keys: Any, default: Any = ...) -> Any:
        """Move the named entries to another spec, which is returned.

        Raises:
            KeyError: if an entry is missing and there is no ``default``.
            LockedSpecError: if the spec is locked.
        """
        self._refuse_if_locked("separates")
        found = [key for key in keys if key in self]
        if default is ...:
            for key in keys:
                self.get(key)
        elements = [element.clone() for element in self._elements]
        taken = [element.separates(*found) for element in elements]
        self._show(elements)
        return torch.stack(taken, self._stack_dim)

    def is_empty(self, recurse: bool = False) -> bool:
        """Whether no element has entries; with ``recurse``, whether none has leaves."""
        return all(element.is_empty(recurse) for element in self._elements)

    def _set_shape(self, size: torch.Size) -> None:
        dim, count = self._stack_dim, len(self._elements)
        if len(size) <= dim or size[dim] != count:
            raise SpecError(f"shape: expected {count} at dim {dim}, where the stack is, found {describe_shape(size)}")
        rest = torch.Size((*size[:dim], *size[dim + 1 :]))
        self._show(self._changed(lambda element: element._set_shape(rest)))

    def _set_device(self, device: torch.device | None) -> None:
        self._show(self._changed(lambda element: element._set_device(device)))

    def _unknown_key(self, key: Any) -> str:
        message = super()._unknown_key(key)
        names = split_key(key)
        owners = self.exclusive_keys().get(names[0] if len(names) == 1 else names)
        return message if owners is None else f"{message}; only elements {owners} of the stack have it"

    # ------------------------------------------------------------------ values

    def _form(self) -> str:
        keys = [list(element) for element in self._elements]
        return f"a stack of {len(keys)} TensorDicts along dim {self._stack_dim}, with the keys {keys}"

    def _takes(self, value: Any) -> bool:
        return isinstance(value, (TensorDictBase, list, tuple))

    def _join(self, values: Sequence[Any]) -> Any:
        lazy = all(isinstance(value, TensorDictBase) for value in values)
        return joined(values, self._position(values[0])) if lazy else list(values)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_specs": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._show(self._elements)
        super().__setstate__({})

    def __repr__(self) -> str:
        shown = [f"{name}: {spec}" for name, spec in self._specs.items()]
        shown += [
            f"{name} (element {i}): {element[name]}"
            for name, owners in self.exclusive_keys().items()
            if isinstance(name, str)
            for i, element in enumerate(self._elements)
            if i in owners
        ]
        return self._shown(shown, device=self._device)
