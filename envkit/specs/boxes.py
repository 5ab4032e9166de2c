"""Boxes: the sets of admissible values, as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from envkit.errors import SpecError

__all__ = ["BinaryBox", "BoxList", "CategoricalBox", "ContinuousBox", "TextBox"]


@dataclass(frozen=True, eq=False)
class ContinuousBox:
    """All values between ``low`` and ``high``, both included; tensors of the shape and dtype of the spec.

    >>> ContinuousBox(torch.zeros(2), torch.ones(2))
    ContinuousBox(low=tensor([0., 0.]), high=tensor([1., 1.]))
    """

    low: Tensor
    high: Tensor

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ContinuousBox):
            return NotImplemented
        return torch.equal(self.low, other.low) and torch.equal(self.high, other.high)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class CategoricalBox:
    """The integers from 0 to ``n`` - 1.

    >>> CategoricalBox(3).register
    range(0, 3)
    """

    n: int

    @property
    def register(self) -> range:
        """The members."""
        return range(self.n)


@dataclass(frozen=True)
class BinaryBox:
    """Vectors of ``n`` zeros and ones."""

    n: int


@dataclass(frozen=True)
class BoxList:
    """One box for each variable of a multi-categorical spec.

    >>> BoxList.from_nvec([2, 3])[1]
    CategoricalBox(n=3)
    """

    boxes: tuple[CategoricalBox | BoxList, ...]

    @classmethod
    def from_nvec(cls, nvec: Sequence[Any]) -> BoxList:
        """Build the boxes from a (nested) list of numbers of categories."""
        return cls(tuple(cls.from_nvec(n) if isinstance(n, Sequence) else CategoricalBox(n) for n in nvec))

    def __iter__(self) -> Iterator[CategoricalBox | BoxList]:
        return iter(self.boxes)

    def __getitem__(self, index: int) -> CategoricalBox | BoxList:
        return self.boxes[index]

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True)
class TextBox:
    """Strings of ``min_length`` to ``max_length`` characters out of ``charset``.

    >>> box = TextBox(max_length=3, charset="ab")
    >>> box.contains("aba"), box.contains("abc")
    (True, False)
    """

    max_length: int
    min_length: int = 1
    charset: str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

    def __post_init__(self) -> None:
        if not 0 <= self.min_length <= self.max_length:
            raise SpecError(
                f"text length: expected 0 <= min_length <= max_length, found {self.min_length} and {self.max_length}"
            )
        if not self.charset and self.max_length:
            raise SpecError("charset: expected at least one character, found none")

    def contains(self, value: Any) -> bool:
        """Whether ``value`` is such a string."""
        return (
            isinstance(value, str)
            and self.min_length <= len(value) <= self.max_length
            and set(value) <= set(self.charset)
        )

    def sample(self, generator: torch.Generator | None = None) -> str:
        """Draw a length, then each character, uniformly."""
        device = None if generator is None else generator.device
        length = int(torch.randint(self.min_length, self.max_length + 1, (), generator=generator, device=device))
        if not length:
            return ""
        picks = torch.randint(len(self.charset), (length,), generator=generator, device=device)
        return "".join(self.charset[i] for i in picks.tolist())
