"""Boxes and unbounded leaves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from envkit.errors import SpecError
from envkit.specs.boxes import ContinuousBox
from envkit.specs.convert import as_tensor, cast_exact, describe_dtype
from envkit.specs.numeric import is_integral, limits, narrow, to_integers, wide_dtype, widen
from envkit.specs.sampling import between, normal, random_bits, uniform_integers
from envkit.specs.shapes import as_size, compact, describe_shape, known_index
from envkit.specs.tensor_leaf import TensorLeaf

__all__ = ["Bounded", "Unbounded"]


class Bounded(TensorLeaf):
    """Tensors between two bounds, both included.

    Args:
        low: lower bounds, a number or anything that broadcasts to ``shape``; may be infinite.
        high: upper bounds, alike.
        shape: shape of a value; by default the common shape of ``low`` and ``high``, which then cannot both
            be scalars.
        device: device of the values, the CPU by default.
        dtype: dtype of the values, torch's default dtype if None. With an integer dtype the spec is discrete.

    :meth:`rand` is uniform between finite bounds. Like Gymnasium's ``Box`` it adds an exponential variable to
    a single finite bound, and draws from the standard normal where there is none.

    Raises:
        SpecError: if the bounds cross, are NaN, do not broadcast, or if the dtype cannot hold them.

    >>> spec = Bounded(low=-1, high=1, shape=(2,))
    >>> spec
    Bounded(shape=[2], low=-1.0, high=1.0, dtype=float32)
    >>> spec.is_in(torch.tensor([0.5, 2.0]))
    False
    >>> spec.project(torch.tensor([0.5, 2.0]))
    tensor([0.5000, 1.0000])
    >>> Bounded(low=0, high=255, shape=(64, 64, 3), dtype=torch.uint8).rand((10,)).shape
    torch.Size([10, 64, 64, 3])
    """

    _params: ClassVar[tuple[str, ...]] = ("_low", "_high")

    def __init__(
        self,
        low: Any,
        high: Any,
        shape: int | Iterable[int] | None = None,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        dtype = torch.get_default_dtype() if dtype is None else dtype
        if dtype.is_complex:
            raise SpecError(f"dtype: expected an ordered dtype, found {describe_dtype(dtype)}")
        low, high = as_tensor(low), as_tensor(high)
        if shape is None:
            if not low.ndim and not high.ndim:
                raise SpecError(f"shape: expected one for scalar bounds {low.item()} and {high.item()}, found None")
            try:
                shape = torch.broadcast_shapes(low.shape, high.shape)
            except RuntimeError as error:
                raise SpecError(
                    "bounds: expected shapes that broadcast, found "
                    f"{describe_shape(low.shape)} and {describe_shape(high.shape)}"
                ) from error
        super().__init__(shape, dtype, device)
        self._low, self._high = (self._bound(*bound) for bound in (("low", low), ("high", high)))
        self._derive()

    def _bound(self, name: str, value: Tensor) -> Tensor:
        try:
            bound = _exact_bound(value, self._dtype).to(self._device)
        except SpecError as error:
            raise SpecError(f"{name}: {error}") from error
        sizes = [1 if d < 0 else d for d in self._shape]
        try:
            stored = compact(bound.expand(sizes))
        except RuntimeError as error:
            raise SpecError(
                f"{name}: expected a shape that broadcasts to {describe_shape(self._shape)}, "
                f"found {describe_shape(value.shape)}"
            ) from error
        # Equal bounds are stored once, and a copy is stored: the caller may write to its own tensor later.
        return (_common(stored) if stored.numel() > 1 else stored).clone().expand(sizes)

    def _derive(self) -> None:
        super()._derive()
        low, high = compact(widen(self._low)), compact(widen(self._high))
        if bool((low > high).any()):
            raise SpecError(
                f"bounds: expected low <= high, found low={_summary(self._low)}, high={_summary(self._high)}"
            )
        self._wide = (low, high)
        # What rand needs: the two numbers if all bounds are alike, the width if none is infinite.
        self._uniform = (low.item(), high.item()) if low.numel() == high.numel() == 1 else None
        width = high - low
        self._width = width if low.is_floating_point() and bool(width.isfinite().all()) else None

    @property
    def low(self) -> Tensor:
        """Lower bounds, of the shape of the spec."""
        return self._low

    @property
    def high(self) -> Tensor:
        """Upper bounds, of the shape of the spec."""
        return self._high

    @property
    def space(self) -> ContinuousBox:
        """The bounds, of the shape and dtype of the spec."""
        return ContinuousBox(self._low, self._high)

    def _sample(self, size: torch.Size, generator: torch.Generator | None) -> Tensor:
        low, high = self._wide
        dtype, device = self._dtype, self._device
        if is_integral(dtype):
            # uint64 is shifted when widened: its numbers are drawn as int64 and shifted back.
            if self._uniform is not None and self._uniform[1] - self._uniform[0] < 2**62:
                first, last = int(self._uniform[0]), int(self._uniform[1])
                if last < 2**63 - 1:
                    draw = torch.randint(first, last + 1, size, generator=generator, device=device)
                    return narrow(draw, dtype)
            return narrow(uniform_integers(low.to(torch.int64), high.to(torch.int64), size, generator), dtype)
        if self._width is None:
            return between(low, high, size, generator).to(dtype)
        if self._uniform is not None:
            draw = torch.empty(size, dtype=low.dtype, device=device).uniform_(*self._uniform, generator=generator)
            return draw.clamp_(*self._uniform).to(dtype)
        draw = torch.rand(size, dtype=low.dtype, device=device, generator=generator)
        # Rounding may leave the interval by one unit in the last place.
        return (draw * self._width + low).clamp(low, high).to(dtype)

    def _nearest(self, value: Tensor) -> Tensor:
        low, high = self._wide
        dtype = self._dtype
        if is_integral(dtype):
            wide = to_integers(value, dtype)
            # Bounds are compared in int64 unless both sides share a narrower dtype.
            if wide.dtype is not low.dtype:
                low, high = low.to(torch.int64), high.to(torch.int64)
            return narrow(wide.clamp(low, high), dtype)
        real = value.real if value.is_complex() else value
        wide = real.to(wide_dtype(dtype))
        return narrow(wide.nan_to_num(0.0, math.inf, -math.inf).clamp(low, high), dtype)

    def _contains(self, value: Tensor) -> bool:
        value = widen(value.detach().to(self._device))
        # clamp keeps NaN, and NaN equals nothing.
        return torch.equal(value.clamp(*self._wide), value)

    def _expected(self, index: tuple[int, ...]) -> str:
        place = known_index(index, self._shape)
        return f"a number in [{self._low[place].item()}, {self._high[place].item()}]"

    def _options(self) -> list[Sequence[int]]:
        if not is_integral(self._dtype):
            return super()._options()
        pairs = zip(self._low.flatten().tolist(), self._high.flatten().tolist(), strict=True)
        return [range(int(low), int(high) + 1) for low, high in pairs]

    def _cast(self, dtype: torch.dtype, params: dict[str, Any]) -> dict[str, Any]:
        if dtype is self._dtype:
            return params
        if dtype.is_floating_point and self._dtype.is_floating_point:
            # A bound beyond the range of the dtype becomes infinite, and so allows the same numbers.
            return {name: compact(param).to(dtype).expand(param.shape) for name, param in params.items()}
        template = Bounded(params["_low"], params["_high"], self._sizes, params["_low"].device, dtype)
        return {"_low": template._low, "_high": template._high}

    def _details(self) -> dict[str, Any]:
        return {"low": _summary(self._low), "high": _summary(self._high)}


class Unbounded(TensorLeaf):
    """Tensors of a shape and dtype, with any values but NaN.

    Args:
        shape: shape of a value.
        device: device of the values, the CPU by default.
        dtype: dtype of the values, torch's default dtype if None.

    :meth:`rand` draws from the standard normal for floats, and from the full range for integers.

    >>> spec = Unbounded(shape=(3, -1))
    >>> spec.is_in(torch.zeros(3, 7)), spec.is_in(torch.zeros(7, 3))
    (True, False)
    """

    def __init__(
        self,
        shape: int | Iterable[int] = (1,),
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(as_size(shape), torch.get_default_dtype() if dtype is None else dtype, device)
        self._derive()

    @property
    def space(self) -> ContinuousBox | None:
        """The limits of the dtype, infinite for floats; None for complex dtypes, which have no order."""
        if self._dtype.is_complex:
            return None
        bounds = limits(self._dtype) if is_integral(self._dtype) else (-math.inf, math.inf)
        low, high = (torch.tensor(b, dtype=self._dtype, device=self._device).expand(self._sizes) for b in bounds)
        return ContinuousBox(low, high)

    def _sample(self, size: torch.Size, generator: torch.Generator | None) -> Tensor:
        dtype = self._dtype
        if dtype is torch.bool:
            return torch.randint(2, size, generator=generator, dtype=dtype, device=self._device)
        if is_integral(dtype):
            return random_bits(size, self._device, generator).to(dtype)
        return normal(size, wide_dtype(dtype), self._device, generator).to(dtype)

    def _nearest(self, value: Tensor) -> Tensor:
        dtype = self._dtype
        if not is_integral(dtype):
            if value.is_complex() and not dtype.is_complex:
                value = value.real
            wide = value.to(wide_dtype(dtype))
            return torch.where(wide.isnan(), 0.0, wide).to(dtype)
        wide = to_integers(value, dtype)
        if value.dtype is dtype:
            return value
        low, high = (widen(torch.tensor(b, dtype=dtype, device=self._device)).to(torch.int64) for b in limits(dtype))
        return narrow(wide.clamp(low, high), dtype)

    def _contains(self, value: Tensor) -> bool:
        return is_integral(self._dtype) or not bool(value.isnan().any())

    def _expected(self, index: tuple[int, ...]) -> str:
        return "a number"

    def _options(self) -> list[Sequence[int]]:
        if not is_integral(self._dtype):
            return super()._options()
        low, high = limits(self._dtype)
        return [range(low, high + 1)] * self.numel()


def _exact_bound(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Cast a bound, keeping infinities: for integers they become the limits of the dtype."""
    if value.is_complex() or bool(value.isnan().any()):
        raise SpecError(f"expected real bounds, found {value.tolist()}")
    if is_integral(dtype) and value.is_floating_point():
        infinite = value.isinf()
        # Looked up, as a cast from float could not give these exactly.
        limit = torch.tensor(limits(dtype), dtype=dtype, device=value.device)[(value > 0).long()]
        finite = cast_exact(torch.where(infinite, 0.0, value), dtype, value.device)
        return torch.where(infinite, limit, finite)
    bound = cast_exact(value, dtype, value.device)
    if dtype.is_floating_point and bool((widen(bound).isinf() & ~value.isinf()).any()):
        raise SpecError(f"expected numbers that {describe_dtype(dtype)} can hold, found {value.tolist()}")
    return bound


def _common(bound: Tensor) -> Tensor:
    """Return a single number if all are equal."""
    first = bound.flatten()[0]
    return first if bool((widen(bound) == widen(first)).all()) else bound


def _summary(bound: Tensor) -> str:
    stored = compact(bound)
    if stored.numel() == 1:
        return str(stored.item())
    return str(bound.tolist()) if bound.numel() <= 8 else f"Tensor{describe_shape(bound.shape)}"
