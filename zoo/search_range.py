"""What values a search may try for an entry of a config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zoo.errors import ConfigError

__all__ = ["SearchRange"]


@dataclass(frozen=True)
class SearchRange:
    """The values of one entry: from ``low`` to ``high``, or one of ``choices``.

    Attributes:
        low: The lowest; whole numbers for both bounds search whole numbers only.
        high: The highest.
        log: Whether numbers are drawn evenly on a logarithmic scale.
        choices: The values, where they are no range.

    Raises:
        ConfigError: Neither two bounds nor choices, both, or bounds that are no range.

    Example:
        >>> SearchRange(low=1e-4, high=1e-2, log=True).high
        0.01
        >>> SearchRange(low=1.0)
        Traceback (most recent call last):
        ...
        zoo.errors.ConfigError: expected low and high, or choices, found low=1.0, high=None, choices=None
    """

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: list[Any] | None = None

    def __post_init__(self) -> None:
        bounded = self.low is not None and self.high is not None
        unbounded = self.low is None and self.high is None
        if not (bounded if self.choices is None else unbounded and self.choices):
            raise ConfigError(
                f"expected low and high, or choices, found low={self.low}, high={self.high}, choices={self.choices}"
            )
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ConfigError(f"low: expected less than high {self.high}, found {self.low}")
        if self.log and (self.low is None or self.low <= 0):
            raise ConfigError(f"log: expected a range of positive numbers, found low={self.low}")

    @property
    def whole(self) -> bool:
        """Whether both bounds are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)
