"""Copies of simulators that do not say how they are copied, or say it wrongly."""

from __future__ import annotations

import copy
from types import FunctionType
from typing import Any

__all__ = ["is_drawn_on", "simulator_copied"]


def simulator_copied(bare: Any, memo: dict[int, Any]) -> dict[int, Any]:
    """Copies a simulator, and returns ``memo`` with the copy in it, for whatever refers to it to be copied.

    Many simulators copy themselves as a new one made with the same arguments (EzPickle), which loses their state. What
    pygame draws on cannot be copied: the copy has none, as before it first draws.
    """
    if id(bare) in memo:
        return memo
    twin = memo[id(bare)] = object.__new__(type(bare))
    kept = {name: value for name, value in vars(bare).items() if not is_drawn_on(value)}
    # It is None where __init__ says so, and else not there at all: simulators look for either.
    inits = [vars(kind).get("__init__") for kind in type(bare).__mro__]
    named = {name for init in inits if isinstance(init, FunctionType) for name in init.__code__.co_names}
    drawn_on = [name for name in vars(bare) if name not in kept and name in named]
    twin.__dict__.update(copy.deepcopy(kept, memo), **dict.fromkeys(drawn_on))
    return memo


def is_drawn_on(value: Any) -> bool:
    """Whether something is pygame's: a surface, a clock, a font, or images in a list or a dict."""
    if isinstance(value, (list, tuple, dict)):
        return any(map(is_drawn_on, value.values() if isinstance(value, dict) else value))
    return type(value).__module__.partition(".")[0] == "pygame"
