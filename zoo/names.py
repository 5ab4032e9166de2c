"""Names that become folders: one rule for all of them, and hints for misspelt ones."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from zoo.errors import RunFolderError

__all__ = ["check_name", "closest", "did_you_mean"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_DEVICES = {"aux", "con", "nul", "prn", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}


def check_name(name: str) -> str:
    """Return ``name`` if it may name a folder on every system.

    Args:
        name: One path component: a letter or digit, then up to 99 letters, digits, ``.``, ``_`` or ``-``.

    Raises:
        RunFolderError: The name has other characters (a separator, say), is too long, or is a Windows device.

    Example:
        >>> check_name("CartPole-v1")
        'CartPole-v1'
        >>> check_name("../elsewhere")
        Traceback (most recent call last):
        ...
        zoo.errors.RunFolderError: '../elsewhere' cannot name a folder: ...
    """
    if not _NAME.fullmatch(name) or name.split(".")[0].lower() in _DEVICES:
        raise RunFolderError(
            f"{name!r} cannot name a folder: expected a letter or digit followed by at most 99 letters, "
            "digits, '.', '_' or '-', and no name of a device"
        )
    return name


def closest(name: str, known: Iterable[str]) -> list[str]:
    """List up to three of the ``known`` names that look like ``name``, nearest first, whatever the case.

    Example:
        >>> closest("cartpole", ["ppo/Acrobot-v1", "ppo/CartPole-v1"])
        ['ppo/CartPole-v1']
    """
    wanted = name.casefold()
    by_fold = {candidate.casefold(): candidate for candidate in known}
    containing = [fold for fold in by_fold if wanted and wanted in fold]
    similar = difflib.get_close_matches(wanted, by_fold, n=3, cutoff=0.6)
    return [by_fold[fold] for fold in dict.fromkeys(similar + sorted(containing, key=len))][:3]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Say which known names look like ``name``: a sentence to append to an error, or an empty string.

    Example:
        >>> did_you_mean("gama", ["gamma", "lr"])
        '; did you mean gamma?'
    """
    nearest = closest(name, known)
    return f"; did you mean {' or '.join(nearest)}?" if nearest else ""
