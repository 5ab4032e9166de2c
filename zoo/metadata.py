"""What a result was made with: versions of the software, and the machine."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

__all__ = ["versions"]

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
