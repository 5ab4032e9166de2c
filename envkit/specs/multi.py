"""Several discrete variables side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from envkit.errors import SpecError
from envkit.specs.boxes import BinaryBox, BoxList
from envkit.specs.convert import as_tensor, cast_exact, fit_shape, to_array
from envkit.specs.discrete import fits
from envkit.specs.masks import MaskedLeaf, allowed_only, nearest_allowed, sample_allowed
from envkit.specs.numeric import to_integers
from envkit.specs.onehot import OneHotLeaf
from envkit.specs.shapes import as_size, describe_shape, known_index
from envkit.specs.tensor_leaf import TensorLeaf

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Binary", "MultiCategorical", "MultiOneHot"]


class MultiCategorical(MaskedLeaf):
    """Vectors of category numbers, one for each of several variables.

    Args:
        nvec: number of categories of each variable, broadcast to ``shape``; rows may differ.
        shape: shape of a value, whose last size is the number of variables; the shape of ``nvec`` by default.
        device: device of the values, the CPU by default.
        dtype: dtype of the values.
        mask: allowed categories, those of all variables one after the other, broadcast to
            ``(*shape[:-1], sum(nvec))``; possible if ``nvec`` is the same in all rows.
        start: numbers that the outside world gives to category 0 of each variable, see :class:`Categorical`.

    Raises:
        SpecError: if a number of categories is not positive, shapes disagree, or the mask allows nothing.

    >>> spec = MultiCategorical([2, 5])
    >>> spec.is_in(torch.tensor([1, 4])), spec.is_in(torch.tensor([2, 0]))
    (True, False)
    >>> spec.cardinality()
    10
    """

    _event_dims: ClassVar[int] = 1
    _params: ClassVar[tuple[str, ...]] = ("_nvec", "_start", "_mask")

    def __init__(
        self,
        nvec: Any,
        shape: int | Iterable[int] | None = None,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype = torch.int64,
        mask: Any = None,
        start: Any = 0,
    ) -> None:
        counts = as_tensor(nvec)
        if not counts.ndim:
            raise SpecError(f"nvec: expected one number of categories for each variable, found {nvec}")
        super().__init__(counts.shape if shape is None else shape, dtype, device)
        self._nvec = self._per_variable("nvec", counts)
        self._start = self._per_variable("start", as_tensor(start))
        self._derive()
        self._set_mask(mask)

    def _per_variable(self, name: str, value: Tensor) -> Tensor:
        try:
            numbers = cast_exact(value, torch.int64, self._device).clone()
            return numbers.expand([1 if d < 0 else d for d in self._shape])
        except RuntimeError as error:
            raise SpecError(
                f"{name}: expected a shape that broadcasts to {describe_shape(self._shape)}, "
                f"found {describe_shape(value.shape)}"
            ) from error

    def _derive(self) -> None:
        super()._derive()
        if self._nvec.numel() and int(self._nvec.min()) < 1:
            raise SpecError(f"nvec: expected positive numbers of categories, found {self._nvec.tolist()}")
        fits(int(self._nvec.max()) if self._nvec.numel() else 1, self._dtype)
        rows = self._nvec.reshape(-1, self._nvec.shape[-1])
        alike = bool(len(rows)) and torch.equal(rows, rows[:1].expand_as(rows))
        self._row: list[int] | None = rows[0].tolist() if alike else None
        if self._row is not None:
            # Where each variable starts in a one-hot vector.
            self._offsets = rows[0].cumsum(0) - rows[0]

    @property
    def _has_blocks(self) -> bool:
        return self._row is not None

    def _merged(self, specs: Sequence[Any], dim: int) -> Self | None:
        # A mask has one length: rows with numbers of categories of their own cannot share one.
        masked = any(isinstance(spec, MultiCategorical) and spec._mask is not None for spec in specs)
        if masked and not all(isinstance(spec, MultiCategorical) and spec._row == self._row for spec in specs):
            return None
        return super()._merged(specs, dim)

    def _blocks(self) -> list[int]:
        if self._row is None:
            raise SpecError(f"nvec: expected the same numbers of categories in all rows, found {self._nvec.tolist()}")
        return self._row

    @property
    def nvec(self) -> Tensor:
        """Number of categories of each variable, int64, of the shape of the spec."""
        return self._nvec

    @property
    def start(self) -> Tensor:
        """Numbers that the outside world gives to category 0, int64, of the shape of the spec."""
        return self._start

    @property
    def space(self) -> BoxList:
        """One box for each variable, with its number of categories as ``.n``."""
        return BoxList.from_nvec(self._nvec.tolist())

    def _sample(self, size: torch.Size, generator: torch.Generator | None) -> Tensor:
        if self._mask is not None:
            parts = [sample_allowed(part, size[:-1], generator) for part in self._mask.split(self._blocks(), -1)]
            return torch.stack(parts, -1).to(self._dtype)
        unit = torch.rand(size, dtype=torch.float64, device=self._device, generator=generator)
        return (unit * self._nvec).to(torch.int64).to(self._dtype)

    def _nearest(self, value: Tensor) -> Tensor:
        index = torch.minimum(to_integers(value, torch.int64).clamp(min=0), self._nvec - 1)
        if self._mask is not None:
            parts = zip(index.unbind(-1), self._mask.split(self._blocks(), -1), strict=True)
            index = torch.stack([nearest_allowed(part, mask) for part, mask in parts], -1)
        return index.to(self._dtype)

    def _expected(self, index: tuple[int, ...]) -> str:
        place = known_index(index, self._shape[:-1])
        highest = (self._nvec[place] - 1).tolist()
        allowed = "" if self._mask is None else " that the mask allows"
        return f"categories from 0 to {highest}{allowed}"

    def _options(self) -> list[Sequence[int]]:
        counts = self._nvec.flatten().tolist()
        if self._mask is None:
            return [range(n) for n in counts]
        rows = self._mask.reshape(-1, self._mask.shape[-1])
        blocks = self._blocks()
        return [allowed_only(range(len(part)), part) for row in rows for part in row.split(blocks)]

    def encode(self, value: Any) -> Tensor:
        """Turn numbers counted from ``start`` into a tensor counted from 0, as a tensor given already is.

        Raises:
            SpecError: if a fraction, an overflow or a different size stands in the way.
        """
        if not isinstance(value, Tensor):
            value = fit_shape(cast_exact(as_tensor(value), torch.int64, self._device), self._shape) - self._start
        return super().encode(value)

    def to_numpy(self, value: Tensor) -> Any:
        """Return an array of numbers counted from ``start``."""
        array = to_array(value)
        return (array.astype("int64") + to_array(self._start)).astype(array.dtype)

    def _limits(self) -> Tensor:
        return self._nvec

    def _one_hot(self, index: Tensor) -> Tensor:
        hot = torch.zeros(*index.shape[:-1], sum(self._blocks()), dtype=torch.bool, device=index.device)
        return hot.scatter_(-1, index + self._offsets.to(index.device), True)

    def to_one_hot_spec(self) -> MultiOneHot:
        """Return the spec of :meth:`to_one_hot` of members, mask and start included."""
        blocks = self._blocks()
        shape = (*self._shape[:-1], sum(blocks))
        return MultiOneHot(blocks, shape, self._device, mask=self._mask, start=self._start)

    def _details(self) -> dict[str, Any]:
        start = self._start.tolist() if bool(self._start.any()) else None
        return {"nvec": self._nvec.tolist(), "start": start, **super()._details()}


class MultiOneHot(OneHotLeaf[MultiCategorical]):
    """One-hot vectors of several variables, one after the other.

    Args:
        nvec: number of categories of each variable.
        shape: shape of a value, which ends with ``sum(nvec)``; ``(sum(nvec),)`` by default.
        device: device of the values, the CPU by default.
        dtype: dtype of the values.
        mask: allowed categories, broadcast to ``shape``.
        start: numbers that the outside world gives to category 0 of each variable, see :class:`Categorical`.

    Raises:
        SpecError: if a number of categories is not positive, shapes disagree, or the mask allows nothing.

    >>> spec = MultiOneHot([2, 3])
    >>> spec.encode([1, 0]).int()
    tensor([0, 1, 1, 0, 0], dtype=torch.int32)
    """

    def __init__(
        self,
        nvec: Any,
        shape: int | Iterable[int] | None = None,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype = torch.bool,
        mask: Any = None,
        start: Any = 0,
    ) -> None:
        counts = as_tensor(nvec)
        if counts.ndim != 1:
            raise SpecError(f"nvec: expected a list of numbers of categories, found {nvec}")
        width = int(counts.sum())
        size = as_size((width,) if shape is None else shape)
        if not size or size[-1] != width:
            raise SpecError(f"shape: expected the last size to be sum(nvec) = {width}, found {tuple(size)}")
        super().__init__(size, dtype, device)
        self._index = MultiCategorical(counts, (*size[:-1], len(counts)), device, mask=mask, start=start)
        self._derive()

    @property
    def nvec(self) -> Tensor:
        """Number of categories of each variable, int64."""
        return torch.tensor(self._index._blocks(), device=self._device)

    @property
    def space(self) -> BoxList:
        """One box for each variable, with its number of categories as ``.n``."""
        return BoxList.from_nvec(self._index._blocks())


class Binary(TensorLeaf):
    """Zeros and ones.

    Args:
        n: length of the last dimension, if given.
        shape: shape of a value, ``(n,)`` by default.
        device: device of the values, the CPU by default.
        dtype: dtype of the values.

    Raises:
        SpecError: if neither ``n`` nor ``shape`` is given, or if they disagree.

    >>> Binary(1, shape=(4, 1), dtype=torch.bool).zero().shape
    torch.Size([4, 1])
    >>> Binary(3).is_in(torch.tensor([0, 1, 2], dtype=torch.int8))
    False
    """

    def __init__(
        self,
        n: int | None = None,
        shape: int | Iterable[int] | None = None,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype = torch.int8,
    ) -> None:
        if shape is None and n is None:
            raise SpecError("shape: expected a length n or a shape, found neither")
        size = as_size((int(n),) if shape is None and n is not None else shape)  # type: ignore[arg-type]
        if n is not None and (not size or size[-1] != n):
            raise SpecError(f"shape: expected the last size to be n = {n}, found {tuple(size)}")
        super().__init__(size, dtype, device)
        # Gymnasium tells MultiBinary(3) from MultiBinary((3,)), although they have the same elements.
        self._by_length = n is not None
        self._derive()

    @property
    def n(self) -> int:
        """Length of the last dimension."""
        return self._shape[-1] if self._shape else 1

    @property
    def domain(self) -> str:
        """``"discrete"``."""
        return "discrete"

    @property
    def space(self) -> BinaryBox:
        """The length of the last dimension, as ``.n``."""
        return BinaryBox(self.n)

    def _sample(self, size: torch.Size, generator: torch.Generator | None) -> Tensor:
        return torch.randint(2, size, generator=generator, device=self._device).to(self._dtype)

    def _nearest(self, value: Tensor) -> Tensor:
        return to_integers(value, torch.int64).clamp(0, 1).to(self._dtype)

    def _contains(self, value: Tensor) -> bool:
        return self._dtype is torch.bool or super()._contains(value)

    def _expected(self, index: tuple[int, ...]) -> str:
        return "0 or 1"

    def _options(self) -> list[Sequence[int]]:
        return [range(2)] * self.numel()
