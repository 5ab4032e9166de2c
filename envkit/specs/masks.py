"""Leaves that choose among categories, some of which a mask may rule out."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from envkit.errors import LockedSpecError, SpecError
from envkit.specs.convert import as_tensor
from envkit.specs.shapes import describe_shape
from envkit.specs.tensor_leaf import TensorLeaf

if TYPE_CHECKING:
    from typing import Self

__all__ = ["MaskedLeaf", "allowed_only", "nearest_allowed", "sample_allowed"]


class MaskedLeaf(TensorLeaf):
    """A leaf of category numbers with an optional mask.

    The mask is boolean, True where a category is allowed, and has one row of all categories (of all
    variables, one after the other) for each batch element.
    """

    _params: ClassVar[tuple[str, ...]] = ("_mask",)
    _mask: Tensor | None

    @abc.abstractmethod
    def _blocks(self) -> list[int]:
        """Return the number of categories of each variable in a row of the mask.

        Raises:
            SpecError: if it differs between rows, so that no mask is possible.
        """

    @property
    def _has_blocks(self) -> bool:
        """Whether the number of categories is the same in all rows, as :meth:`_blocks` and a mask need it."""
        return True

    @abc.abstractmethod
    def _one_hot(self, index: Tensor) -> Tensor:
        """Return bool vectors for category numbers that are in range, those of a row one after the other."""

    @abc.abstractmethod
    def _limits(self) -> Tensor | int:
        """Return the number of categories that each element has."""

    def to_one_hot(self, value: Tensor) -> Tensor:
        """Return bool vectors for category numbers, those of several variables one after the other.

        Raises:
            SpecError: if a number is out of range.
        """
        index = value.to(torch.int64)
        wrong = (index < 0) | (index >= self._limits())
        if bool(wrong.any()):
            raise SpecError(f"expected category numbers of {self}, found {index[wrong][0].item()}")
        return self._one_hot(index)

    def to_categorical(self, value: Tensor) -> Tensor:
        """Return ``value``, which is categorical already."""
        return value

    def to_categorical_spec(self) -> Self:
        """Return the spec itself."""
        return self

    @property
    def domain(self) -> str:
        """``"discrete"``."""
        return "discrete"

    @property
    def mask(self) -> Tensor | None:
        """Allowed categories, shape ``(*batch, number of categories)``, or None if all are."""
        return self._mask

    def update_mask(self, mask: Any) -> None:
        """Replace the mask; None removes it.

        Raises:
            LockedSpecError: if the spec is locked.
            SpecError: if the mask does not broadcast to the categories, or forbids all categories of an
                element.
        """
        if self.is_locked:
            raise LockedSpecError(f"cannot modify the mask of a locked {type(self).__name__}: change a clone()")
        self._set_mask(mask)

    def _set_mask(self, mask: Any) -> None:
        self._mask = None if mask is None else self._checked_mask(mask)

    def _checked_mask(self, mask: Any) -> Tensor:
        blocks = self._blocks()
        sizes = [1 if d < 0 else d for d in self._shape[: self._leading()]] + [sum(blocks)]
        given = as_tensor(mask)
        try:
            # A copy: what the caller does to its tensor later must not change the spec.
            allowed = given.to(self._device, torch.bool, copy=True).expand(sizes)
        except RuntimeError as error:
            raise SpecError(
                f"mask: expected a shape that broadcasts to {describe_shape(sizes)}, "
                f"found {describe_shape(given.shape)}"
            ) from error
        for part in allowed.split(blocks, -1):
            if not bool(part.any(-1).all()):
                raise SpecError("mask: expected at least one allowed category for each element, found none")
        return allowed

    def _filled(self, name: str) -> Any:
        if name == "_mask" and self._mask is None:
            return self._checked_mask(True)
        return super()._filled(name)

    def _details(self) -> dict[str, Any]:
        if self._mask is None:
            return {}
        shown = str(self._mask.int().tolist()) if self._mask.numel() <= 16 else describe_shape(self._mask.shape)
        return {"mask": shown}


def sample_allowed(mask: Tensor, size: torch.Size, generator: torch.Generator | None) -> Tensor:
    """Draw category numbers of shape ``size`` among the allowed ones; ``mask`` is ``[*batch, n]``."""
    rows = mask.reshape(-1, mask.shape[-1])
    batch = mask.shape[:-1]
    extra = size[: len(size) - len(batch)]
    draws = extra.numel()
    if not draws or not rows.shape[0]:
        return torch.zeros(size, dtype=torch.int64, device=mask.device)
    picks = torch.multinomial(rows.float(), draws, replacement=True, generator=generator)
    return picks.t().reshape(size)


def nearest_allowed(value: Tensor, mask: Tensor) -> Tensor:
    """Move category numbers ``[..., *batch]`` to the closest allowed ones, the smaller of two."""
    n = mask.shape[-1]
    distance = (torch.arange(n, device=value.device) - value.unsqueeze(-1)).abs()
    return torch.where(mask, distance, n).argmin(-1)


def allowed_only(options: Sequence[int], row: Tensor) -> list[int]:
    """Return the options that a row of a mask allows."""
    return [option for option, allowed in zip(options, row.tolist(), strict=True) if allowed]
