"""What a result was made with: versions of the software, the commit, and the machine."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["commit", "versions"]

_PACKAGES = ("envkit", "gymnasium", "numpy", "tensordict", "torch")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on.

    Example:
        >>> sorted(versions())
        ['envkit', 'gymnasium', 'numpy', 'platform', 'python', 'tensordict', 'torch']
    """
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "run from source"
    return found


@cache
def commit() -> str | None:
    """Return the commit that the zoo runs from, with ``-dirty`` if files were changed since; None outside a checkout.

    Example:
        >>> commit() is None or len(commit()) >= 12
        True
    """
    here = Path(__file__).parent
    try:
        # An installed package may lie in somebody else's checkout, say in a virtual environment there.
        _git(here, "ls-files", "--error-unmatch", Path(__file__).name)
        return _git(here, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()
