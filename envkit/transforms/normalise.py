"""Normalisation."""

from __future__ import annotations

import math

import torch
from tensordict import NestedKey

from envkit.transforms.affine import Affine
from envkit.transforms.keys import Keys

__all__ = ["ObservationNorm"]


class ObservationNorm(Affine):
    """Normalises observations by an affine map: ``loc + scale * x``, or ``(x - loc) / scale`` for a standard normal.

    Args:
        loc: the offset; None until :meth:`init_stats` finds it.
        scale: the factor; None until :meth:`init_stats` finds it.
        in_keys: entries to normalise; ``["observation"]`` by default.
        out_keys: their names outside.
        in_keys_inv: actions (or states) that are mapped back on their way in.
        out_keys_inv: their names outside.
        standard_normal: subtract ``loc`` and divide by ``scale``, instead of multiplying by ``scale`` and adding
            ``loc``.
        eps: the least standard deviation that counts: entries that vary less are divided by this.

    Examples:
        >>> from tensordict import TensorDict
        >>> norm = ObservationNorm(loc=1.0, scale=2.0, standard_normal=True)
        >>> norm(TensorDict({"observation": torch.tensor([1.0, 3.0])}))["observation"]
        tensor([0., 1.])
    """

    def __init__(
        self,
        loc: float | torch.Tensor | None = None,
        scale: float | torch.Tensor | None = None,
        in_keys: Keys = None,
        out_keys: Keys = None,
        in_keys_inv: Keys = None,
        out_keys_inv: Keys = None,
        standard_normal: bool = False,
        eps: float = 1e-6,
    ) -> None:
        if in_keys is None and in_keys_inv is None:
            in_keys = ["observation"]
        super().__init__(loc, scale, in_keys, out_keys, in_keys_inv, out_keys_inv, standard_normal=standard_normal)
        self.eps = eps

    def init_stats(
        self,
        num_iter: int,
        reduce_dim: int | tuple[int, ...] = 0,
        cat_dim: int | None = None,
        key: NestedKey | None = None,
        keep_dims: tuple[int, ...] | None = None,
    ) -> None:
        """Sets ``loc`` and ``scale`` so that observations under random actions have mean 0 and standard deviation 1.

        Runs at least ``num_iter`` steps of the env as this transform sees it; reset the env afterwards.

        Args:
            num_iter: number of steps.
            reduce_dim: dimensions of the data, time included, to take statistics over.
            cat_dim: dimension along which rollouts are joined; ``reduce_dim`` by default, if that is one dimension.
            key: the entry to take statistics of; needed if there are several ``in_keys``.
            keep_dims: reduced dimensions to keep with size 1.

        Raises:
            RuntimeError: the statistics are there already, or the transform is in no env.
            KeyError: there is no entry ``key``.
            ValueError: ``key`` or ``cat_dim`` is needed, or there are too few values for a standard deviation.
        """
        if num_iter < 1:
            raise ValueError(f"ObservationNorm.init_stats: expected num_iter of at least 1, found {num_iter}")
        if self.initialized:
            raise RuntimeError("ObservationNorm.init_stats: loc and scale are set already")
        env = self.parent
        if env is None:
            raise RuntimeError("ObservationNorm.init_stats: expected a transform of an env, found one without parent")
        keys = self.in_keys or self.in_keys_inv
        if key is None:
            if len(keys) != 1:
                raise ValueError(f"ObservationNorm.init_stats: expected key, one of {keys}")
            key = keys[0]
        reduce = (reduce_dim,) if isinstance(reduce_dim, int) else tuple(reduce_dim)
        if cat_dim is None:
            if len(reduce) != 1:
                raise ValueError(
                    f"ObservationNorm.init_stats: expected cat_dim with several reduced dimensions {reduce}"
                )
            cat_dim = reduce[0]
        parts, frames = [], 0
        while frames < num_iter:
            data = self._take(env.rollout(num_iter), key)
            parts.append(data)
            frames += data.shape[cat_dim]
        data = torch.cat(parts, cat_dim)
        count = math.prod(data.shape[dim] for dim in reduce)
        if count < 2:
            raise ValueError(
                f"ObservationNorm.init_stats: expected at least 2 values to take statistics of, found {count}; "
                f"increase num_iter"
            )
        data = data if data.is_floating_point() else data.to(torch.get_default_dtype())
        loc, scale = data.mean(reduce, keepdim=True), data.std(reduce, keepdim=True).clamp_min(self.eps)
        kept = {d % data.ndim for d in keep_dims or ()}
        dropped = sorted({d % data.ndim for d in reduce} - kept, reverse=True)
        for dim in dropped:
            loc, scale = loc.squeeze(dim), scale.squeeze(dim)
        if not self.standard_normal:
            loc, scale = -loc / scale, 1 / scale
        self.loc, self.scale = loc, scale
        self._changed()
