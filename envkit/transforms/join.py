"""Several entries as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tensordict import LazyStackedTensorDict, NestedKey, TensorDictBase

from envkit.errors import SpecError
from envkit.specs import Bounded, Categorical, Composite, TensorSpec, Unbounded
from envkit.transforms.base import Transform
from envkit.transforms.hiding import OUTPUTS, under, without
from envkit.transforms.keys import Keys, listed
from envkit.transforms.leaves import refuse_unknown
from envkit.transforms.rearrange import rearranged
from envkit.transforms.rows import Columns, RowForm

__all__ = ["CatTensors", "Stack"]


class CatTensors(Transform):
    """Several observations, one after the other, as one tensor.

    Args:
        in_keys: the observations, all of one dtype; all that the env has by default.
        out_key: name of the result.
        dim: the dimension along which they are joined, negative. Other sizes must be equal.
        del_keys: whether the single observations are hidden.
        sort: whether they are joined in the order of their names, not in that of ``in_keys``.

    Raises:
        SpecError: an observation is unknown, or they do not fit together; ``out_key`` is another entry of the env; an
            observation to hide is read by the env's next step.

    Examples:
        >>> from tensordict import TensorDict
        >>> cat = CatTensors(["a", "b"], out_key="ab")
        >>> cat(TensorDict({"a": torch.zeros(2), "b": torch.ones(1)}))["ab"]
        tensor([0., 0., 1.])
    """

    def __init__(
        self,
        in_keys: Sequence[NestedKey] | None = None,
        out_key: NestedKey = "observation_vector",
        dim: int = -1,
        *,
        del_keys: bool = True,
        sort: bool = True,
    ) -> None:
        super().__init__()
        if dim >= 0:
            raise ValueError(
                f"CatTensors: dim: expected a negative number, counted from the end, so that a batch makes no "
                f"difference; found {dim}"
            )
        self._all = in_keys is None
        self.out_key, self.out_keys = out_key, [out_key]
        self.dim, self.del_keys, self.sort = dim, del_keys, sort
        self._use([] if in_keys is None else listed(in_keys))  # type: ignore[arg-type]

    def _use(self, keys: list[NestedKey]) -> None:
        self.in_keys = sorted(keys, key=str) if self.sort else keys

    def _call(self, next_tensordict: TensorDictBase) -> TensorDictBase:
        if not self.in_keys:
            raise ValueError("CatTensors: expected in_keys, or an env to find them in, found neither")
        joined = torch.cat([self._take(next_tensordict, key) for key in self.in_keys], self.dim)
        if self.del_keys:
            next_tensordict = next_tensordict.exclude(*self.in_keys, inplace=True)
        return next_tensordict.set(self.out_key, joined)

    def _bind_rows(self, columns: Columns) -> RowForm | None:
        forms = [self._joiner(*sides) for sides in (columns.following, columns.root)]
        step, reset = forms
        return RowForm(step, lambda row, masks: reset(row))

    def _joiner(self, inner: Any, outer: Any) -> Any:
        target, start, pairs = outer[self.out_key], 0, []
        for key in self.in_keys:
            source = inner[key]
            stop = start + source.shape[self.dim]
            pairs.append((source, target[(..., slice(start, stop), *(slice(None),) * (-self.dim - 1))]))
            start = stop

        def join(row: int) -> None:
            for source, part in pairs:
                part[row] = source[row]

        return join

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Joins the specs."""
        observation = specs["observation"]
        if self._all:
            self._use(list(observation.keys(True, True)))
        refuse_unknown(self, self.in_keys, [observation], "in_keys")
        taken = [key for role in OUTPUTS for key in specs[role].keys(True, True)]
        if self.out_key in taken and not (self.del_keys and self.out_key in self.in_keys):
            raise SpecError(f"CatTensors: expected no entry {self.out_key!r} in the env inside, found one")
        joined = self._joined([observation[key] for key in self.in_keys])
        out = without(self, specs, self.in_keys if self.del_keys else ())
        out["observation"][self.out_key] = joined
        return out

    def _joined(self, leaves: Sequence[Any]) -> TensorSpec:
        """The spec of joined values: bounded if all of them are, by the bounds of each."""
        what = {str(key): f"{leaf.dtype} {list(leaf.shape)}" for key, leaf in zip(self.in_keys, leaves, strict=True)}
        first = leaves[0]
        sizes = [[n for i, n in enumerate(leaf.shape) if i - leaf.ndim != self.dim] for leaf in leaves]
        fits = all(leaf.dtype is first.dtype and leaf.ndim >= -self.dim for leaf in leaves)
        if first.dtype is None or not fits or any(size != sizes[0] for size in sizes):
            raise SpecError(
                f"CatTensors: expected tensors of one dtype whose sizes differ in dimension {self.dim} alone, found "
                f"{what}"
            )
        shape = torch.cat([leaf.zero() for leaf in leaves], self.dim).shape
        if first.dtype is torch.bool:
            return Categorical(2, shape, dtype=torch.bool, device=first.device)
        if all(isinstance(leaf, Unbounded) for leaf in leaves):
            return Unbounded(shape, dtype=first.dtype, device=first.device)
        bounds = [_bounds(leaf) for leaf in leaves]
        low, high = (torch.cat(ends, self.dim) for ends in zip(*bounds, strict=True))
        return Bounded(low, high, shape, dtype=first.dtype, device=first.device)

    def extra_repr(self) -> str:
        """The keys."""
        return f"in_keys={self.in_keys}, out_key={self.out_key!r}, dim={self.dim}"


def _bounds(leaf: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The least and the greatest values of a spec, of its shape and dtype."""
    if isinstance(leaf, Bounded):
        return leaf.low, leaf.high
    zero = leaf.zero()
    if isinstance(leaf, Unbounded):
        if leaf.dtype.is_floating_point:
            return torch.full_like(zero, -torch.inf), torch.full_like(zero, torch.inf)
        info = torch.iinfo(leaf.dtype)
        return torch.full_like(zero, info.min), torch.full_like(zero, info.max)
    if isinstance(leaf, Categorical):
        return zero, torch.full_like(zero, leaf.n - 1)
    return zero, torch.full_like(zero, torch.iinfo(leaf.dtype).max)
