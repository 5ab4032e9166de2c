"""Which simulators can be used as things are."""

from __future__ import annotations

from importlib.util import find_spec

__all__ = ["get_available_libraries"]

MODULES = {
    "envpool": "envpool",
    "gym": "gym",
    "gymnasium": "gymnasium",
    "mujoco": "mujoco",
    "pettingzoo": "pettingzoo",
    "ray": "ray",
}


def get_available_libraries() -> list[str]:
    """Names of the installed libraries that envkit has a wrapper, or a use, for; none of them is imported.

    Examples:
        >>> "gymnasium" in get_available_libraries()
        True
    """
    return [name for name, module in MODULES.items() if find_spec(module) is not None]
