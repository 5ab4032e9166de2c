"""Taking entries out of what an env shows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tensordict import NestedKey

from envkit.core.plan import path_of
from envkit.errors import SpecError
from envkit.specs import Composite

if TYPE_CHECKING:
    from envkit.transforms.base import Transform

__all__ = ["OUTPUTS", "group_of", "refuse_other_group", "under", "without"]

OUTPUTS = ("observation", "reward", "done")


def under(key: NestedKey, levels: Iterable[NestedKey]) -> bool:
    """Whether ``key`` is one of ``levels``, or lies below one.

    Examples:
        >>> under(("agents", "position"), ["agents"]), under("agents", [("agents", "position")])
        (True, False)
    """
    path = path_of(key)
    return any(path[: len(level)] == level for level in map(path_of, levels))


def group_of(key: NestedKey, done: Composite) -> tuple[str, ...]:
    """The level of the done flags that ``key`` is reset with: the deepest one around it.

    Args:
        key: an entry.
        done: the done spec.
    """
    levels = {path_of(flag)[:-1] for flag in done.keys(True, True)}
    return max((level for level in levels if under(key, [level])), key=len, default=())


def refuse_other_group(
    transform: Transform, key: NestedKey, before: Composite, out_key: NestedKey, after: Composite
) -> None:
    """Checks that an entry is reset with the same done flags under its new name as under its old one.

    Raises:
        SpecError: it is not: a reset of others would show what it would be after a reset of its own.
    """
    old, new = group_of(key, before), group_of(out_key, after)
    if old != new:
        raise SpecError(
            f"{type(transform).__name__}: expected {out_key!r} beside or below the done flags of {key!r}, at {old}, "
            f"found those of {new}"
        )


def without(
    transform: Transform,
    specs: dict[str, Composite],
    keys: Iterable[NestedKey],
    *,
    moved: bool = False,
    back: Iterable[NestedKey] = (),
) -> dict[str, Composite]:
    """Specs by role without the outputs at ``keys`` (entries, or whole levels); levels that are left empty go as well.

    Args:
        transform: who hides them, for errors.
        specs: the specs of all roles, which are not edited.
        keys: what to take out.
        moved: whether they are shown in another place instead.
        back: those that the transform puts back where they were on the way in.

    Raises:
        SpecError: the env reads an entry in its next step, or needs it to tell when episodes end, or no reward is left.
    """
    hidden, back = list(keys), list(back)
    name, inputs = type(transform).__name__, set(specs["state"].keys(True, True))
    out = dict(specs)
    for role in OUTPUTS:
        out[role] = specs[role].clone()
        for key in list(out[role].keys(True, True)):
            if not under(key, hidden):
                continue
            del out[role][key]
            if key in inputs and not under(key, back):
                raise SpecError(
                    f"{name}: expected {key!r} to stay, as the next step of the env inside reads it, found it hidden"
                )
            if role == "done" and not moved and path_of(key)[-1] == "done":
                raise SpecError(f"{name}: expected {key!r} to stay, which tells when episodes end, found it hidden")
        _prune(out[role])
    if not moved and out["reward"].is_empty(recurse=True) and not specs["reward"].is_empty(recurse=True):
        rewards = sorted(map(str, specs["reward"].keys(True, True)))
        raise SpecError(f"{name}: expected at least one reward to stay, found all hidden: {rewards}")
    return out


def _prune(spec: Composite) -> None:
    """Takes empty levels out."""
    for key, level in list(spec.items()):
        if isinstance(level, Composite):
            _prune(level)
            if level.is_empty():
                del spec[key]
