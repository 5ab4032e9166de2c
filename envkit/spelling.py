"""Hints for names that are misspelt."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

__all__ = ["closest", "did_you_mean"]


def closest(name: Any, known: Iterable[str]) -> list[str]:
    """Up to three of the ``known`` names that look like ``name``, the nearest first, whatever the case.

    Examples:
        >>> closest("cartpole", ["ppo/Acrobot-v1", "ppo/CartPole-v1"])
        ['ppo/CartPole-v1']
    """
    wanted = str(name).casefold()
    by_fold = {candidate.casefold(): candidate for candidate in known}
    containing = [fold for fold in by_fold if wanted and wanted in fold]
    similar = difflib.get_close_matches(wanted, by_fold, n=3, cutoff=0.6)
    return [by_fold[fold] for fold in dict.fromkeys(similar + sorted(containing, key=len))][:3]


def did_you_mean(name: Any, known: Iterable[str]) -> str:
    """The known names that look like ``name``, as the end of a message; nothing if none does.

    Examples:
        >>> did_you_mean("gama", ["gamma", "lr"])
        "; did you mean 'gamma'?"
        >>> did_you_mean("momentum", ["gamma", "lr"])
        ''
    """
    nearest = closest(name, known)
    return f"; did you mean {' or '.join(map(repr, nearest))}?" if nearest else ""
