"""The one-hot form of a categorical leaf."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from envkit.errors import LockedSpecError
from envkit.specs.convert import as_tensor
from envkit.specs.masks import MaskedLeaf
from envkit.specs.numeric import widen
from envkit.specs.tensor_leaf import TensorLeaf

if TYPE_CHECKING:
    from typing import Self

__all__ = ["OneHotLeaf"]

IndexT = TypeVar("IndexT", bound=MaskedLeaf)


class OneHotLeaf(TensorLeaf, Generic[IndexT]):
    """A view of a categorical leaf in which a number becomes a vector along the last dimension.

    Categories, mask and start live in that leaf, and everything that concerns them is left to it.
    """

    _event_dims: ClassVar[int] = 1
    _params: ClassVar[tuple[str, ...]] = ("_index",)
    _index: IndexT

    @property
    def domain(self) -> str:
        """``"discrete"``."""
        return "discrete"

    @property
    def mask(self) -> Tensor | None:
        """Allowed categories, of the shape of the spec, or None if all are."""
        return self._index.mask

    def update_mask(self, mask: Any) -> None:
        """Replace the mask; None removes it.

        Raises:
            LockedSpecError: if the spec is locked.
            SpecError: if the mask does not broadcast to the shape, or forbids all categories of an element.
        """
        if self.is_locked:
            raise LockedSpecError(f"cannot modify the mask of a locked {type(self).__name__}: change a clone()")
        index = self._index.clone()
        index.update_mask(mask)
        self._index = index

    def _sample(self, size: torch.Size, generator: torch.Generator | None) -> Tensor:
        picks = self._index._sample(size[:-1] + self._index._sizes[self._leading() :], generator)
        return self._hot(picks)

    def _hot(self, index: Tensor) -> Tensor:
        return self._index._one_hot(index).to(self._dtype)

    def _nearest(self, value: Tensor) -> Tensor:
        scores = widen(value.detach().real if value.is_complex() else value.detach())
        if self._index.mask is not None:
            scores = scores if scores.is_floating_point() else scores.to(torch.float64)
        if scores.is_floating_point():
            # Finite, so that no score is as low as a forbidden category.
            lowest = torch.finfo(scores.dtype).min
            scores = scores.nan_to_num(lowest, neginf=lowest)
        if self._index.mask is not None:
            scores = torch.where(self._index.mask, scores, -torch.inf)
        hot = torch.zeros_like(scores, dtype=torch.bool)
        blocks = self._index._blocks()
        for block, out in zip(scores.split(blocks, -1), hot.split(blocks, -1), strict=True):
            out.scatter_(-1, block.argmax(-1, keepdim=True), True)
        return hot.to(self._dtype)

    def _expected(self, index: tuple[int, ...]) -> str:
        allowed = "" if self._index.mask is None else " of an allowed category"
        return f"a one-hot vector of length {' + '.join(str(n) for n in self._index._blocks())}{allowed}"

    def _options(self) -> list[Sequence[int]]:
        return self._index._options()

    def _from_options(self, members: list[tuple[int, ...]]) -> Tensor:
        return self._hot(self._index._from_options(members))

    def encode(self, value: Any) -> Tensor:
        """Turn category numbers, or one-hot vectors, into one-hot vectors of this dtype, shape and device.

        Raises:
            SpecError: if a number is no category, or a size differs.
        """
        tensor = as_tensor(value)
        if tensor.shape == self._sizes:
            # With a single category everywhere, a number and a vector have the same size.
            ambiguous = self.numel() == self._index.numel()
            if not ambiguous or bool((tensor == 1).all()):
                return super().encode(tensor)
        return self._index.to_one_hot(self._index.encode(value)).to(self._dtype)

    def to_numpy(self, value: Tensor) -> Any:
        """Return category numbers, as the categorical leaf would."""
        return self._index.to_numpy(self.to_categorical(value))

    def to_categorical(self, value: Tensor) -> Tensor:
        """Return category numbers, int64."""
        parts = [block.argmax(-1) for block in widen(value).split(self._index._blocks(), -1)]
        return torch.stack(parts, -1) if self._index._event_dims else parts[0]

    def to_categorical_spec(self) -> IndexT:
        """Return the spec of :meth:`to_categorical` of members, mask and start included."""
        return self._index.clone()

    def to_one_hot(self, value: Tensor) -> Tensor:
        """Return ``value``, which is one-hot already."""
        return value

    def to_one_hot_spec(self) -> OneHotLeaf[IndexT]:
        """Return the spec itself."""
        return self

    def _merged(self, specs: Sequence[Any], dim: int) -> Self | None:
        merged = super()._merged(specs, dim)
        # Rows with numbers of categories of their own have no one-hot form in common.
        return merged if merged is not None and merged._index._has_blocks else None

    def _details(self) -> dict[str, Any]:
        return self._index._details()
