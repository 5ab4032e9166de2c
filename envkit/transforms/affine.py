"""What normalisation and scaling share: an affine map of single values, with rows and bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from envkit.errors import SpecError
from envkit.specs import Bounded, TensorSpec, Unbounded
from envkit.transforms.base import Transform
from envkit.transforms.functional import affine, standardize
from envkit.transforms.keys import Keys
from envkit.transforms.rows import ColumnFunction

__all__ = ["Affine", "float_dtype"]

Limits = tuple[torch.Tensor, torch.Tensor]


class Affine(Transform):
    """An affine map on the way out and its inverse on the way in; abstract.

    Args:
        loc: the offset; None until it is known.
        scale: the factor; None until it is known.
        in_keys: entries to map.
        out_keys: their names outside.
        in_keys_inv: actions (or states) that are mapped back on their way in.
        out_keys_inv: their names outside.
        standard_normal: ``(x - loc) / scale`` on the way out, instead of ``x * scale + loc``.
    """

    loc: Any
    scale: Any

    def __init__(
        self,
        loc: float | torch.Tensor | None,
        scale: float | torch.Tensor | None,
        in_keys: Keys = None,
        out_keys: Keys = None,
        in_keys_inv: Keys = None,
        out_keys_inv: Keys = None,
        *,
        standard_normal: bool,
    ) -> None:
        super().__init__(in_keys, out_keys, in_keys_inv, out_keys_inv)
        if (loc is None) != (scale is None):
            name = type(self).__name__
            raise ValueError(f"{name}: expected loc and scale together or neither, found loc={loc}, scale={scale}")
        self.standard_normal = standard_normal
        # What comes of the map, and of its inverse, is brought back between these: rounding may leave a bound.
        self._limits: Limits | None = None
        self._limits_inv: Limits | None = None
        self.register_buffer("loc", None if loc is None else torch.as_tensor(loc, dtype=_dtype(loc)))
        self.register_buffer("scale", None if scale is None else torch.as_tensor(scale, dtype=_dtype(scale)))

    @property
    def initialized(self) -> bool:
        """Whether ``loc`` and ``scale`` are known."""
        return self.loc is not None

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Takes over statistics of any shape if there are none yet."""
        for name in ("loc", "scale"):
            value = state_dict.get(prefix + name)
            if value is not None and getattr(self, name) is None:
                setattr(self, name, torch.empty_like(value))
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._changed()

    def _apply_transform(self, value: torch.Tensor) -> torch.Tensor:
        return self._mapped(value, self.standard_normal, self._limits)

    def _inv_apply_transform(self, value: torch.Tensor) -> torch.Tensor:
        return self._mapped(value, not self.standard_normal, self._limits_inv)

    def _mapped(self, value: torch.Tensor, standard: bool, limits: Limits | None) -> torch.Tensor:
        if not self.initialized:
            raise RuntimeError(self._missing())
        out = (standardize if standard else affine)(value, self.loc, self.scale)
        return out if limits is None else out.clamp(*limits)

    def _missing(self) -> str:
        return f"{type(self).__name__}: expected loc and scale, found none; call init_stats or pass them"

    def _on_arrays(self, source: np.ndarray, target: np.ndarray) -> ColumnFunction | None:
        return self._on_rows(source, target, self.standard_normal, self._limits)

    def _inv_on_arrays(self, source: np.ndarray, target: np.ndarray) -> ColumnFunction | None:
        return self._on_rows(source, target, not self.standard_normal, self._limits_inv)

    def _on_rows(
        self, source: np.ndarray, target: np.ndarray, standard: bool, limits: Limits | None
    ) -> ColumnFunction | None:
        """The change to rows where all is of one dtype: numpy and torch widen mixed ones by other rules."""
        dtype = source.dtype
        if not self.initialized or target.dtype != dtype:
            return None
        loc, scale = (
            # A statistic without dimensions has no say in the dtype.
            array if array.ndim else array.astype(dtype, copy=False)
            for array in (self.loc.detach().numpy(), self.scale.detach().numpy())
        )
        if loc.dtype != dtype or scale.dtype != dtype or not np.issubdtype(dtype, np.floating):
            return None
        steps = ((np.subtract, loc), (np.divide, scale)) if standard else ((np.multiply, scale), (np.add, loc))
        (first, one), (second, other) = steps

        def change(row: int) -> None:
            out = target[row, ...]
            first(source[row, ...], one, out=out)
            second(out, other, out=out)

        if limits is None:
            return change
        low, high = (limit.numpy() for limit in limits)

        def change_within(row: int) -> None:
            change(row)
            out = target[row, ...]
            np.minimum(np.maximum(out, low, out=out), high, out=out)

        return change_within

    def _transform_leaf(self, leaf: TensorSpec) -> TensorSpec:
        if not self.initialized:
            return Unbounded(leaf.shape, dtype=float_dtype(leaf), device=leaf.device)
        changed = self._apply_transform(leaf.zero())
        if changed.shape != leaf.shape:
            raise SpecError(
                f"expected loc and scale that broadcast to {list(leaf.shape)}, found {list(self.loc.shape)} and "
                f"{list(self.scale.shape)}, which make it {list(changed.shape)}"
            )
        dtype = changed.dtype
        if not isinstance(leaf, Bounded):
            return Unbounded(leaf.shape, dtype=dtype, device=leaf.device)
        ends = torch.stack(
            [self._apply_transform(end.to(dtype)).expand(leaf.shape) for end in (leaf.space.low, leaf.space.high)]
        )
        return Bounded(ends.amin(0), ends.amax(0), shape=leaf.shape, dtype=dtype, device=leaf.device)


def float_dtype(leaf: TensorSpec) -> torch.dtype:
    """The dtype of a leaf's values as floats: their own, or torch's default one."""
    return leaf.dtype if leaf.dtype is not None and leaf.dtype.is_floating_point else torch.get_default_dtype()


def _dtype(value: float | torch.Tensor) -> torch.dtype:
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value.dtype
    return torch.get_default_dtype()
