"""Changes of dtype."""

from __future__ import annotations

import numpy as np
import torch
from tensordict import NestedKey, TensorDictBase

from envkit.errors import SpecError
from envkit.specs import Composite, TensorSpec
from envkit.transforms.base import Transform
from envkit.transforms.keys import Keys
from envkit.transforms.rows import ColumnFunction

__all__ = ["DTypeCastTransform", "DoubleToFloat"]


class _Cast(Transform):
    """Shows entries of one dtype as another, and hands actions back to the env as it takes them; abstract."""

    keeps_values = True

    def __init__(
        self,
        dtype_in: torch.dtype,
        dtype_out: torch.dtype,
        in_keys: Keys,
        out_keys: Keys,
        in_keys_inv: Keys,
        out_keys_inv: Keys,
    ) -> None:
        super().__init__(in_keys, out_keys, in_keys_inv, out_keys_inv)
        self.dtype_in, self.dtype_out = dtype_in, dtype_out
        self._all = in_keys is None and in_keys_inv is None

    def _apply_transform(self, value: torch.Tensor) -> torch.Tensor:
        return value.to(self.dtype_out)

    def _inv_apply_transform(self, value: torch.Tensor) -> torch.Tensor:
        return value.to(self.dtype_in)

    def _on_arrays(self, source: np.ndarray, target: np.ndarray) -> ColumnFunction:
        def cast(row: int) -> None:
            target[row] = source[row]

        return cast

    _inv_on_arrays = _on_arrays

    def _transform_leaf(self, leaf: TensorSpec) -> TensorSpec:
        return leaf.to(self.dtype_out)

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Finds the entries, if no keys were given, and casts their specs."""
        if self._all:
            self.in_keys = self.out_keys = self._found(specs["observation"], specs["reward"])
            self.in_keys_inv = self.out_keys_inv = self._found(specs["action"], specs["state"])
        return super().transform_specs(specs)

    def _found(self, *specs: Composite) -> list[NestedKey]:
        return [key for spec in specs for key, leaf in spec.items(True, True) if leaf.dtype is self.dtype_in]

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Casts ``in_keys``; with no keys given and no env around, every entry of the dtype."""
        if not self._all or self.container is not None:
            return super().forward(tensordict)
        for key, value in list(tensordict.items(True, True)):
            if isinstance(value, torch.Tensor) and value.dtype is self.dtype_in:
                tensordict.set(key, self._apply_transform(value))
        return tensordict


class DTypeCastTransform(_Cast):
    """Shows entries of one dtype as another, and hands actions back to the env as it takes them.

    Args:
        dtype_in: the dtype inside.
        dtype_out: the dtype outside.
        in_keys: entries to cast; by default every observation and reward whose spec is of ``dtype_in``.
        out_keys: their names outside.
        in_keys_inv: actions (and states) to cast back; with neither ``in_keys`` nor this given, every action and state
            whose spec is of ``dtype_in``.
        out_keys_inv: their names outside.

    Raises:
        SpecError: an in key is of another dtype, or its bounds cannot be told in ``dtype_out``.

    Examples:
        >>> from tensordict import TensorDict
        >>> cast = DTypeCastTransform(torch.float32, torch.float16, in_keys=["x"])
        >>> cast(TensorDict({"x": torch.zeros(2)}))["x"].dtype
        torch.float16
    """

    def __init__(
        self,
        dtype_in: torch.dtype,
        dtype_out: torch.dtype,
        in_keys: Keys = None,
        out_keys: Keys = None,
        in_keys_inv: Keys = None,
        out_keys_inv: Keys = None,
    ) -> None:
        super().__init__(dtype_in, dtype_out, in_keys, out_keys, in_keys_inv, out_keys_inv)

    def _transform_leaf(self, leaf: TensorSpec) -> TensorSpec:
        if leaf.dtype is not self.dtype_in:
            raise SpecError(f"expected dtype {self.dtype_in}, found {leaf.dtype}")
        return super()._transform_leaf(leaf)


class DoubleToFloat(_Cast):
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

    def __init__(
        self, in_keys: Keys = None, out_keys: Keys = None, in_keys_inv: Keys = None, out_keys_inv: Keys = None
    ) -> None:
        super().__init__(torch.float64, torch.float32, in_keys, out_keys, in_keys_inv, out_keys_inv)
