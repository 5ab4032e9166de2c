"""A normal squashed into a box."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agents.nn.distributions.boxed_normal import BoxedNormal
from agents.nn.distributions.gaussian import draw_noise, log_density, sum_last

__all__ = ["TanhNormal"]


class TanhNormal(BoxedNormal):
    """``low + (high - low) / 2 * (tanh(x) + 1)`` with ``x`` drawn from ``Normal(loc, scale)``.

    The change of variables is that of Haarnoja et al. 2018, appendix C (https://arxiv.org/abs/1801.01290).
    Samples lie strictly between the bounds, and ``log_prob`` is finite for every value between them, bounds
    included. ``log_prob`` depends on the value alone, so a stored action gets the same figure as a fresh one.

    Args:
        loc: mean before squashing, shape ``[*batch, *event]``, floating point.
        scale: standard deviation before squashing, positive, of that shape or one that broadcasts to it.
        low: lower bound, a number or a tensor that broadcasts to ``loc``.
        high: upper bound, likewise.
        event_dims: how many trailing dimensions make up one event.
        tanh_loc: replace ``loc`` by ``upscale * tanh(loc / upscale)``, which keeps it where tanh is not flat.
        upscale: bound of ``loc`` when ``tanh_loc`` is set.
        min: old name of ``low``.
        max: old name of ``high``.

    Raises:
        ValueError: if a bound is given under both of its names, or numbers have ``low >= high``.

    Example:
        >>> import torch
        >>> dist = TanhNormal(torch.zeros(4, 1), torch.ones(4, 1), low=-2.0, high=2.0)
        >>> dist.log_prob(torch.tensor([[0.0], [1.0], [2.0], [-2.0]])).shape
        torch.Size([4])
        >>> bool((dist.sample((100,)).abs() < 2.0).all())
        True
    """

    def __init__(
        self,
        loc: Tensor,
        scale: Tensor,
        *,
        low: float | Tensor | None = None,
        high: float | Tensor | None = None,
        event_dims: int = 1,
        tanh_loc: bool = False,
        upscale: float = 5.0,
        min: float | Tensor | None = None,
        max: float | Tensor | None = None,
    ) -> None:
        if loc.shape != scale.shape:
            loc, scale = torch.broadcast_tensors(loc, scale)
        self.loc = upscale * torch.tanh(loc / upscale) if tanh_loc else loc
        self.scale = scale
        self.event_dims = event_dims
        self._box = _make_box(_one_of("low", low, "min", min, -1.0), _one_of("high", high, "max", max, 1.0), loc)
        self.low, self.high = self._box.low, self._box.high

    @property
    def deterministic_sample(self) -> Tensor:
        """The squashed ``loc``, which is the median of the distribution."""
        return self._box.squash(self.loc)

    @property
    def mode(self) -> Tensor:
        """The squashed ``loc``: what agents act by, rather than the maximum of the squashed density."""
        return self.deterministic_sample

    @property
    def mean(self) -> Tensor:
        """The squashed ``loc``: what agents act by, rather than the mean of the squashed density."""
        return self.deterministic_sample

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:  # type: ignore[override]
        """Values of shape ``[*sample_shape, *batch_shape, *event_shape]``, without a gradient."""
        loc = self.loc.detach()
        return self._box.squash(torch.addcmul(loc, self.scale.detach(), draw_noise(loc, sample_shape)))

    def rsample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:  # type: ignore[override]
        """Values of the shape of :meth:`sample`, differentiable with respect to the parameters."""
        return self._box.squash(torch.addcmul(self.loc, self.scale, draw_noise(self.loc, sample_shape)))

    def rsample_with_log_prob(self) -> tuple[Tensor, Tensor]:
        """Values of :meth:`rsample` and their log-density, ``[*batch_shape]``, both differentiable.

        The density is computed from what was squashed, which is more exact near the bounds than from the value.
        """
        noise = draw_noise(self.loc, ())
        value = torch.addcmul(self.loc, self.scale, noise)
        # log(1 - tanh(x)^2) = 2 (log 2 - x - softplus(-2 x))
        slope = 2.0 * (math.log(2.0) - value - torch.nn.functional.softplus(-2.0 * value))
        density = -0.5 * noise * noise - self.scale.log() - 0.5 * math.log(2.0 * math.pi) - slope
        return self._box.squash(value), sum_last(density - self._box.log_half_width, self.event_dims)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of values of the shape of :meth:`sample`, without the event dimensions.

        Raises:
            ValueError: if the last dimensions of ``value`` are not ``[*batch_shape, *event_shape]``.
        """
        self._check_value(value, self.loc.shape)
        unit = self._box.to_unit(value)
        density = log_density(torch.atanh(unit), self.loc, self.scale) - torch.log1p(-unit * unit)
        return sum_last(density - self._box.log_half_width, self.event_dims)

    def entropy(self) -> Tensor:
        """Not available in closed form."""
        raise NotImplementedError("TanhNormal has no closed-form entropy; average -log_prob over samples")


@dataclass(frozen=True)
class _Box:
    """Bounds and what follows from them; numbers and tensors alike."""

    low: Any
    high: Any
    middle: Any
    half_width: Any
    log_half_width: Any
    # The numbers next to the bounds: far from zero, a bound minus the margin may round to the bound.
    lowest: Any
    highest: Any
    margin: float
    is_unit: bool

    def squash(self, value: Tensor) -> Tensor:
        unit = torch.tanh(value).clamp(-1.0 + self.margin, 1.0 - self.margin)
        if self.is_unit:
            return unit
        return (unit * self.half_width + self.middle).clamp(self.lowest, self.highest)

    def to_unit(self, value: Tensor) -> Tensor:
        unit = value if self.is_unit else (value - self.middle) / self.half_width
        return unit.clamp(-1.0 + self.margin, 1.0 - self.margin)


def _make_box(low: float | Tensor, high: float | Tensor, like: Tensor) -> _Box:
    if not isinstance(low, Tensor) and not isinstance(high, Tensor):
        return _number_box(float(low), float(high), like.dtype)
    low = torch.as_tensor(low, dtype=like.dtype, device=like.device)
    high = torch.as_tensor(high, dtype=like.dtype, device=like.device)
    half_width = (high - low) / 2
    margin = torch.finfo(like.dtype).resolution
    lowest, highest = torch.nextafter(low, high), torch.nextafter(high, low)
    return _Box(low, high, low + half_width, half_width, half_width.log(), lowest, highest, margin, False)


@functools.lru_cache(maxsize=64)
def _number_box(low: float, high: float, dtype: torch.dtype) -> _Box:
    if not low < high:
        raise ValueError(f"TanhNormal: expected low < high, found low={low} and high={high}")
    ends = _make_box(torch.tensor(low, dtype=dtype), torch.tensor(high, dtype=dtype), torch.empty(0, dtype=dtype))
    half_width = (high - low) / 2
    lowest, highest = ends.lowest.item(), ends.highest.item()
    middle, is_unit = low + half_width, (low, high) == (-1.0, 1.0)
    return _Box(low, high, middle, half_width, math.log(half_width), lowest, highest, ends.margin, is_unit)


def _one_of(
    name: str,
    value: float | Tensor | None,
    old_name: str,
    old_value: float | Tensor | None,
    default: float,
) -> float | Tensor:
    if value is not None and old_value is not None:
        raise ValueError(f"TanhNormal: expected one of {name} and {old_name} (its old name), found both")
    if value is not None:
        return value
    return default if old_value is None else old_value
