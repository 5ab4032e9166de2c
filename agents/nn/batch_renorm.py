"""Batch normalisation that acts alike in training and evaluation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["BatchRenorm1d"]


class BatchRenorm1d(nn.Module):
    """Batch renormalisation (Ioffe 2017, https://arxiv.org/abs/1702.03275), the normalisation of CrossQ.

    In training, features are normalised by the moments of the batch, then moved to where the running moments would put
    them, as far as ``max_r`` and ``max_d`` allow: ``y = (x - mean) / std * r + d`` with ``r = std / running_std`` and
    ``d = (mean - running_mean) / running_std``, both without gradient. In evaluation the running moments normalise.

    Args:
        num_features: number of features, the last dimension of the input.
        momentum: weight of a batch in the running moments.
        eps: added to variances.
        max_r: ``r`` is kept within ``1 / max_r`` and ``max_r``.
        max_d: ``d`` is kept within ``-max_d`` and ``max_d``.
        warmup_steps: calls in training before which ``r`` is 1 and ``d`` is 0, as in batch normalisation.
        smooth: whether the bounds open linearly during the warm-up, rather than all at once after it.
        affine: whether the result is scaled and shifted by learnt weights.
        device: device of the parameters.
        dtype: dtype of the parameters.

    Raises:
        ValueError: if a bound is out of range; on a call, if the input has other features, or in training a single row.

    Example:
        >>> import torch
        >>> norm = BatchRenorm1d(3, warmup_steps=0)
        >>> norm(torch.randn(64, 3)).shape, int(norm.num_batches_tracked)
        (torch.Size([64, 3]), 1)
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(
        self,
        num_features: int,
        *,
        momentum: float = 0.01,
        eps: float = 1e-5,
        max_r: float = 3.0,
        max_d: float = 5.0,
        warmup_steps: int = 10_000,
        smooth: bool = False,
        affine: bool = True,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, value, least in (("max_r", max_r, 1.0), ("max_d", max_d, 0.0), ("warmup_steps", warmup_steps, 0)):
            if value < least:
                raise ValueError(f"BatchRenorm1d: {name}: expected at least {least}, found {value}")
        self.num_features, self.momentum, self.eps = num_features, momentum, eps
        self.max_r, self.max_d, self.warmup_steps, self.smooth = max_r, max_d, warmup_steps, smooth
        self.register_buffer("running_mean", torch.zeros(num_features, device=device, dtype=dtype))
        self.register_buffer("running_var", torch.ones(num_features, device=device, dtype=dtype))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.int64, device=device))
        for name, start in (("weight", 1.0), ("bias", 0.0)):
            learnt = nn.Parameter(torch.full((num_features,), start, device=device, dtype=dtype)) if affine else None
            self.register_parameter(name, learnt)

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalise ``inputs``, ``[*batch, num_features]``; in training over all rows of the batch."""
        if inputs.shape[-1] != self.num_features:
            raise ValueError(f"BatchRenorm1d: expected {self.num_features} features, found {list(inputs.shape)}")
        if self.training:
            normal = self._renormalise(inputs.reshape(-1, self.num_features)).reshape(inputs.shape)
        else:
            normal = (inputs - self.running_mean) * (self.running_var + self.eps).rsqrt()
        return normal if self.weight is None else torch.addcmul(self.bias, normal, self.weight)

    def _renormalise(self, rows: Tensor) -> Tensor:
        if len(rows) < 2:
            raise ValueError(f"BatchRenorm1d: expected at least 2 rows in training, found {len(rows)}")
        variance, mean = torch.var_mean(rows, 0, correction=0)
        std = (variance + self.eps).sqrt()
        normal = (rows - mean) / std
        with torch.no_grad():
            opened = self._opened()
            if opened > 0.0:
                running_std = (self.running_var + self.eps).sqrt()
                max_r = 1.0 + opened * (self.max_r - 1.0)
                r = (std / running_std).clamp(1.0 / max_r, max_r)
                d = ((mean - self.running_mean) / running_std).clamp(-opened * self.max_d, opened * self.max_d)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance, self.momentum)
            self.num_batches_tracked += 1
        return torch.addcmul(d, normal, r) if opened > 0.0 else normal

    def _opened(self) -> float:
        """How far the bounds are open, from 0 (batch normalisation) to 1."""
        done = self.num_batches_tracked.item()
        if done >= self.warmup_steps:
            return 1.0
        return done / self.warmup_steps if self.smooth else 0.0

    def extra_repr(self) -> str:
        """The number of features and the bounds."""
        return f"{self.num_features}, momentum={self.momentum}, max_r={self.max_r}, max_d={self.max_d}"
