"""Several entries as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tensordict import LazyStackedTensorDict, NestedKey, TensorDictBase

from envkit.core.plan import path_of
from envkit.errors import SpecError
from envkit.specs import Bounded, Categorical, Composite, MultiCategorical, TensorSpec, Unbounded
from envkit.specs.numeric import limits
from envkit.transforms.base import Transform
from envkit.transforms.hiding import OUTPUTS, group_of, refuse_other_group, under, without
from envkit.transforms.keys import listed
from envkit.transforms.leaves import refuse_unknown
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
        self._use([] if in_keys is None else listed(in_keys))

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
        step, reset = (self._joiner(*sides) for sides in (columns.following, columns.root))
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
        for key in self.in_keys:
            refuse_other_group(self, key, specs["done"], self.out_key, specs["done"])
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
        low, high = limits(leaf.dtype)
        return torch.full_like(zero, low), torch.full_like(zero, high)
    if isinstance(leaf, MultiCategorical):
        return zero, (leaf.nvec - 1).to(leaf.dtype)
    return zero, torch.full_like(zero, leaf.n - 1 if isinstance(leaf, Categorical) else 1)


class Stack(Transform):
    """Several entries, or levels with the same entries, as one with a dimension more: agents as a group, say.

    On the way in the group's inputs are taken apart again.

    Args:
        in_keys: outputs to stack, as the env inside names them: entries or levels.
        out_key: name of the stack.
        in_keys_inv: actions, states, or levels of those, that the env inside takes one by one.
        out_key_inv: name of their stack outside; ``out_key`` by default.
        dim: the dimension that is new: for entries counted from the end, for levels from the end of their batch size.
        del_keys: whether the single outputs are hidden.

    Raises:
        SpecError: an entry is unknown, or they have no stack.

    Examples:
        >>> from tensordict import TensorDict
        >>> stack = Stack(["agent0", "agent1"], "agents")
        >>> stack(TensorDict({"agent0": {"x": torch.zeros(3)}, "agent1": {"x": torch.ones(3)}}))["agents"].batch_size
        torch.Size([2])
    """

    def __init__(
        self,
        in_keys: Sequence[NestedKey],
        out_key: NestedKey,
        in_keys_inv: Sequence[NestedKey] | None = None,
        out_key_inv: NestedKey | None = None,
        dim: int = -1,
        *,
        del_keys: bool = True,
    ) -> None:
        super().__init__()
        if dim >= 0:
            raise ValueError(
                f"Stack: dim: expected a negative number, counted from the end, so that a batch makes no difference; "
                f"found {dim}"
            )
        self.in_keys, self.out_key = listed(in_keys), out_key
        self.in_keys_inv = listed(in_keys_inv)
        self.out_key_inv = out_key if out_key_inv is None else out_key_inv
        self.out_keys, self.out_keys_inv = [out_key], [self.out_key_inv] if self.in_keys_inv else []
        self.dim, self.del_keys = dim, del_keys

    def _call(self, next_tensordict: TensorDictBase) -> TensorDictBase:
        values = [next_tensordict.get(key, None) for key in self.in_keys]
        if any(value is None for value in values):
            return next_tensordict
        if self.del_keys:
            next_tensordict = next_tensordict.exclude(*self.in_keys)
        return next_tensordict.set(self.out_key, _stacked(values, self.dim))

    def _inv_call(self, tensordict: TensorDictBase) -> TensorDictBase:
        stack = tensordict.get(self.out_key_inv, None) if self.in_keys_inv else None
        if stack is None:
            return tensordict
        dims = stack.batch_dims if isinstance(stack, TensorDictBase) else stack.ndim
        tensordict = tensordict.exclude(self.out_key_inv)
        for key, value in zip(self.in_keys_inv, stack.unbind(dims + self.dim), strict=True):
            tensordict.set(key, value)
        return tensordict

    def _reset_env_preprocess(self, tensordict: TensorDictBase | None) -> TensorDictBase | None:
        # A mask of the group stands in it, where the env inside would not look for it.
        return tensordict if tensordict is None else self.inv(tensordict)

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Stacks the specs."""
        refuse_unknown(self, self.in_keys, [specs[role] for role in OUTPUTS], "in_keys")
        refuse_unknown(self, self.in_keys_inv, [specs[role] for role in ("action", "state")], "in_keys_inv")
        hidden = self.in_keys if self.del_keys else ()
        out = without(self, specs, hidden, moved=True, back=self.in_keys_inv)
        for role, spec in specs.items():
            outward = role in OUTPUTS
            keys, out_key = (self.in_keys, self.out_key) if outward else (self.in_keys_inv, self.out_key_inv)
            found = [spec[key] for key in keys if key in spec.keys(True)]
            if not found:
                continue
            if len(found) < len(keys):
                missing = [key for key in keys if key not in spec.keys(True)]
                raise SpecError(f"Stack: expected all of {keys} among the {role} specs, found that {missing} are not")
            left = out[role] if outward else spec.clone()
            for key in () if outward else keys:
                del left[key]
            if out_key in left.keys(True):
                raise SpecError(f"Stack: expected no entry {out_key!r} in the env inside, found one")
            for key in keys if outward else ():
                self._refuse_loose(key, spec, specs["done"], out["done"])
            left[out_key] = torch.stack([each.clone() for each in found], self.dim)
            out[role] = left
        return out

    def _refuse_loose(self, key: NestedKey, spec: Composite, before: Composite, after: Composite) -> None:
        """Checks that what is stacked is reset by itself still, or was reset together all along."""
        level = spec[key]
        leaves = (
            [(*path_of(key), *path_of(leaf)) for leaf in level.keys(True, True)]
            if isinstance(level, Composite)
            else [key]
        )
        for leaf in leaves:
            if not under(group_of(leaf, before), [key]):
                refuse_other_group(self, leaf, before, self.out_key, after)

    def extra_repr(self) -> str:
        """The keys."""
        return f"in_keys={self.in_keys}, out_key={self.out_key!r}, in_keys_inv={self.in_keys_inv}, dim={self.dim}"


def _stacked(values: list[Any], dim: int) -> Any:
    if isinstance(values[0], TensorDictBase):
        return LazyStackedTensorDict.maybe_dense_stack(values, values[0].batch_dims + 1 + dim)
    return torch.stack(values, dim)
