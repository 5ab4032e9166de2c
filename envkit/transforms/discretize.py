"""Intervals in the place of real numbers, for actions and observations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from tensordict import NestedKey

from envkit.errors import SpecError
from envkit.specs import Bounded, Categorical, Composite, MultiCategorical, MultiOneHot, OneHot, TensorSpec
from envkit.transforms.base import Transform

__all__ = ["ActionDiscretizer", "ObservationDiscretizer"]

OFFSETS = {"low": 0.0, "median": 0.5, "high": 1.0}


class _Intervals(Transform):
    """Divides the range of each dimension of one entry into intervals of equal width; abstract.

    Args:
        num_intervals: their number, or one number for each dimension.
        joint: whether one category stands for a combination of intervals, instead of one category for each dimension.
        categorical: category numbers; False for one-hot vectors.
        keys: for the base class.
    """

    def __init__(
        self,
        num_intervals: int | Sequence[int] | torch.Tensor,
        joint: bool,
        categorical: bool,
        **keys: NestedKey | None,
    ) -> None:
        super().__init__(**keys)
        counts = torch.as_tensor(num_intervals)
        if counts.is_floating_point() or counts.ndim > 1 or not bool((counts > 0).all()):
            raise ValueError(
                f"{type(self).__name__}: num_intervals: expected positive integers, one for each dimension, found "
                f"{num_intervals}"
            )
        self.num_intervals, self.joint, self.categorical = counts.long(), joint, categorical
        self._batch_dims = 0
        # Of one value: float64 [dims, intervals + 1], the ends of all intervals, infinite where there are fewer.
        self.register_buffer("edges", None, persistent=False)
        self._counts: list[int] = []
        self._layout: tuple[torch.Size, torch.dtype] = (torch.Size(), torch.get_default_dtype())

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Takes the intervals from the bounds."""
        self._batch_dims = len(specs["observation"].shape)
        return super().transform_specs(specs)

    def _transform_leaf(self, leaf: TensorSpec) -> TensorSpec:
        if not isinstance(leaf, Bounded) or not leaf.dtype.is_floating_point:
            raise SpecError(f"expected real numbers between bounds, found {leaf}")
        batch, shape = leaf.shape[: self._batch_dims], leaf.shape[self._batch_dims :]
        low, high = (end.double().reshape(batch.numel(), -1) for end in (leaf.low, leaf.high))
        if not bool((low.isfinite() & high.isfinite()).all()) or bool((low != low[0]).any() | (high != high[0]).any()):
            raise SpecError(f"expected finite bounds, the same for all of a batch, found {leaf}")
        dims = low.shape[1]
        if self.num_intervals.ndim and len(self.num_intervals) != dims:
            raise SpecError(f"expected num_intervals for {dims} dimensions, found {len(self.num_intervals)}")
        counts = self._counts = self.num_intervals.expand(dims).tolist()
        edges = torch.full((dims, max(counts) + 1), math.inf, dtype=torch.float64, device=leaf.device)
        for i, count in enumerate(counts):
            edges[i, : count + 1] = torch.linspace(low[0, i], high[0, i], count + 1, dtype=torch.float64)
        self.edges, self._layout = edges, (shape, leaf.dtype)
        if self.joint:
            n = math.prod(counts)
            return Categorical(n, batch, leaf.device) if self.categorical else OneHot(n, (*batch, n), leaf.device)
        if self.categorical:
            return MultiCategorical(torch.tensor(counts), (*batch, dims), leaf.device)
        return MultiOneHot(counts, (*batch, sum(counts)), leaf.device)

    def _fitted(self) -> torch.Tensor:
        if self.edges is None:
            raise RuntimeError(
                f"{type(self).__name__}: expected the bounds of an env, found none; put it on an env first"
            )
        return self.edges

    def _apply_transform(self, value: torch.Tensor) -> torch.Tensor:
        """The intervals of real numbers: the lower end of an interval belongs to it."""
        edges, shape = self._fitted(), self._layout[0]
        flat = value.reshape((*value.shape[: value.ndim - len(shape)], len(edges))).double()
        # The ends between intervals that are not above the value; what is beyond the last one is in it.
        index = (flat.unsqueeze(-1) >= edges[:, 1:]).sum(-1)
        index = index.minimum(torch.tensor(self._counts, device=value.device) - 1)
        if self.joint:
            whole = torch.zeros_like(index[..., 0])
            for i, count in enumerate(self._counts):
                whole = whole * count + index[..., i]
            return whole if self.categorical else _one_hot(whole, math.prod(self._counts))
        if self.categorical:
            return index
        return torch.cat([_one_hot(part, n) for part, n in zip(index.unbind(-1), self._counts, strict=True)], -1)

    def _index(self, value: torch.Tensor) -> torch.Tensor:
        """The intervals ``[*batch, dims]`` that a category, or a vector of them, stands for."""
        counts = self._counts
        if self.joint:
            whole = value if self.categorical else value.int().argmax(-1)
            parts = []
            for count in reversed(counts):
                parts.append(whole % count)
                whole = whole // count
            return torch.stack(parts[::-1], -1)
        if self.categorical:
            return value.long()
        return torch.stack([part.int().argmax(-1) for part in value.split(counts, -1)], -1)


class ActionDiscretizer(_Intervals):
    """Lets the policy choose among intervals of a continuous action.

    Args:
        num_intervals: their number, or one for each dimension of the action.
        action_key: the action of the env.
        out_action_key: its name outside; the same by default.
        sampling: which number of an interval the env gets: its ``"median"``, ``"low"`` or ``"high"`` end, or a
            ``"random"`` one, drawn from a stream that ``env.set_seed`` seeds.
        categorical: category numbers; False for one-hot vectors.
        joint: one category for a combination of intervals, as for a DQN; by default one for each dimension.

    Raises:
        ValueError: ``num_intervals`` or ``sampling`` is none of these.
        SpecError: the action is not continuous, has no finite bounds, or another number of dimensions.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> env = TransformedEnv(GymEnv("Pendulum-v1"), ActionDiscretizer(5, out_action_key="choice"))
        >>> env.action_spec
        MultiCategorical(shape=[1], nvec=[5], dtype=int64)
        >>> from tensordict import TensorDict
        >>> env.transform.inv(TensorDict({"choice": torch.tensor([4])}))["action"]
        tensor([1.6000])
    """

    def __init__(
        self,
        num_intervals: int | Sequence[int] | torch.Tensor,
        action_key: NestedKey = "action",
        out_action_key: NestedKey | None = None,
        sampling: Literal["median", "low", "high", "random"] = "median",
        categorical: bool = True,
        joint: bool = False,
    ) -> None:
        super().__init__(num_intervals, joint, categorical, in_keys_inv=action_key, out_keys_inv=out_action_key)
        if sampling not in (*OFFSETS, "random"):
            raise ValueError(
                f"ActionDiscretizer: sampling: expected 'median', 'low', 'high' or 'random', found {sampling!r}"
            )
        self.sampling = sampling
        self._generator: torch.Generator | None = None

    def set_seed(self, seed: int | None) -> None:
        """Seeds the stream that ``"random"`` numbers come from."""
        self._generator = None if seed is None else torch.Generator().manual_seed(seed)

    def _inv_apply_transform(self, value: torch.Tensor) -> torch.Tensor:
        edges, (shape, dtype) = self._fitted(), self._layout
        index = self._index(value)
        low, high = (edges.expand(*index.shape, -1).gather(-1, index.unsqueeze(-1) + i).squeeze(-1) for i in (0, 1))
        if self.sampling == "random":
            offset = torch.rand(index.shape, dtype=edges.dtype, generator=self._generator).to(index.device)
        else:
            offset = torch.full_like(low, OFFSETS[self.sampling])
        # Not low + offset * width, which may miss the upper end.
        return (low * (1 - offset) + high * offset).to(dtype).reshape((*index.shape[:-1], *shape))


class ObservationDiscretizer(_Intervals):
    """Shows the intervals that observations are in.

    Args:
        num_intervals: their number, or one for each dimension of the observation.
        in_keys: the observation.
        out_keys: its name outside; the same by default.
        categorical: category numbers; False for one-hot vectors.
        joint: one category for a combination of intervals, as for a table; by default one for each dimension.

    Raises:
        ValueError: ``num_intervals`` is no positive number, or several.
        SpecError: the observation is not continuous, has no finite bounds, or another number of dimensions.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> env = TransformedEnv(GymEnv("Pendulum-v1"), ObservationDiscretizer([4, 4, 10], joint=True))
        >>> env.observation_spec["observation"].n
        160
    """

    def __init__(
        self,
        num_intervals: int | Sequence[int] | torch.Tensor,
        in_keys: NestedKey = "observation",
        out_keys: NestedKey | None = None,
        categorical: bool = True,
        joint: bool = False,
    ) -> None:
        super().__init__(num_intervals, joint, categorical, in_keys=in_keys, out_keys=out_keys)


def _one_hot(index: torch.Tensor, n: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(index, n).bool()
