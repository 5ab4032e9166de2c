"""Hints for names that are misspelt."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

__all__ = ["did_you_mean"]


def did_you_mean(name: Any, known: Iterable[str]) -> str:
    """The known name nearest to ``name``, as the end of a message; nothing if none is near.

    Examples:
        >>> did_you_mean("gama", ["gamma", "lr"])
        "; did you mean 'gamma'?"
        >>> did_you_mean("momentum", ["gamma", "lr"])
        ''
    """
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
