"""Names of entries, and errors that know which entry they are about."""

from __future__ import annotations

from typing import Any, TypeVar

from tensordict import unravel_key

from envkit.errors import SpecError

__all__ = ["EntryError", "Key", "below", "is_key", "named_call", "split_key"]

Key = str | tuple[str, ...]
T = TypeVar("T")


def is_key(index: Any) -> bool:
    """Whether ``index`` is a name or a (nested) tuple of names.

    >>> is_key("a"), is_key(("a", ("b",))), is_key(()), is_key(("a", 0))
    (True, True, False, False)
    """
    return isinstance(index, str) or (isinstance(index, tuple) and bool(index) and all(is_key(i) for i in index))


def split_key(key: Any) -> tuple[str, ...]:
    """Return the names that lead to an entry.

    Raises:
        SpecError: if ``key`` is no key.

    >>> split_key("a"), split_key(("a", ("b", "c")))
    (('a',), ('a', 'b', 'c'))
    """
    if isinstance(key, str):
        return (key,)
    if not is_key(key):
        raise SpecError(f"key {key!r}: expected a name or a tuple of names, found {type(key).__name__}")
    flat = unravel_key(key)
    return (flat,) if isinstance(flat, str) else flat


def below(name: str, key: Key | tuple[()]) -> Key:
    """Return ``key`` seen from one level up."""
    if key == ():
        return name
    return (name, key) if isinstance(key, str) else (name, *key)


class EntryError(SpecError):
    """A SpecError that knows which entry it is about, so that each level can complete the name."""

    def __init__(self, key: Key, reason: str) -> None:
        super().__init__(key, reason)

    def __str__(self) -> str:
        key, reason = self.args
        return f"{key!r}: {reason}"


def named_call(name: str, function: Any, *args: Any, **kwargs: Any) -> Any:
    """Call ``function``, naming the entry if it raises a SpecError."""
    try:
        return function(*args, **kwargs)
    except EntryError as error:
        raise EntryError(below(name, error.args[0]), error.args[1]) from error
    except SpecError as error:
        raise EntryError(name, str(error)) from error
