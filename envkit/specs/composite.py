"""The tree of specs that describes a TensorDict."""

from __future__ import annotations

import difflib
import math
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from tensordict import LazyStackedTensorDict, TensorDict, TensorDictBase, is_tensor_collection, unravel_key

from envkit.errors import LockedSpecError, SpecError
from envkit.specs.base import TensorSpec, Violation, as_device
from envkit.specs.keys import EntryError, Key, below, is_key, named_call, split_key
from envkit.specs.nontensor import NonTensor
from envkit.specs.product import product_rows
from envkit.specs.shapes import ShapeOp, as_size, describe_shape, full_size, probe, settle

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Composite"]

_MISSING = object()


class Composite(TensorSpec):
    """A tree of specs with named entries, for TensorDicts.

    Args:
        specs: entries, as a mapping from names (or tuples of names) to specs, mappings or None (anything
            goes).
        shape: leading sizes common to all entries, the batch size of the TensorDicts.
        batch_size: the same as ``shape``.
        device: device of all entries, or None if they keep their own.
        **leaves: further entries. An entry named like one of the other arguments goes into ``specs``.

    Raises:
        SpecError: if an entry's shape does not start with ``shape``, or its device differs; the message names
            it.

    Entries are read and changed as in a dictionary, nested ones by tuples of names, until :meth:`lock_`.
    Indexing with anything but names acts on the leading dimensions.

    >>> from envkit.specs import Bounded, Categorical
    >>> spec = Composite(image=Bounded(0, 255, shape=(8, 8), dtype=torch.uint8), agent={"x": Categorical(3)})
    >>> spec["agent", "x"]
    Categorical(shape=[], n=3, dtype=int64)
    >>> spec.expand(4).rand()["image"].shape
    torch.Size([4, 8, 8])
    >>> spec.violations({"agent": {"x": torch.tensor(7)}})[1]
    Violation(key=('agent', 'x'), expected='a category in [0, 2]', found='7')
    """

    # Whether the elements along one dimension have specs of their own.
    _unequal: ClassVar[bool] = False

    def __init__(
        self,
        specs: Mapping[Any, Any] | Composite | None = None,
        *,
        shape: int | Iterable[int] | None = None,
        batch_size: int | Iterable[int] | None = None,
        device: torch.device | str | int | None = None,
        **leaves: Any,
    ) -> None:
        if shape is not None and batch_size is not None and as_size(shape) != as_size(batch_size):
            raise SpecError(f"shape: expected shape and batch_size to agree, found {shape} and {batch_size}")
        chosen = batch_size if shape is None else shape
        self._shape = as_size(() if chosen is None else chosen)
        self._device = None if device is None else as_device(device)
        self._specs: dict[str, Any] = {}
        self._is_tuple = False
        self._locked = False
        self._holders = 0
        self._holds = False
        for key, value in [*(specs or {}).items(), *leaves.items()]:
            self.set(key, value)

    @staticmethod
    def from_sequence(
        specs: Sequence[Any],
        *,
        shape: int | Iterable[int] = (),
        device: torch.device | str | None = None,
    ) -> Composite:
        """Build a Composite with the keys "0", "1", ... whose numpy values are tuples.

        >>> Composite.from_sequence([NonTensor(shape=())]).to_numpy({"0": "hello"})
        ('hello',)
        """
        composite = Composite({str(i): spec for i, spec in enumerate(specs)}, shape=shape, device=device)
        composite._is_tuple = True
        return composite

    # ------------------------------------------------------------------ properties

    @property
    def is_tuple(self) -> bool:
        """Whether numpy values are tuples rather than dictionaries."""
        return self._is_tuple

    @property
    def dtype(self) -> None:
        """None: entries have their own."""
        return None

    @property
    def domain(self) -> None:
        """None: entries have their own."""
        return None

    @property
    def space(self) -> None:
        """None: entries have their own."""
        return None

    @property
    def has_dynamic_shape(self) -> bool:
        """Whether the shape or that of an entry has an unknown size."""
        return -1 in self._shape or any(s is not None and s.has_dynamic_shape for s in self._specs.values())

    @property
    def shape(self) -> torch.Size:
        """Leading sizes common to all entries; can be set while unlocked."""
        return self._shape

    @shape.setter
    def shape(self, shape: int | Iterable[int]) -> None:
        self._refuse_if_locked("shape")
        self._set_shape(as_size(shape))

    def _set_shape(self, size: torch.Size) -> None:
        specs = {key: fitted(spec, key, size) for key, spec in self._specs.items()}
        self._shape, self._specs = size, specs

    @property
    def batch_size(self) -> torch.Size:
        """Return :attr:`shape`; can be set while unlocked."""
        return self._shape

    @batch_size.setter
    def batch_size(self, shape: int | Iterable[int]) -> None:
        self.shape = shape

    @property
    def device(self) -> torch.device | None:
        """Device of all entries, or None if they keep their own; can be set while unlocked."""
        return self._device

    @device.setter
    def device(self, device: torch.device | str | int | None) -> None:
        self._refuse_if_locked("device")
        self._set_device(None if device is None else as_device(device))

    def _set_device(self, device: torch.device | None) -> None:
        if device is not None:
            self._specs = {k: None if s is None else s.to(device) for k, s in self._specs.items()}
        self._device = device

    # ------------------------------------------------------------------ dictionary

    def get(self, key: Any, default: Any = _MISSING) -> Any:
        """Return the entry ``key``.

        Raises:
            KeyError: if there is none and no ``default``; the message names the entries there are.
        """
        found = self._find(split_key(key))
        if found is not _MISSING:
            return found
        if default is not _MISSING:
            return default
        raise KeyError(self._unknown_key(key))

    def _find(self, names: tuple[str, ...]) -> Any:
        found: Any = self
        for name in names:
            found = found._specs.get(name, _MISSING) if isinstance(found, Composite) else _MISSING
        return found

    def set(self, key: Any, value: Any) -> Self:
        """Set the entry ``key``; missing Composites on the way are made.

        Raises:
            LockedSpecError: if the spec is locked.
            SpecError: if the shape or device of ``value`` does not fit; the message names ``key``.
        """
        names = split_key(key)
        self._set(names, value, key)
        return self

    def _set(self, names: tuple[str, ...], value: Any, key: Any) -> None:
        """Set an entry; ``key`` is its full name, for error messages."""
        name, *rest = names
        child = self._specs.get(name)
        if rest and isinstance(child, Composite):
            return child._set(tuple(rest), value, key)
        self._refuse_if_locked(f"key {key!r}")
        if rest:
            value = {tuple(rest): value}
        if isinstance(value, Mapping):
            value = named_call(name, Composite, value, shape=self._shape, device=self._device)
        if value is not None and not isinstance(value, TensorSpec):
            raise EntryError(key, f"expected a spec, a mapping or None, found {type(value).__name__}")
        if value is not None and value._ragged:
            raise EntryError(
                key,
                f"expected a spec of tensors, found a stack of unequal shapes, {describe_shape(value.shape)}, "
                "whose values only a lazy stack can hold: make a Composite for each element and torch.stack those",
            )
        if value is not None and self._device is not None and value.device != self._device:
            if not (isinstance(value, Composite) and value.device is None):
                raise EntryError(key, f"expected device {self._device}, found {value.device}")
            value = value.to(self._device)
        self._specs[name] = fitted(value, key, self._shape)
        return None

    def pop(self, key: Any, default: Any = _MISSING) -> Any:
        """Remove and return the entry ``key``.

        Raises:
            KeyError: if there is none and no ``default``.
            LockedSpecError: if the spec is locked.
        """
        found = self.get(key, default)
        if key in self:
            del self[key]
        return found

    def __delitem__(self, key: Any) -> None:
        self.get(key)
        self._delete(split_key(key), key)

    def _delete(self, names: tuple[str, ...], key: Any) -> None:
        """Remove an entry that exists; ``key`` is its full name, for error messages."""
        name, *rest = names
        if rest:
            self._specs[name]._delete(tuple(rest), key)
        else:
            self._refuse_if_locked(f"key {key!r}")
            del self._specs[name]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.set(key, value)

    def __getitem__(self, index: Any) -> Any:
        """Return an entry for a name or a tuple of names, and a part of the spec for any other index."""
        if is_key(index):
            return self.get(index)
        return super().__getitem__(index)

    def __contains__(self, key: object) -> bool:
        return is_key(key) and self._find(split_key(key)) is not _MISSING

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)

    def _flat(self, include_nested: bool, leaves_only: bool) -> dict[Any, Any]:
        flat: dict[Any, Any] = {}
        for name, spec in self._specs.items():
            nested = isinstance(spec, Composite)
            if not (nested and leaves_only):
                flat[name] = spec
            if nested and include_nested:
                for key, inner in spec._flat(True, leaves_only).items():
                    flat[(name, *split_key(key))] = inner
        return flat

    def keys(self, include_nested: bool = False, leaves_only: bool = False) -> KeysView[Any]:
        """Return the names of the entries, nested ones as tuples, in the order in which they were set."""
        return self._flat(include_nested, leaves_only).keys()

    def values(self, include_nested: bool = False, leaves_only: bool = False) -> ValuesView[Any]:
        """Return the entries in the order of :meth:`keys`."""
        return self._flat(include_nested, leaves_only).values()

    def items(self, include_nested: bool = False, leaves_only: bool = False) -> ItemsView[Any, Any]:
        """Return pairs of name and entry in the order of :meth:`keys`."""
        return self._flat(include_nested, leaves_only).items()

    def leaves(self) -> list[tuple[Key, Any]]:
        """Return pairs of name and leaf, sorted by depth and then by name.

        >>> [key for key, _ in Composite({("b", "x"): None, "c": None, "a": None}).leaves()]
        ['a', 'c', ('b', 'x')]
        """
        flat = self._flat(True, True)
        return sorted(flat.items(), key=lambda item: (len(split_key(item[0])), split_key(item[0])))

    def update(self, other: Mapping[Any, Any] | Composite) -> Self:
        """Set all entries of ``other``, merging nested Composites; a nested :class:`StackedComposite` replaces.

        Raises:
            LockedSpecError: if the spec is locked.
            SpecError: if ``other`` is a :class:`StackedComposite`, and the spec is none.
        """
        if isinstance(other, Composite) and other._unequal:
            raise SpecError(f"cannot update a Composite: expected one set of entries, found {other}")
        for key, value in other.items():
            mine = self.get(key, None)
            merges = isinstance(value, Mapping) or (isinstance(value, Composite) and not value._unequal)
            if isinstance(mine, Composite) and merges:
                mine.update(value)
            else:
                self.set(key, value)
        return self

    def separates(self, *keys: Any, default: Any = _MISSING) -> Composite:
        """Move the named entries to another Composite, which is returned.

        Raises:
            KeyError: if an entry is missing and there is no ``default``.
            LockedSpecError: if the spec is locked.
        """
        taken = self.empty()
        for key in keys:
            value = self.pop(key, default)
            if value is not default:
                taken.set(key, value)
        return taken

    def empty(self) -> Composite:
        """Return a Composite of the same shape and device without entries."""
        return Composite(shape=self._shape, device=self._device)

    def is_empty(self, recurse: bool = False) -> bool:
        """Whether there are no entries; with ``recurse``, whether there are no leaves."""
        return not (self._flat(True, True) if recurse else self._specs)

    def _unknown_key(self, key: Any) -> str:
        known = list(self._flat(True, False))
        message = f"{key!r} is not a key; the keys are {known}"
        by_text = {repr(k): k for k in known}
        near = difflib.get_close_matches(repr(key), by_text, n=1)
        return f"{message}; did you mean {near[0]}?" if near else message

    # ------------------------------------------------------------------ locking

    def _refuse_if_locked(self, what: str) -> None:
        if self.is_locked:
            raise LockedSpecError(
                f"cannot modify a locked Composite: {what}; unlock the root, or change a clone(); if it was read "
                "from a StackedComposite, set it through the stack"
            )

    def _children(self) -> Iterable[TensorSpec]:
        return [spec for spec in self._specs.values() if spec is not None]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_holders": 0}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # The children come back held by nobody.
        if self._holds and self._locked:
            self._hold_children()
        self._holds = self._holds and self._locked

    # ------------------------------------------------------------------ values

    def _tensordict(self, shape: int | Sequence[int], values: dict[str, Any]) -> TensorDict:
        sizes = torch.Size([1 if d < 0 else d for d in self._shape])
        return TensorDict(values, full_size(shape, sizes), device=self._device)

    def rand(self, shape: int | Sequence[int] = (), generator: torch.Generator | None = None) -> TensorDict:
        """Draw a TensorDict of batch size ``(*shape, *self.shape)`` that lies in the spec."""
        values = {key: spec.rand(shape, generator) for key, spec in self._specs.items() if spec is not None}
        return self._tensordict(shape, values)

    def zero(self, shape: int | Sequence[int] = ()) -> TensorDict:
        """Return a TensorDict of zeros with batch size ``(*shape, *self.shape)``."""
        return self._tensordict(shape, {k: spec.zero(shape) for k, spec in self._specs.items() if spec is not None})

    def one(self, shape: int | Sequence[int] = ()) -> TensorDict:
        """Return a TensorDict of ones with batch size ``(*shape, *self.shape)``."""
        return self._tensordict(shape, {k: spec.one(shape) for k, spec in self._specs.items() if spec is not None})

    def is_in(self, value: Any) -> bool:
        """Whether a TensorDict or mapping has all entries, each in its spec; further entries are ignored."""
        parts = self._parts(value)
        if parts is not None:
            return all(self.is_in(part) for part in parts)
        if not _is_mapping(value):
            return False
        for name, spec in self._specs.items():
            if spec is not None:
                entry = _read(value, name)
                if entry is None or not spec.is_in(entry):
                    return False
        return True

    def violations(self, value: Any) -> list[Violation]:
        """Return the violations of all entries, each with its key."""
        parts = self._parts(value)
        if parts is not None:
            return [violation for part in parts for violation in self.violations(part)]
        if not _is_mapping(value):
            return [Violation((), f"a TensorDict or mapping with the keys {list(self._specs)}", type(value).__name__)]
        found = []
        for name, spec in self._specs.items():
            if spec is None:
                continue
            entry = _read(value, name)
            if entry is None:
                found.append(Violation(name, self._describe_entry(name), "a missing key"))
            else:
                found += [Violation(below(name, v.key), v.expected, v.found) for v in spec.violations(entry)]
        return found

    def _parts(self, value: Any) -> list[Any] | None:
        """Return the elements of a lazy stack, whose sizes may vary, along a dimension outside the spec."""
        if not isinstance(value, LazyStackedTensorDict) or not self.has_dynamic_shape:
            return None
        outside = value.stack_dim < value.batch_dims - len(self._shape)
        return list(value.unbind(value.stack_dim)) if outside else None

    def type_check(self, value: Any, key: Any = None) -> None:
        """Check the dtypes of the entries that are there.

        Raises:
            SpecError: if one differs, or ``value`` has no entries; the message names it.
        """
        if not _is_mapping(value):
            where = "value" if key is None else repr(key)
            raise SpecError(f"{where}: expected a TensorDict or mapping, found {type(value).__name__}")
        for name, spec in self._specs.items():
            entry = None if spec is None else _read(value, name)
            if entry is not None:
                spec.type_check(entry, name if key is None else unravel_key((key, name)))

    def project(self, value: Any) -> Any:
        """Return a shallow copy of a TensorDict or mapping whose entries are replaced by the closest members.

        Raises:
            SpecError: if an entry is missing or has a wrong shape; the message names it.
        """
        if not _is_mapping(value):
            raise SpecError(f"cannot project: expected a TensorDict or mapping, found {type(value).__name__}")
        projected = value.copy() if is_tensor_collection(value) else dict(value)
        for name, spec in self._specs.items():
            if spec is not None:
                projected[name] = named_call(name, spec.project, self._entry(value, name))
        return projected

    def encode(self, value: Any) -> TensorDict:
        """Turn a mapping (for a tuple Composite also a sequence) into a TensorDict, encoding each entry.

        Raises:
            SpecError: if an entry is missing, unknown or cannot be encoded; the message names it.
        """
        if self._is_tuple and isinstance(value, (tuple, list)):
            value = {str(i): item for i, item in enumerate(value)}
        if not _is_mapping(value):
            kind = "tuple" if self._is_tuple else "mapping"
            raise SpecError(f"expected a {kind} with the keys {list(self._specs)}, found {type(value).__name__}")
        unknown = [key for key in value.keys() if key not in self._specs]
        if unknown:
            raise SpecError(f"expected the keys {list(self._specs)}, found the unknown key {unknown[0]!r}")
        encoded = {}
        for name, spec in self._specs.items():
            if spec is not None:
                encoded[name] = named_call(name, spec.encode, self._entry(value, name))
            elif name in value:
                encoded[name] = value[name]
        return self._tensordict((), encoded)

    def to_numpy(self, value: Any) -> Any:
        """Turn a TensorDict or mapping into a dictionary (for a tuple Composite a tuple) of numpy values."""
        arrays = {
            name: named_call(name, spec.to_numpy, self._entry(value, name))
            for name, spec in self._specs.items()
            if spec is not None
        }
        return tuple(arrays.values()) if self._is_tuple else arrays

    def _describe_entry(self, name: str) -> str:
        spec = self._specs[name]
        return f"an entry with the keys {list(spec)}" if isinstance(spec, Composite) else str(spec)

    def _entry(self, value: Any, name: str) -> Any:
        entry = _read(value, name)
        if entry is None:
            raise EntryError(name, f"expected {self._describe_entry(name)}, found a missing key")
        return entry

    def cardinality(self) -> int:
        """Number of distinct members, the product over the entries.

        Raises:
            SpecError: if an entry has none.
        """
        specs = [(name, spec) for name, spec in self._specs.items() if spec is not None]
        return math.prod(named_call(name, spec.cardinality) for name, spec in specs)

    def enumerate(self) -> TensorDict:
        """Return all members, stacked along a leading dimension, the last entry varying fastest.

        Raises:
            SpecError: if there are more than ten million, or an entry cannot be enumerated.
        """
        specs = {name: spec for name, spec in self._specs.items() if spec is not None}
        counts = [named_call(name, spec.cardinality) for name, spec in specs.items()]
        rows = product_rows(counts, self._device)
        values = {name: spec.enumerate()[row] for (name, spec), row in zip(specs.items(), rows, strict=True)}
        return self._tensordict((math.prod(counts),), values)

    # ------------------------------------------------------------------ copies

    def _with(self, specs: dict[str, Any], **attributes: Any) -> Self:
        composite = object.__new__(type(self))
        composite.__dict__.update(self.__dict__)
        composite.__dict__.update(attributes, _specs=specs, _locked=False, _holders=0, _holds=False)
        return composite

    def clone(self, recurse: bool = True) -> Self:
        """Return an unlocked copy; without ``recurse`` it shares the entries."""
        if not recurse:
            return self._with(dict(self._specs))
        return self._with({k: None if s is None else s.clone() for k, s in self._specs.items()})

    def to(self, *dest: Any) -> Self:
        """Return the spec with all entries on another device.

        Raises:
            SpecError: if ``dest`` is a dtype, which belongs to single entries.
        """
        composite = self
        for target in dest:
            if isinstance(target, torch.dtype):
                raise SpecError(f"dtype: expected a device for a Composite, found {target}; convert single entries")
            device = as_device(target)
            specs = {k: None if s is None else s.to(device) for k, s in composite._specs.items()}
            moved = any(specs[k] is not composite._specs[k] for k in specs)
            if moved or device != composite._device:
                composite = composite._with(specs, _device=device)
        return composite

    def _reshaped(self, op: ShapeOp, what: str) -> Self:
        try:
            shape = settle(self._shape, op(probe(self._shape, self._device)).shape, what)
        except RuntimeError as error:
            raise SpecError(f"cannot {what} a Composite of shape {describe_shape(self._shape)}") from error
        specs = {k: None if s is None else s._reshaped(op, what) for k, s in self._specs.items()}
        return self._with(specs, _shape=shape)

    def _merged(self, specs: Sequence[Any], dim: int) -> Self | None:
        if any(spec._unequal or set(spec) != set(self) or spec.is_tuple != self._is_tuple for spec in specs):
            return None
        stacked: dict[str, Any] = {}
        for name in self._specs:
            entries = [spec[name] for spec in specs]
            if all(entry is None for entry in entries):
                stacked[name] = None
                continue
            if any(entry is None for entry in entries):
                return None
            stacked[name] = named_call(name, torch.stack, entries, dim)
            if stacked[name]._ragged:
                return None
        return self._with(stacked, _shape=torch.Size((*self._shape[:dim], len(specs), *self._shape[dim:])))

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, TensorSpec):
            return NotImplemented
        return (
            isinstance(other, Composite)
            and self._shape == other._shape
            and self._device == other._device
            and self._is_tuple == other._is_tuple
            and self._specs.keys() == other._specs.keys()
            and all(spec == other._specs[key] for key, spec in self._specs.items())
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        tail = [f"shape={describe_shape(self._shape)}"] + ([f"device={self._device}"] if self._device else [])
        if not self._specs:
            return f"Composite({', '.join(tail)})"
        lines = [f"{name}: {spec}".replace("\n", "\n    ") for name, spec in self._specs.items()]
        body = "".join(f"    {line},\n" for line in lines)
        return f"Composite(\n{body}    {', '.join(tail)})"


def _is_mapping(value: Any) -> bool:
    return isinstance(value, (TensorDictBase, Mapping))


def _read(value: Any, name: str) -> Any:
    """Return an entry or None; a list of tensors where a lazy stack holds tensors of unequal shapes."""
    if not isinstance(value, LazyStackedTensorDict):
        return value.get(name, None)
    try:
        return value.get(name, None)
    except RuntimeError:
        lazy: Any = value  # whose get takes more than its declaration says
        return lazy.get(name, as_list=True)


def fitted(spec: Any, key: Key, shape: torch.Size) -> Any:
    """Return ``spec`` if it starts with ``shape``, else a copy that does (Composite and NonTensor only)."""
    if spec is None or spec.shape[: len(shape)] == shape:
        return spec
    if isinstance(spec, Composite) and not spec._unequal:
        names = split_key(key)
        specs = {name: fitted(inner, (*names, name), shape) for name, inner in spec._specs.items()}
        return spec._with(specs, _shape=shape)
    if isinstance(spec, NonTensor):
        try:
            return spec.expand(shape)
        except SpecError:
            pass
    raise EntryError(
        key, f"expected a shape that starts with {describe_shape(shape)}, found {describe_shape(spec.shape)}"
    )
