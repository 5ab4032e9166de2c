"""Keys as transforms take them."""

from __future__ import annotations

from collections.abc import Sequence

from tensordict import NestedKey

from envkit.core.plan import path_of

__all__ = ["Keys", "listed", "paired", "sibling"]

Keys = NestedKey | Sequence[NestedKey] | None
"""One key, several, or none."""


def listed(keys: Keys) -> list[NestedKey]:
    """Keys as a list; a string or a tuple is one key.

    Examples:
        >>> listed("a"), listed(("a", "b")), listed(["a", "b"]), listed(None)
        (['a'], [('a', 'b')], ['a', 'b'], [])
    """
    if keys is None:
        return []
    return [keys] if isinstance(keys, (str, tuple)) else list(keys)


def paired(owner: str, in_name: str, in_keys: Keys, out_name: str, out_keys: Keys) -> tuple[list, list]:
    """In keys and out keys as lists of one length; out keys default to the in keys.

    Args:
        owner: name of the transform, for the error.
        in_name: name of the first argument.
        in_keys: its keys.
        out_name: name of the second argument.
        out_keys: its keys.

    Raises:
        ValueError: there are more of one kind than of the other.
    """
    ins = listed(in_keys)
    outs = list(ins) if out_keys is None else listed(out_keys)
    if len(ins) != len(outs):
        raise ValueError(f"{owner}: expected as many {out_name} as {in_name}, found {outs} for {ins}")
    return ins, outs


def sibling(key: NestedKey, name: str) -> NestedKey:
    """The key called ``name`` beside ``key``.

    Examples:
        >>> sibling("done", "step_count"), sibling(("agents", "done"), "step_count")
        ('step_count', ('agents', 'step_count'))
    """
    path = path_of(key)
    return name if len(path) == 1 else (*path[:-1], name)
