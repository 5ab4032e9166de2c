"""Attributes of what an env wraps."""

from __future__ import annotations

from typing import Any

__all__ = ["ForwardsAttributes"]


class ForwardsAttributes:
    """Of an env: what it lacks is looked up in the simulator around which it stands, but for names with an underscore.

    It comes before the env's other bases.
    """

    def _simulator(self) -> Any:
        """The simulator; None while there is none."""
        return vars(self).get("_env")

    def _simulator_attribute(self, simulator: Any, name: str) -> Any:
        return getattr(simulator, name)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)  # type: ignore[misc]
        except AttributeError:
            simulator = None if name.startswith("_") else self._simulator()
            if simulator is None:
                raise
            try:
                return self._simulator_attribute(simulator, name)
            except AttributeError:
                innermost = type(getattr(simulator, "unwrapped", simulator)).__name__
                raise AttributeError(
                    f"neither {type(self).__name__} nor the wrapped {innermost} has {name!r}"
                ) from None
