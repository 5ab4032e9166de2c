"""Changes of dtype."""

from __future__ import annotations

import numpy as np
import torch
from tensordict import NestedKey, TensorDictBase

from envkit.specs import Composite, TensorSpec
from envkit.transforms.base import Transform
from envkit.transforms.keys import Keys
from envkit.transforms.rows import ColumnFunction

__all__ = ["DoubleToFloat"]


class DoubleToFloat(Transform):
    """Shows float64 entries as float32, and hands float32 actions to the env as float64.

    Args:
        in_keys: entries to show as float32; by default every observation and reward whose spec is float64.
        out_keys: their names outside.
        in_keys_inv: actions (and states) that the env takes as float64; with neither ``in_keys`` nor this given, every
            action and state whose spec is float64.
        out_keys_inv: their names outside.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> from tensordict import TensorDict
        >>> DoubleToFloat(in_keys=["x"])(TensorDict({"x": torch.zeros(2, dtype=torch.float64)}))["x"].dtype
        torch.float32
    """

    keeps_values = True

    def __init__(
        self, in_keys: Keys = None, out_keys: Keys = None, in_keys_inv: Keys = None, out_keys_inv: Keys = None
    ) -> None:
        super().__init__(in_keys, out_keys, in_keys_inv, out_keys_inv)
        self._all = in_keys is None and in_keys_inv is None

    def _apply_transform(self, value: torch.Tensor) -> torch.Tensor:
        return value.to(torch.float32)

    def _inv_apply_transform(self, value: torch.Tensor) -> torch.Tensor:
        return value.to(torch.float64)

    def _on_arrays(self, source: np.ndarray, target: np.ndarray) -> ColumnFunction:
        def cast(row: int) -> None:
            target[row] = source[row]

        return cast

    _inv_on_arrays = _on_arrays

    def _transform_leaf(self, leaf: TensorSpec) -> TensorSpec:
        return leaf.to(torch.float32)

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Finds the float64 entries, if no keys were given, and casts their specs."""
        if self._all:
            self.in_keys = self.out_keys = _doubles(specs["observation"], specs["reward"])
            self.in_keys_inv = self.out_keys_inv = _doubles(specs["action"], specs["state"])
        return super().transform_specs(specs)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Casts ``in_keys``; with no keys given and no env around, every float64 entry."""
        if not self._all or self.container is not None:
            return super().forward(tensordict)
        for key, value in list(tensordict.items(True, True)):
            if isinstance(value, torch.Tensor) and value.dtype is torch.float64:
                tensordict.set(key, self._apply_transform(value))
        return tensordict


def _doubles(*specs: Composite) -> list[NestedKey]:
    return [key for spec in specs for key, leaf in spec.items(True, True) if leaf.dtype is torch.float64]
