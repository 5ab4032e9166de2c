"""A single choice: category numbers and one-hot vectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from envkit.errors import SpecError
from envkit.specs.boxes import CategoricalBox
from envkit.specs.convert import as_tensor, cast_exact, describe_dtype, to_array
from envkit.specs.masks import MaskedLeaf, allowed_only, nearest_allowed, sample_allowed
from envkit.specs.numeric import is_integral, limits, to_integers
from envkit.specs.onehot import OneHotLeaf
from envkit.specs.shapes import as_size, known_index

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Categorical", "OneHot"]


class Categorical(MaskedLeaf):
    """Category numbers from 0 to ``n`` - 1.

    Args:
        n: number of categories.
        shape: shape of a value, a scalar by default.
        device: device of the values, the CPU by default.
        dtype: dtype of the values; ``torch.bool`` with two categories makes a flag.
        mask: allowed categories, broadcast to ``(*shape, n)``.
        start: number that the outside world gives to category 0. Tensors always hold numbers from 0;
            :meth:`encode` subtracts ``start`` from numbers, lists and arrays, :meth:`to_numpy` adds it.

    Raises:
        SpecError: if ``n`` is not positive, the dtype cannot hold ``n`` - 1, or the mask allows nothing.

    >>> spec = Categorical(3, mask=[True, False, True])
    >>> spec.is_in(torch.tensor(1)), spec.cardinality()
    (False, 2)
    >>> spec.to_one_hot(torch.tensor(2))
    tensor([False, False,  True])
    >>> Categorical(3, start=-1).encode(-1)
    tensor(0)
    """

    _fields: ClassVar[tuple[str, ...]] = ("_n", "_start")

    def __init__(
        self,
        n: int,
        shape: int | Iterable[int] = (),
        device: torch.device | str | int | None = None,
        dtype: torch.dtype = torch.int64,
        mask: Any = None,
        start: int = 0,
    ) -> None:
        super().__init__(as_size(shape), dtype, device)
        self._n = positive(n)
        self._start = int(start)
        self._set_mask(mask)
        self._derive()

    def _derive(self) -> None:
        super()._derive()
        fits(self._n, self._dtype)

    def _blocks(self) -> list[int]:
        return [self._n]

    @property
    def n(self) -> int:
        """Number of categories."""
        return self._n

    @property
    def start(self) -> int:
        """Number that the outside world gives to category 0."""
        return self._start

    @property
    def space(self) -> CategoricalBox:
        """The number of categories, as ``.n``."""
        return CategoricalBox(self._n)

    def _sample(self, size: torch.Size, generator: torch.Generator | None) -> Tensor:
        if self._mask is not None:
            return sample_allowed(self._mask, size, generator).to(self._dtype)
        return torch.randint(self._n, size, generator=generator, device=self._device).to(self._dtype)

    def _nearest(self, value: Tensor) -> Tensor:
        index = to_integers(value, torch.int64).clamp(0, self._n - 1)
        if self._mask is not None:
            index = nearest_allowed(index, self._mask)
        return index.to(self._dtype)

    def _contains(self, value: Tensor) -> bool:
        if self._mask is None and self._n > 1 and self._dtype is torch.bool:
            return True
        return super()._contains(value)

    def _expected(self, index: tuple[int, ...]) -> str:
        if self._mask is None:
            return f"a category in [0, {self._n - 1}]"
        return f"one of the categories {self._allowed(self._mask[known_index(index, self._shape)])}"

    def _allowed(self, row: Tensor) -> list[int]:
        return allowed_only(range(self._n), row)

    def _options(self) -> list[Sequence[int]]:
        if self._mask is None:
            return [range(self._n)] * self.numel()
        return [self._allowed(row) for row in self._mask.reshape(-1, self._n)]

    def _aligned(self, specs: Sequence[Self]) -> Sequence[Self]:
        # Specs with different numbers of categories share the largest; a mask keeps each to its own.
        if not all(isinstance(spec, Categorical) for spec in specs):
            return specs
        n = max(spec._n for spec in specs)
        aligned = []
        for spec in specs:
            if spec._n < n:
                mask = torch.nn.functional.pad(spec._filled("_mask"), (0, n - spec._n))
                spec = spec._replace(_n=n, _mask=mask)
            aligned.append(spec)
        return aligned

    def encode(self, value: Any) -> Tensor:
        """Turn numbers counted from ``start`` into a tensor counted from 0, as a tensor given already is.

        Raises:
            SpecError: if a fraction, an overflow or a different size stands in the way.
        """
        if self._start and not isinstance(value, Tensor):
            value = cast_exact(as_tensor(value), torch.int64, self._device) - self._start
        return super().encode(value)

    def to_numpy(self, value: Tensor) -> Any:
        """Return numbers counted from ``start``; a numpy scalar if there is one number."""
        array = to_array(value)
        if self._start:
            array = (array.astype("int64") + self._start).astype(array.dtype)
        return array[()]

    def _limits(self) -> int:
        return self._n

    def _one_hot(self, index: Tensor) -> Tensor:
        hot = torch.zeros(*index.shape, self._n, dtype=torch.bool, device=index.device)
        return hot.scatter_(-1, index.unsqueeze(-1), True)

    def to_one_hot_spec(self) -> OneHot:
        """Return the spec of :meth:`to_one_hot` of members, mask and start included."""
        return OneHot(self._n, (*self._shape, self._n), self._device, mask=self._mask, start=self._start)

    def _details(self) -> dict[str, Any]:
        return {"n": self._n, "start": self._start or None, **super()._details()}


class OneHot(OneHotLeaf[Categorical]):
    """Vectors with a single 1 among ``n`` places.

    Args:
        n: number of categories.
        shape: shape of a value, which ends with ``n``; ``(n,)`` by default.
        device: device of the values, the CPU by default.
        dtype: dtype of the values.
        mask: allowed categories, broadcast to ``shape``.
        start: number that the outside world gives to category 0, see :class:`Categorical`.

    :meth:`encode` accepts category numbers as well as one-hot vectors, :meth:`to_numpy` returns category
    numbers, and :meth:`project` keeps the largest entry.

    Raises:
        SpecError: if ``n`` is not positive, ``shape`` does not end with it, or the mask allows nothing.

    >>> spec = OneHot(3)
    >>> spec.encode(2), spec.project(torch.tensor([0.1, 0.7, 0.2]))
    (tensor([False, False,  True]), tensor([False,  True, False]))
    """

    def __init__(
        self,
        n: int,
        shape: int | Iterable[int] | None = None,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype = torch.bool,
        mask: Any = None,
        start: int = 0,
    ) -> None:
        shape = as_size((positive(n),) if shape is None else shape)
        if not shape or shape[-1] != n:
            raise SpecError(f"shape: expected the last size to be the number of categories {n}, found {tuple(shape)}")
        super().__init__(shape, dtype, device)
        self._index = Categorical(n, shape[:-1], device, mask=mask, start=start)
        self._derive()

    @property
    def n(self) -> int:
        """Number of categories."""
        return self._index.n

    @property
    def start(self) -> int:
        """Number that the outside world gives to category 0."""
        return self._index.start

    @property
    def space(self) -> CategoricalBox:
        """The number of categories, as ``.n``."""
        return self._index.space


def positive(n: Any) -> int:
    """Check a number of categories."""
    if int(n) != n or n < 1:
        raise SpecError(f"n: expected a positive number of categories, found {n}")
    return int(n)


def fits(n: int, dtype: torch.dtype) -> None:
    """Check that a dtype can hold the category numbers below ``n``."""
    if dtype.is_complex or (is_integral(dtype) and n - 1 > limits(dtype)[1]):
        raise SpecError(
            f"dtype: expected one that holds the category numbers 0 to {n - 1}, found {describe_dtype(dtype)}"
        )
