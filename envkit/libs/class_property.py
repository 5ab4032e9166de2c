"""Properties of classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

__all__ = ["class_property"]

T = TypeVar("T")


class class_property(Generic[T]):  # noqa: N801 - a decorator
    """A read-only property of a class and of its instances, worked out whenever it is asked for.

    Examples:
        >>> class Simulator:
        ...     games = ("chess", "go")
        ...     @class_property
        ...     def available_envs(cls):
        ...         return sorted(cls.games)
        >>> Simulator.available_envs, Simulator().available_envs
        (['chess', 'go'], ['chess', 'go'])
    """

    def __init__(self, function: Callable[[Any], T]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    def __get__(self, instance: Any, owner: type) -> T:
        return self._function(owner)
