"""Stored steps as learners want them: chunks of actions, next observations of few bits, no stale data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase

from envkit.core.plan import path_of
from envkit.transforms.base import Transform
from envkit.transforms.functional.windows import chunks_ahead
from envkit.transforms.keys import Keys, listed

__all__ = [
    "ActionChunkTransform",
    "NextObservationDelta",
    "NextStateReconstructor",
    "PolicyAgeFilter",
    "ends_of",
]


def ends_of(
    owner: Transform, tensordict: TensorDictBase, done_key: NestedKey, traj_key: NestedKey | None = None
) -> Any:
    """Whether an episode ends with each step, bool of the batch size, whose last dimension is time."""
    size, name = tensordict.batch_size, type(owner).__name__
    if not size:
        raise ValueError(f"{name}: expected steps in the last batch dimension, found batch size []")
    done = owner._take(tensordict, ("next", *path_of(done_key)))
    if done.numel() != size.numel():
        raise ValueError(
            f"{name}: ('next', {done_key!r}): expected one flag for each of {list(size)} steps, found shape "
            f"{list(done.shape)}"
        )
    done = done.reshape(size)
    if traj_key is not None:
        number = owner._take(tensordict, traj_key).reshape(size)
        done = done.clone()
        done[..., :-1] |= number[..., 1:] != number[..., :-1]
    return done


class ActionChunkTransform(Transform):
    """Adds to each stored step its action and those after it: what a policy that plans several actions learns to give.

    Args:
        chunk_size: how many actions.
        action_key: the actions, ``[*batch, time, *rest]``.
        chunk_key: name of the result, ``[*batch, time, chunk_size, *rest]``. After the end of an episode, or of the
            data, the last action stands there.
        pad_key: name of a bool ``[*batch, time, chunk_size]``, True where that is so.
        done_key: the flag that ends episodes.

    References:
        Zhao et al., "Learning Fine-Grained Bimanual Manipulation with Low-Cost Hardware", RSS 2023.

    Examples:
        >>> from envkit import GymEnv
        >>> data = GymEnv("CartPole-v1").rollout(5)
        >>> ActionChunkTransform(3)(data)["action_chunk"].shape
        torch.Size([5, 3])
    """

    data_only = "ActionChunkTransform looks ahead: apply it to stored data"

    def __init__(
        self,
        chunk_size: int,
        action_key: NestedKey = "action",
        chunk_key: NestedKey = "action_chunk",
        pad_key: NestedKey = "action_is_pad",
        done_key: NestedKey = "done",
    ) -> None:
        super().__init__()
        if chunk_size < 1:
            raise ValueError(f"ActionChunkTransform: chunk_size: expected at least 1, found {chunk_size}")
        self.chunk_size, self.action_key, self.done_key = chunk_size, action_key, done_key
        self.chunk_key, self.pad_key = chunk_key, pad_key

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Adds the chunks, in place."""
        ends = ends_of(self, tensordict, self.done_key)
        chunks, padded = chunks_ahead(self._take(tensordict, self.action_key), ends, self.chunk_size)
        return tensordict.set(self.chunk_key, chunks).set(self.pad_key, padded)


class NextObservationDelta(Transform):
    """Stores next observations as differences of fewer bits, and adds them up again when they are read.

    Args:
        in_keys: floating-point observations, ``["observation"]`` by default.
        delta_dtype: the dtype of the differences; what is read back is as exact as that.

    Examples:
        >>> from tensordict import TensorDict
        >>> transform, ones = NextObservationDelta("x"), torch.ones(3)
        >>> stored = transform.inv(TensorDict({"x": ones, "next": {"x": 1.5 * ones}}))
        >>> stored["next", "x"]
        tensor([0.5000, 0.5000, 0.5000], dtype=torch.float16)
        >>> transform(stored)["next", "x"]
        tensor([1.5000, 1.5000, 1.5000])
    """

    data_only = "NextObservationDelta concerns what a replay buffer stores"

    def __init__(self, in_keys: Keys = None, delta_dtype: torch.dtype = torch.float16) -> None:
        super().__init__(["observation"] if in_keys is None else in_keys)
        if not delta_dtype.is_floating_point:
            raise ValueError(f"NextObservationDelta: delta_dtype: expected floating-point, found {delta_dtype}")
        self.delta_dtype = delta_dtype

    @property
    def invertible(self) -> bool:
        """True: it acts on what is stored."""
        return True

    def _pairs(self, tensordict: TensorDictBase) -> list[tuple[NestedKey, torch.Tensor, torch.Tensor]]:
        after: list[NestedKey] = [("next", *path_of(key)) for key in self.in_keys]
        pairs = zip(self.in_keys, after, strict=True)
        found = [(key, self._take(tensordict, key), self._take(tensordict, next_key)) for key, next_key in pairs]
        for key, value, _ in found:
            if not value.is_floating_point():
                raise ValueError(f"NextObservationDelta: {key!r}: expected floating-point, found {value.dtype}")
        return found

    def _inv_call(self, tensordict: TensorDictBase) -> TensorDictBase:
        tensordict.set("next", tensordict.get("next").copy())
        for key, value, after in self._pairs(tensordict):
            tensordict.set(("next", *path_of(key)), (after - value).to(self.delta_dtype))
        return tensordict

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Puts the next observations back, in place."""
        for key, value, delta in self._pairs(tensordict):
            tensordict.set(("next", *path_of(key)), value + delta.to(value.dtype))
        return tensordict


class NextStateReconstructor(Transform):
    """Makes next observations of the observations of the steps after, for sequences that are stored without.

    Args:
        keys: the observations, ``["observation"]`` by default.
        done_key: the flag that ends episodes; what an episode ended with is stored nowhere.
        traj_key: numbers of trajectories, if sequences of several may follow each other without a flag.
        fill_value: stands for next observations that are not there: of last steps, and of the end of the data.
        strict: whether it is an error if one is missing before the end of the data.

    Raises:
        ValueError: (when called) ``strict`` is set, and an episode ends on the way.

    Examples:
        >>> from envkit import GymEnv
        >>> data = GymEnv("CartPole-v1").rollout(5)
        >>> made = NextStateReconstructor()(data.exclude(("next", "observation")))
        >>> torch.equal(made["next", "observation"][:-1], data["observation"][1:])
        True
    """

    data_only = "NextStateReconstructor concerns what was stored without next observations"

    def __init__(
        self,
        keys: Keys = None,
        done_key: NestedKey = "done",
        traj_key: NestedKey | None = None,
        fill_value: float = float("nan"),
        strict: bool = False,
    ) -> None:
        super().__init__()
        self.keys = ["observation"] if keys is None else listed(keys)
        self.done_key, self.traj_key, self.fill_value, self.strict = done_key, traj_key, fill_value, strict

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Adds next observations, in place."""
        ends = ends_of(self, tensordict, self.done_key, self.traj_key).clone()
        if self.strict and bool(ends[..., :-1].any()):
            raise ValueError("NextStateReconstructor: expected sequences without ends (strict), found an episode's end")
        ends[..., -1] = True
        dim = ends.ndim - 1
        for key in self.keys:
            value = self._take(tensordict, key)
            wide = ends.reshape(*ends.shape, *(1,) * (value.ndim - ends.ndim))
            filler = torch.full_like(value, self.fill_value)
            tensordict.set(("next", *path_of(key)), torch.where(wide, filler, value.roll(-1, dim)))
        return tensordict


class PolicyAgeFilter(Transform):
    """Leaves out data of policies that are too old, when it is written and when it is read.

    Args:
        max_age: how many updates the policy that made a step may be behind.
        version: the version of the policy now, or a function that returns it: ``lambda: collector.policy_version``.
        version_key: the version that made a step, as collectors write it. A row of several steps is as old as its
            oldest.

    Examples:
        >>> from tensordict import TensorDict
        >>> fresh = PolicyAgeFilter(max_age=1, version=5)
        >>> fresh(TensorDict({"policy_version": torch.tensor([3, 4, 5])}, [3]))["policy_version"]
        tensor([4, 5])
    """

    data_only = "PolicyAgeFilter leaves out rows of stored data; the steps of an env are new"

    def __init__(
        self, max_age: int, version: int | Callable[[], int], version_key: NestedKey = "policy_version"
    ) -> None:
        super().__init__()
        if max_age < 0:
            raise ValueError(f"PolicyAgeFilter: max_age: expected at least 0, found {max_age}")
        self.max_age, self.version, self.version_key = max_age, version, version_key

    @property
    def invertible(self) -> bool:
        """True: it acts on what is stored."""
        return True

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """The rows that are not too old, in a TensorDict of their own."""
        if not tensordict.batch_dims:
            raise ValueError("PolicyAgeFilter: expected rows in the first batch dimension, found batch size []")
        version = self.version() if callable(self.version) else self.version
        made = self._take(tensordict, self.version_key).reshape(tensordict.batch_size[0], -1)
        return tensordict[made.amin(-1) >= version - self.max_age]

    _inv_call = forward
