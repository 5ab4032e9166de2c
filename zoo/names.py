"""Names that become folders: one rule for all of them."""

from __future__ import annotations

import re

from zoo.errors import RunFolderError

__all__ = ["check_name"]

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
