"""What an env returned for recorded steps."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from tensordict import NestedKey, TensorDictBase
from torch import Size, Tensor

from agents.returns.shapes import per_step

__all__ = ["Outcome", "OutcomeKeys", "read_outcome"]


class OutcomeKeys(Protocol):
    """Where reward and flags stand, below ``"next"``."""

    @property
    def reward(self) -> NestedKey:
        """Key of the reward."""

    @property
    def done(self) -> NestedKey:
        """Key of the flag that ends episodes."""

    @property
    def terminated(self) -> NestedKey:
        """Key of the flag that says that the rules of the env ended it."""


class Outcome(NamedTuple):
    """Reward and flags, one for each step, in one shape."""

    reward: Tensor
    done: Tensor
    terminated: Tensor


def read_outcome(owner: str, tensordict: TensorDictBase, keys: OutcomeKeys, shape: Size | None = None) -> Outcome:
    """Reward and flags of the steps in ``tensordict``, in ``shape``; see :func:`per_step`.

    They stand under ``"next"``; or, as on older pages, at the root of data that has no reward under ``"next"``. Where
    there is no terminated flag, nothing was truncated, and done stands for it.

    Raises:
        KeyError: if an entry is missing.
        ValueError: if one has another shape.
    """
    under = () if _has(tensordict, keys.reward) and not _has(tensordict, _below("next", keys.reward)) else ("next",)
    reward_key, done, terminated = (_below(*under, key) for key in (keys.reward, keys.done, keys.terminated))
    if not _has(tensordict, terminated):
        terminated = done
    return Outcome(*(per_step(owner, tensordict, key, shape) for key in (reward_key, done, terminated)))


def _has(tensordict: TensorDictBase, key: NestedKey) -> bool:
    return tensordict.get(key, None) is not None


def _below(*keys: NestedKey) -> NestedKey:
    return tuple(part for key in keys for part in (key if isinstance(key, tuple) else (key,)))
