"""Locks that a parent holds on its children."""

from __future__ import annotations

import abc
from collections.abc import Iterable
from typing import TYPE_CHECKING

from envkit.errors import LockedSpecError

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Lockable"]


class Lockable(abc.ABC):
    """Something that can refuse to change, alone or together with its children.

    A locked parent holds a lock on each child, on top of the lock that the child may have of its own: a child
    of two locked parents is free once both have been unlocked.
    """

    _locked: bool
    _holders: int  # locked parents
    _holds: bool  # whether the children are locked by this one

    @abc.abstractmethod
    def _children(self) -> Iterable[Lockable]:
        """Return the objects that follow this one's lock."""

    @property
    def is_locked(self) -> bool:
        """Whether the spec refuses to change."""
        return self._locked or self._holders > 0

    @property
    def locked(self) -> bool:
        """Return :attr:`is_locked`."""
        return self.is_locked

    def lock_(self, recurse: bool = True) -> Self:
        """Refuse all further changes, of the children too unless ``recurse`` is False."""
        if recurse and not self._holds:
            self._hold_children()
        self._locked = True
        return self

    def unlock_(self) -> Self:
        """Allow changes again.

        Raises:
            LockedSpecError: if a locked parent holds this spec; unlock the root, or :meth:`clone`.
        """
        if self._holders:
            raise LockedSpecError(
                f"cannot unlock a {type(self).__name__} that belongs to a locked Composite: unlock the root "
                "Composite, or change a clone()"
            )
        if self._locked:
            self._locked = False
            self._release_children()
        return self

    def _hold_children(self) -> None:
        self._holds = True
        for child in self._children():
            child._acquire()

    def _release_children(self) -> None:
        if self._holds:
            self._holds = False
            for child in self._children():
                child._release()

    def _acquire(self) -> None:
        if not self.is_locked:
            self._hold_children()
        self._holders += 1

    def _release(self) -> None:
        self._holders -= 1
        if not self.is_locked:
            self._release_children()
