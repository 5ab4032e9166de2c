"""Transforms that keep an entry beside each done flag."""

from __future__ import annotations

from tensordict import NestedKey

from envkit.core.plan import path_of
from envkit.errors import SpecError
from envkit.specs import Composite, TensorSpec
from envkit.transforms.base import Transform
from envkit.transforms.keys import sibling

__all__ = ["PerGroup"]


class PerGroup(Transform):
    """Base of transforms with one entry beside each ``done`` flag of the env."""

    def __init__(self) -> None:
        super().__init__()
        self._done_keys: list[NestedKey] = ["done"]

    def _beside(self, name: str) -> list[NestedKey]:
        return [sibling(key, name) for key in self._done_keys]

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Learns where the done flags are."""
        self._done_keys = [key for key in specs["done"].keys(True, True) if path_of(key)[-1] == "done"]
        return super().transform_specs(specs)

    def _added(self, observation: Composite, key: NestedKey, leaf: TensorSpec) -> None:
        """Adds an entry to a spec of observations.

        Raises:
            SpecError: there is one of that name, and it is of another kind.
        """
        there = observation.get(key, None)
        if there is not None and (type(there), there.dtype, there.shape) != (type(leaf), leaf.dtype, leaf.shape):
            raise SpecError(
                f"{type(self).__name__}: expected no observation {key!r} in the env inside, found {there}; give the "
                f"entry another name"
            )
        observation[key] = leaf
