"""The last few observations together: stacked, or their maximum.

Both keep what they remember in the data: the frames before stand in the TensorDict that is stepped, so a reset of some
envs of a batch touches the frames of those alone, and a TensorDict can be stepped twice.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from tensordict import NestedKey, TensorDictBase

from envkit.core.masks import Masks
from envkit.core.plan import path_of
from envkit.specs import Bounded, Composite, TensorSpec
from envkit.transforms.base import Transform
from envkit.transforms.functional.frames import last_frames, shift
from envkit.transforms.keys import Keys, sibling
from envkit.transforms.leaves import refuse_unknown
from envkit.transforms.rearrange import rearranged
from envkit.transforms.rows import Columns, RowForm

__all__ = ["CatFrames", "TimeMaxPool"]


class _OfObservations(Transform):
    """A transform of what resets show as well as steps."""

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Looks for ``in_keys`` among the observations alone."""
        refuse_unknown(self, self.in_keys, [specs["observation"]], "in_keys")
        return super().transform_specs(specs)


class CatFrames(_OfObservations):
    """The last ``N`` observations, joined along one of their dimensions, the newest last.

    In an env each step drops the oldest frame and joins the new one. On stored data (in a replay buffer, say) the same
    stacks are made of single frames, which take an ``N``-th of the memory. There episodes end where
    ``("next", done_key)`` of shape ``[..., time, 1]`` says, and the first step is taken for the start of one.

    Args:
        N: how many.
        dim: the dimension along which they are joined, negative: ``-3`` for images ``[C, H, W]``.
        in_keys: single observations; ``["pixels"]`` by default. For stored data ``("next", ...)`` may be among them; it
            goes with its namesake at the root.
        out_keys: where the stacks go; by default they replace the single ones.
        padding: what stands for observations from before an episode: ``"same"``, its first one, or ``"constant"``.
        padding_value: that constant.
        done_key: the flag that ends an episode of stored data, one at its root.

    Raises:
        ValueError: an option has another value; (when called) the data is that of a single step.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> env = TransformedEnv(GymEnv("MountainCar-v0"), CatFrames(3, -1, in_keys=["observation"], out_keys=["last"]))
        >>> data = env.rollout(4)
        >>> data["last"].shape
        torch.Size([4, 6])
        >>> stored = data.exclude("last", ("next", "last"))
        >>> torch.equal(env.transform[0](stored)["next", "last"], data["next", "last"])
        True
    """

    def __init__(
        self,
        N: int,  # noqa: N803 - the name users know it by
        dim: int,
        in_keys: Keys = None,
        out_keys: Keys = None,
        padding: Literal["same", "constant"] = "same",
        padding_value: float = 0,
        done_key: str = "done",
    ) -> None:
        super().__init__(["pixels"] if in_keys is None else in_keys, out_keys)
        if N < 1:
            raise ValueError(f"CatFrames: N: expected at least 1, found {N}")
        if dim >= 0:
            raise ValueError(
                f"CatFrames: dim: expected a negative number, counted from the end, so that a batch makes no "
                f"difference; found {dim}"
            )
        if padding not in ("same", "constant"):
            raise ValueError(f"CatFrames: padding: expected 'same' or 'constant', found {padding!r}")
        self.N, self.dim, self.padding, self.padding_value, self.done_key = N, dim, padding, padding_value, done_key

    @property
    def memory_keys(self) -> list[NestedKey]:
        """The stacks."""
        return self.out_keys

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        for in_key, out_key in zip(self.in_keys, self.out_keys, strict=True):
            stack = shift(self._take(tensordict, out_key), self._take(next_tensordict, in_key), self.dim)
            next_tensordict.set(out_key, stack)
        return next_tensordict

    def _reset(self, tensordict: TensorDictBase | None, tensordict_reset: TensorDictBase) -> TensorDictBase:
        for in_key, out_key in zip(self.in_keys, self.out_keys, strict=True):
            tensordict_reset.set(out_key, self._first(self._take(tensordict_reset, in_key)))
        return tensordict_reset

    def _first(self, frame: torch.Tensor) -> torch.Tensor:
        """The stack of an episode's first frame."""
        before = frame if self.padding == "same" else torch.full_like(frame, self.padding_value)
        return torch.cat([*[before] * (self.N - 1), frame], self.dim)

    def _bind_rows(self, columns: Columns) -> RowForm:
        steps, resets = [], []
        for in_key, out_key in zip(self.in_keys, self.out_keys, strict=True):
            stacks, rest = columns.following.outer[out_key], self.N - 1
            before = self._part(columns.stepped[out_key], 1, rest)
            steps.append(
                (self._part(stacks, 0, rest), before, self._part(stacks, rest, 1), columns.following.inner[in_key])
            )
            stacks = columns.root.outer[out_key]
            parts = [self._part(stacks, i, 1) for i in range(self.N)]
            resets.append((parts[:-1], parts[-1], columns.root.inner[in_key]))
        repeats, fill = self.padding == "same", self.padding_value

        def step(row: int) -> None:
            for older, before, newest, frames in steps:
                older[row, ...] = before[row]
                newest[row, ...] = frames[row]

        def reset(row: int, masks: Masks | None) -> None:
            for older, newest, frames in resets:
                frame = frames[row]
                newest[row, ...] = frame
                for part in older:
                    part[row, ...] = frame if repeats else fill

        return RowForm(step, reset)

    def _part(self, stacks: np.ndarray, first: int, count: int) -> np.ndarray:
        """Some frames of a column of stacks."""
        size = stacks.shape[self.dim] // self.N
        tail: Any = (slice(None),) * (-self.dim - 1)
        return stacks[(..., slice(first * size, (first + count) * size), *tail)]

    def _transform_leaf(self, leaf: TensorSpec) -> TensorSpec:
        if leaf.ndim < -self.dim:
            raise ValueError(f"expected at least {-self.dim} dimensions, found shape {list(leaf.shape)}")
        if self.padding == "constant":
            leaf = self._admitting(leaf)
        return rearranged(leaf, lambda value: torch.cat([value] * self.N, self.dim), "stack frames")

    def _admitting(self, leaf: TensorSpec) -> TensorSpec:
        """The spec of frames, and of padding in their place."""
        padding = torch.full_like(leaf.zero(), self.padding_value)
        if isinstance(leaf, Bounded):
            low, high = torch.minimum(leaf.low, padding), torch.maximum(leaf.high, padding)
            return Bounded(low, high, leaf.shape, dtype=leaf.dtype, device=leaf.device)
        if not leaf.is_in(padding):
            raise ValueError(f"expected a padding_value that is in {leaf}, found {self.padding_value}")
        return leaf

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Makes stacks of stored single frames, at the root and under ``"next"``, in place."""
        ends = self._ends(tensordict)
        fill = None if self.padding == "same" else self.padding_value
        named = {path_of(key): path_of(out) for key, out in zip(self.in_keys, self.out_keys, strict=True)}
        made: dict[Any, torch.Tensor] = {}
        for path, out in named.items():
            root = path[1:] if path[0] == "next" else path
            frames = self._take(tensordict, root[0] if len(root) == 1 else root)
            stacks = last_frames(frames, ends, self.N, self.dim, fill)
            if path[0] == "next":
                made[out] = shift(stacks, self._take(tensordict, path), self.dim)
                continue
            made[out] = stacks
            frames = tensordict.get(("next", *path), None)
            if frames is not None and ("next", *path) not in named:
                made["next", *out] = shift(stacks, frames, self.dim)
        for key, value in made.items():
            tensordict.set(key, value)
        return tensordict

    def _ends(self, tensordict: TensorDictBase) -> torch.Tensor:
        """Whether an episode ends with each step: bool, whose last dimension is time."""
        if "next" in tensordict.keys():
            # A batch of stored trajectories need not have time among its own batch dimensions, but each flag has.
            ends = self._take(tensordict, ("next", self.done_key)).squeeze(-1)
        else:
            ends = torch.zeros(tensordict.batch_size, dtype=torch.bool, device=tensordict.device)
        if not ends.ndim:
            raise ValueError("CatFrames: expected data of several steps, of shape [..., time], found a single step")
        return ends


class TimeMaxPool(_OfObservations):
    """The greatest values of the last ``T`` observations, element by element.

    After a reset there is one observation. What is needed of those before stands beside the result, as
    ``"<name>_before"`` with ``T - 1`` frames after the batch dimensions.

    Args:
        in_keys: observations; ``["observation"]`` by default.
        out_keys: where the maxima go; by default they replace the observations.
        T: how many.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> env = TransformedEnv(GymEnv("CartPole-v1"), TimeMaxPool(out_keys=["most"], T=3))
        >>> data = env.rollout(3)
        >>> seen = torch.stack([data["observation"][0], *data["next", "observation"][:2]])
        >>> torch.equal(data["next", "most"][1], seen.amax(0))
        True
    """

    env_only = "TimeMaxPool looks at the steps of an env one after the other; stored data already has its maxima"

    def __init__(self, in_keys: Keys = None, out_keys: Keys = None, T: int = 2) -> None:  # noqa: N803
        super().__init__(["observation"] if in_keys is None else in_keys, out_keys)
        if T < 2:
            raise ValueError(f"TimeMaxPool: T: expected at least 2, found {T}")
        self.T = T

    @property
    def memory_keys(self) -> list[NestedKey]:
        """The frames before."""
        return [sibling(key, f"{path_of(key)[-1]}_before") for key in self.out_keys]

    def _entries(self) -> zip[tuple[NestedKey, NestedKey, NestedKey]]:
        return zip(self.in_keys, self.out_keys, self.memory_keys, strict=True)

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        dim = next_tensordict.batch_dims
        for in_key, out_key, key in self._entries():
            before, frame = self._take(tensordict, key), self._take(next_tensordict, in_key)
            latest = torch.cat([before, frame.unsqueeze(dim)], dim)
            next_tensordict.set(key, latest.narrow(dim, 1, self.T - 1))
            next_tensordict.set(out_key, latest.amax(dim))
        return next_tensordict

    def _reset(self, tensordict: TensorDictBase | None, tensordict_reset: TensorDictBase) -> TensorDictBase:
        for in_key, out_key, key in self._entries():
            frame = self._take(tensordict_reset, in_key)
            tensordict_reset.set(key, torch.stack([frame] * (self.T - 1), tensordict_reset.batch_dims))
            tensordict_reset.set(out_key, frame)
        return tensordict_reset

    def _bind_rows(self, columns: Columns) -> RowForm:
        frames, shown = columns.following
        starts, first = columns.root
        steps = [(columns.stepped[key], frames[in_key], shown[key], shown[out]) for in_key, out, key in self._entries()]
        resets = [(starts[in_key], first[key], first[out]) for in_key, out, key in self._entries()]
        axis, count = self._batch_dims, self.T - 1
        lead = (slice(None),) * axis

        def step(row: int) -> None:
            for before, frame, after, most in steps:
                old, new, kept = before[row], frame[row], after[row]
                kept[(*lead, slice(0, count - 1))] = old[(*lead, slice(1, count))]
                kept[(*lead, count - 1)] = new
                np.maximum(old.max(axis), new, out=most[row, ...])

        def reset(row: int, masks: Masks | None) -> None:
            for frame, kept, most in resets:
                kept[row, ...] = np.expand_dims(frame[row], axis)
                most[row, ...] = frame[row]

        return RowForm(step, reset)

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Adds the frames before."""
        dims = self._batch_dims = len(specs["observation"].shape)
        out = super().transform_specs(specs)
        observation = out["observation"].clone()
        for in_key, _, key in self._entries():
            leaf = specs["observation"][in_key]
            sizes = (*leaf.shape[:dims], self.T - 1, *leaf.shape[dims:])
            observation[key] = leaf.unsqueeze(dims).expand(sizes)
        return {**out, "observation": observation}

    def _transform_leaf(self, leaf: TensorSpec) -> TensorSpec:
        return rearranged(leaf, torch.clone, "take the maximum")
