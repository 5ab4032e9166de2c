"""A normal that is cut off at bounds."""

from __future__ import annotations

import torch
from torch import Tensor

from agents.nn.distributions.boxed_normal import BoxedNormal
from agents.nn.distributions.gaussian import HALF_LOG_TWO_PI, log_density, sum_last

__all__ = ["TruncatedNormal"]


class TruncatedNormal(BoxedNormal):
    """``Normal(loc, scale)`` under the condition that the value lies between ``low`` and ``high``.

    With ``a`` and ``b`` the standardised bounds and ``Z = cdf(b) - cdf(a)``, the density is ``normal(x) / Z``; values
    are drawn by inverting the distribution function. Where the interval lies far out on one side of ``loc``, formulas
    work on the tail that is precise there.

    Args:
        loc: mean before cutting, shape ``[*batch, *event]``, floating point.
        scale: standard deviation before cutting, positive, of that shape or one that broadcasts to it.
        upscale: bound of ``loc`` when ``tanh_loc`` is set.
        low: lower bound, a number or a tensor that broadcasts to ``loc``.
        high: upper bound, likewise.
        tanh_loc: replace ``loc`` by ``upscale * tanh(loc / upscale)``, scaled to the bounds.
        event_dims: how many trailing dimensions make up one event.

    Raises:
        ValueError: if numbers have ``low >= high``.

    Example:
        >>> import torch
        >>> dist = TruncatedNormal(torch.zeros(4, 1), torch.ones(4, 1), low=-1.0, high=2.0)
        >>> values = dist.sample((100,))
        >>> bool((values >= -1.0).all() and (values <= 2.0).all())
        True
        >>> dist.log_prob(torch.full((4, 1), 3.0))
        tensor([-inf, -inf, -inf, -inf])
    """

    def __init__(
        self,
        loc: Tensor,
        scale: Tensor,
        upscale: float = 5.0,
        low: float | Tensor = -1.0,
        high: float | Tensor = 1.0,
        tanh_loc: bool = False,
        event_dims: int = 1,
    ) -> None:
        if not isinstance(low, Tensor) and not isinstance(high, Tensor) and not low < high:
            raise ValueError(f"TruncatedNormal: expected low < high, found low={low} and high={high}")
        if loc.shape != scale.shape:
            loc, scale = torch.broadcast_tensors(loc, scale)
        if tanh_loc:
            half_width = (high - low) / 2
            loc = upscale * torch.tanh(loc / upscale) * half_width + (low + half_width)
        self.loc, self.scale, self.low, self.high, self.event_dims = loc, scale, low, high, event_dims
        a, b = (low - loc) / scale, (high - loc) / scale
        # The normal is symmetric: an interval above the mean is looked at from the other side.
        above = a > 0.0
        self._side = torch.where(above, -1.0, 1.0).to(loc.dtype)
        self._lower, self._upper = torch.where(above, -b, a), torch.where(above, -a, b)

    @property
    def mode(self) -> Tensor:
        """``loc``, or the bound next to it."""
        return self._within(self.loc)

    @property
    def deterministic_sample(self) -> Tensor:
        """The mode."""
        return self.mode

    @property
    def mean(self) -> Tensor:
        """``loc + scale * (normal(a) - normal(b)) / Z``."""
        return self.loc + self._side * self.scale * (self._density(self._lower) - self._density(self._upper))

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:  # type: ignore[override]
        """Values of shape ``[*sample_shape, *batch_shape, *event_shape]``, without a gradient."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:  # type: ignore[override]
        """Values of the shape of :meth:`sample`, differentiable with respect to the parameters."""
        uniform = torch.rand((*sample_shape, *self.loc.shape), dtype=self.loc.dtype, device=self.loc.device)
        # torch.special.ndtr loses all digits where log_ndtr does not.
        below, upto = (torch.special.log_ndtr(bound).exp() for bound in (self._lower, self._upper))
        chance = below + uniform * (upto - below)
        # Farther out than the precision reaches, all probability is next to the bound that is nearer to the mean.
        tiny = torch.finfo(chance.dtype).tiny
        standard = torch.where(chance > tiny, torch.special.ndtri(chance.clamp_min(tiny)), self._upper)
        return self._within(self.loc + self._side * self.scale * standard)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of values of the shape of :meth:`sample`, without the event dimensions; minus infinity outside.

        Raises:
            ValueError: if the last dimensions of ``value`` are not ``[*batch_shape, *event_shape]``.
        """
        self._check_value(value, self.loc.shape)
        density = log_density(value, self.loc, self.scale) - self._log_mass()
        outside = (value < self.low) | (value > self.high)
        return sum_last(density.masked_fill(outside, -torch.inf), self.event_dims)

    def entropy(self) -> Tensor:
        """Entropy in nats, shape ``batch_shape``."""
        edges = self._lower * self._density(self._lower) - self._upper * self._density(self._upper)
        entropy = 0.5 + HALF_LOG_TWO_PI + self.scale.log() + self._log_mass() + 0.5 * edges
        return sum_last(entropy, self.event_dims)

    def _log_mass(self) -> Tensor:
        """``log(Z)``."""
        upper, lower = torch.special.log_ndtr(self._upper), torch.special.log_ndtr(self._lower)
        return upper + torch.log1p(-torch.exp(lower - upper))

    def _density(self, standard: Tensor) -> Tensor:
        """``normal(standard) / Z``."""
        return torch.exp(-0.5 * standard.square() - HALF_LOG_TWO_PI - self._log_mass())

    def _within(self, value: Tensor) -> Tensor:
        low, high = (torch.as_tensor(bound, dtype=value.dtype, device=value.device) for bound in (self.low, self.high))
        return torch.maximum(torch.minimum(value, high), low)
