"""The interface that leaves and Composites share."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch

from envkit.errors import SpecError
from envkit.specs.locking import Lockable
from envkit.specs.shapes import ShapeOp, describe_shape, index_op, sizes_from_args

if TYPE_CHECKING:
    from typing import Self

__all__ = ["TensorSpec", "Violation"]


class Violation(NamedTuple):
    """One way in which a value differs from its spec.

    ``key`` is the entry inside a Composite: a name, a tuple of names for a nested entry, or ``()`` when the
    spec is a leaf and the value as a whole is meant.
    """

    key: str | tuple[str, ...]
    expected: str
    found: str

    def __str__(self) -> str:
        name = "value" if self.key == () else repr(self.key)
        return f"{name}: expected {self.expected}, found {self.found}"


class TensorSpec(Lockable):
    """Describes the values that one entry (or a tree of entries) may take.

    A spec describes, validates (:meth:`is_in`, :meth:`violations`), makes conforming values (:meth:`rand`,
    :meth:`zero`), and makes changed copies of itself (:meth:`expand`, indexing, :meth:`to`, ...).
    Shape methods act on the leading dimensions that carry no meaning of their own: all of them for most
    leaves, all but the last for one-hot and multi-categorical leaves, the batch dimensions for a Composite.
    """

    # Trailing dimensions that belong to a single element and so cannot be indexed, merged or moved.
    _event_dims: ClassVar[int] = 0

    @property
    @abc.abstractmethod
    def shape(self) -> torch.Size:
        """Sizes of a value; -1 where a size is unknown."""

    @property
    @abc.abstractmethod
    def device(self) -> torch.device | None:
        """Device of the values; only a Composite may have None."""

    @property
    @abc.abstractmethod
    def dtype(self) -> torch.dtype | None:
        """Dtype of the values; None for entries that are no tensor."""

    @property
    @abc.abstractmethod
    def domain(self) -> str | None:
        """``"continuous"``, ``"discrete"``, or None for entries that are no tensor."""

    @property
    @abc.abstractmethod
    def space(self) -> Any:
        """The box of admissible values (``.low``, ``.high``, ``.n``), or None."""

    @property
    @abc.abstractmethod
    def has_dynamic_shape(self) -> bool:
        """Whether a size of the shape, or of a leaf's shape, is unknown."""

    @property
    def _ragged(self) -> bool:
        """Whether a value is a list of tensors of unequal shapes, which no single tensor can hold."""
        return False

    @property
    def ndim(self) -> int:
        """Number of dimensions of :attr:`shape`."""
        return len(self.shape)

    def ndimension(self) -> int:
        """Return :attr:`ndim`."""
        return len(self.shape)

    def numel(self) -> int:
        """Number of elements, an unknown size counting as 1."""
        return math.prod(1 if d < 0 else d for d in self.shape)

    @abc.abstractmethod
    def rand(self, shape: int | Sequence[int] = (), generator: torch.Generator | None = None) -> Any:
        """Draw a random value of shape ``(*shape, *self.shape)`` that lies in the spec."""

    @abc.abstractmethod
    def zero(self, shape: int | Sequence[int] = ()) -> Any:
        """Return zeros of shape ``(*shape, *self.shape)``, which need not lie in the spec."""

    @abc.abstractmethod
    def one(self, shape: int | Sequence[int] = ()) -> Any:
        """Return ones of shape ``(*shape, *self.shape)``, which need not lie in the spec."""

    def sample(self, shape: int | Sequence[int] = (), generator: torch.Generator | None = None) -> Any:
        """Return :meth:`rand`."""
        return self.rand(shape, generator)

    def zeros(self, shape: int | Sequence[int] = ()) -> Any:
        """Return :meth:`zero`."""
        return self.zero(shape)

    def ones(self, shape: int | Sequence[int] = ()) -> Any:
        """Return :meth:`one`."""
        return self.one(shape)

    @abc.abstractmethod
    def is_in(self, value: Any) -> bool:
        """Whether ``value`` (with any leading dimensions) lies in the spec; devices are not compared."""

    @abc.abstractmethod
    def violations(self, value: Any) -> list[Violation]:
        """Return all the ways in which ``value`` is not in the spec; an empty list if it is."""

    def contains(self, value: Any) -> bool:
        """Return :meth:`is_in`."""
        return self.is_in(value)

    def assert_is_in(self, value: Any) -> None:
        """Check a value.

        Raises:
            SpecError: if ``value`` is not in the spec; the message lists all violations.
        """
        if not self.is_in(value):
            raise SpecError("\n".join(str(violation) for violation in self.violations(value)))

    @abc.abstractmethod
    def type_check(self, value: Any, key: Any = None) -> None:
        """Check dtypes only.

        Raises:
            SpecError: if a dtype differs; the message names ``key``.
        """

    @abc.abstractmethod
    def project(self, value: Any) -> Any:
        """Return the closest value in the spec, leaving ``value`` as it is.

        Raises:
            SpecError: if the shape of ``value`` is wrong, so that no member is close to it.
        """

    @abc.abstractmethod
    def encode(self, value: Any) -> Any:
        """Turn a number, list or array into a value with the dtype, shape and device of the spec.

        Raises:
            SpecError: if that would lose information (a fraction, an overflow) or if the sizes disagree.
        """

    @abc.abstractmethod
    def to_numpy(self, value: Any) -> Any:
        """Turn a value of the spec into numpy; the inverse of :meth:`encode`."""

    @abc.abstractmethod
    def cardinality(self) -> int:
        """Number of distinct members.

        Raises:
            SpecError: if there is no such number.
        """

    @abc.abstractmethod
    def enumerate(self) -> Any:
        """Return all members, stacked along a leading dimension.

        Raises:
            SpecError: if there are infinitely, or too, many.
        """

    @abc.abstractmethod
    def to(self, *dest: Any) -> Self:
        """Return the spec on another device, or with another dtype (leaves only)."""

    @abc.abstractmethod
    def clone(self) -> Self:
        """Return an unlocked copy."""

    @abc.abstractmethod
    def _reshaped(self, op: ShapeOp, what: str) -> Self:
        """Return a copy whose leading dimensions went through ``op``; ``what`` names it in errors."""

    @abc.abstractmethod
    def _merged(self, specs: Sequence[Any], dim: int) -> Self | None:
        """Stack ``specs``, of which ``self`` is the first and which are not all equal, along ``dim``.

        None if a spec of this class cannot tell them apart afterwards.
        """

    def cpu(self) -> Self:
        """Return the spec on the CPU."""
        return self.to("cpu")

    # ------------------------------------------------------------------ shape

    def _leading(self) -> int:
        return len(self.shape) - self._event_dims

    def _dim(self, dim: int, extra: int = 0) -> int:
        """Return ``dim`` as a non-negative position among the leading dimensions (plus ``extra``)."""
        total = len(self.shape) + extra
        position = dim + total if dim < 0 else dim
        if not 0 <= position < self._leading() + extra:
            raise SpecError(
                f"dim {dim}: expected one of the {self._leading() + extra} leading dimensions of a "
                f"{type(self).__name__} of shape {describe_shape(self.shape)}"
            )
        return position

    def _without_event(self, sizes: torch.Size, what: str) -> torch.Size:
        """Strip the event dimensions from a full shape, which must agree with them."""
        k = len(self.shape) - self._leading()
        if k and (len(sizes) < k or any(s not in (-1, e) for s, e in zip(sizes[-k:], self.shape[-k:], strict=True))):
            raise SpecError(
                f"cannot {what} to {describe_shape(sizes)}: expected it to end with "
                f"{describe_shape(self.shape[-k:])}, the size of one {type(self).__name__} element"
            )
        return sizes[: len(sizes) - k]

    def expand(self, *shape: Any) -> Self:
        """Broadcast to ``shape``, which may have more leading dimensions; -1 keeps a size."""
        n = self._leading()
        lead = self._without_event(sizes_from_args(shape), "expand")
        return self._reshaped(lambda t: t.expand((*lead, *t.shape[n:])), f"expand to {describe_shape(lead)}")

    def reshape(self, *shape: Any) -> Self:
        """Rearrange to ``shape``; one size may be -1."""
        n = self._leading()
        lead = self._without_event(sizes_from_args(shape), "reshape")
        return self._reshaped(lambda t: t.reshape((*lead, *t.shape[n:])), f"reshape to {describe_shape(lead)}")

    def view(self, *shape: Any) -> Self:
        """Return :meth:`reshape`."""
        return self.reshape(*shape)

    def squeeze(self, dim: int | None = None) -> Self:
        """Drop the leading dimension ``dim`` if its size is 1, or all such dimensions."""
        if dim is None:
            dims = tuple(i for i in range(self._leading()) if self.shape[i] == 1)
        else:
            position = self._dim(dim)
            dims = (position,) if self.shape[position] == 1 else ()
        return self._reshaped(lambda t: t.squeeze(dims) if dims else t, f"squeeze dim {dim}")

    def unsqueeze(self, dim: int) -> Self:
        """Insert a dimension of size 1 at ``dim``."""
        position = self._dim(dim, extra=1)
        return self._reshaped(lambda t: t.unsqueeze(position), f"unsqueeze dim {dim}")

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Self:
        """Merge the leading dimensions ``start_dim`` to ``end_dim`` into one."""
        if not self.shape:
            return self.unsqueeze(0)
        end = self._leading() - 1 if end_dim == -1 else self._dim(end_dim)
        start = self._dim(start_dim)
        return self._reshaped(lambda t: t.flatten(start, end), f"flatten dims {start_dim} to {end_dim}")

    def unflatten(self, dim: int, sizes: Sequence[int]) -> Self:
        """Split the leading dimension ``dim`` into ``sizes``."""
        position = self._dim(dim)
        return self._reshaped(lambda t: t.unflatten(position, tuple(sizes)), f"unflatten dim {dim} to {list(sizes)}")

    def unbind(self, dim: int = 0) -> tuple[Self, ...]:
        """Return the specs along the leading dimension ``dim``."""
        position = self._dim(dim)
        if self.shape[position] < 0:
            raise SpecError(f"cannot unbind dim {dim}: its size is unknown in shape {describe_shape(self.shape)}")
        before = (slice(None),) * position
        return tuple(self[(*before, i)] for i in range(self.shape[position]))

    def __getitem__(self, index: Any) -> Any:
        return self._reshaped(index_op(index, self._leading()), f"index with {index}")

    def __iter__(self) -> Iterator[Any]:
        return iter(self.unbind(0))

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        handler = TORCH_FUNCTIONS.get(func)
        if handler is None or not all(issubclass(t, TensorSpec) for t in types):
            return NotImplemented
        return handler(*args, **(kwargs or {}))


def _squeeze(spec: TensorSpec, dim: int | None = None) -> TensorSpec:
    return spec.squeeze(dim)


def _unsqueeze(spec: TensorSpec, dim: int) -> TensorSpec:
    return spec.unsqueeze(dim)


# Functions of torch that accept specs. torch.stack makes specs of classes that are not known here: it is added
# by envkit.specs.stacking.
TORCH_FUNCTIONS: dict[Callable[..., Any], Callable[..., TensorSpec]] = {
    torch.squeeze: _squeeze,
    torch.unsqueeze: _unsqueeze,
}


def as_device(device: torch.device | str | int | None) -> torch.device:
    """Return ``device`` with its index written out, so that it equals the device of a tensor on it."""
    device = torch.device("cpu" if device is None else device)
    if device.type == "cuda" and device.index is None and torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return device
