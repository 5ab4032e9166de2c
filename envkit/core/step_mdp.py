"""From the data of one step to the input of the next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from tensordict import LazyStackedTensorDict, NestedKey, TensorDict, TensorDictBase
from torch import Tensor

from envkit.core.plan import DONE_NAMES, path_of
from envkit.storage import entries, unchecked

__all__ = ["step_mdp"]

Keys = NestedKey | Sequence[NestedKey] | None


def step_mdp(
    tensordict: TensorDictBase,
    next_tensordict: TensorDictBase | None = None,
    keep_other: bool = True,
    exclude_reward: bool = True,
    exclude_done: bool = False,
    exclude_action: bool = True,
    *,
    reward_keys: Keys = "reward",
    done_keys: Keys = None,
    action_keys: Keys = "action",
) -> TensorDictBase:
    """Returns the TensorDict from which the next step starts: what stands under ``"next"``, one level up.

    No tensor is copied, and ``tensordict`` is left as it is.

    Args:
        tensordict: data of a step, with a ``"next"`` entry.
        next_tensordict: where to write the result; a TensorDict of its own by default.
        keep_other: keep the root entries that are neither action, reward nor done flag and have no successor.
        exclude_reward: drop the reward.
        exclude_done: drop the done flags.
        exclude_action: drop the action.
        reward_keys, done_keys, action_keys: which entries these are: a key or a list of keys. By default
            ``"reward"``, ``"action"``, and every ``done``, ``terminated`` and ``truncated`` of any level.

    Raises:
        KeyError: there is no ``"next"`` entry.

    Examples:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> td = TensorDict({
        ...     "observation": torch.zeros(1), "action": torch.ones(1), "hidden": torch.ones(1),
        ...     "next": {"observation": torch.ones(1), "reward": torch.ones(1), "done": torch.tensor([False])},
        ... })
        >>> sorted(step_mdp(td).keys())
        ['done', 'hidden', 'observation']
        >>> sorted(step_mdp(td, keep_other=False, exclude_done=True).keys())
        ['observation']
    """
    if reward_keys.__class__ is list or done_keys.__class__ is list or action_keys.__class__ is list:
        reward_keys, done_keys, action_keys = _Keys(reward_keys), _Keys(done_keys), _Keys(action_keys)
    advance = _compiled(keep_other, exclude_reward, exclude_done, exclude_action, reward_keys, done_keys, action_keys)
    out = advance(tensordict)
    return out if next_tensordict is None else next_tensordict.update(out)


class Advance:
    """The compiled form of :func:`step_mdp`: a callable from a step's data to the next step's input.

    Args:
        drop: keys left behind on both sides.
        drop_names: last names left behind at any level.
        keep_other: whether root entries without a successor stay.
    """

    def __init__(self, drop: Iterable[NestedKey], drop_names: Iterable[str] = (), *, keep_other: bool = True) -> None:
        self.keep_other = keep_other
        self.drop_names = frozenset(drop_names)
        self.drop: dict[str, Any] = {}
        for key in drop:
            *prefix, name = path_of(key)
            level = self.drop
            for part in prefix:
                level = level.setdefault(part, {})
            level[name] = None
        self._dropped = (*self.drop, *self.drop_names)

    def __call__(self, tensordict: TensorDictBase) -> TensorDictBase:
        """The input of the step after ``tensordict``."""
        if tensordict.__class__ is not TensorDict and isinstance(tensordict, LazyStackedTensorDict):
            dim = tensordict.stack_dim
            return LazyStackedTensorDict.lazy_stack([self(td) for td in tensordict.unbind(dim)], dim)
        following = entries(tensordict).get("next")
        if following is None:
            raise KeyError(
                f'"next" is missing: expected the output of env.step, found keys {sorted(tensordict.keys())}'
            )
        return self._level(tensordict, following, self.drop, top=True)

    def _level(
        self, root: TensorDictBase | None, following: TensorDictBase | None, drop: dict[str, Any], top: bool = False
    ) -> TensorDictBase:
        after = {} if following is None else entries(following)
        keep = dict(after)
        flat = True
        for value in keep.values():
            if value.__class__ is not Tensor:
                flat = False
        if root is not None and self.keep_other:
            for name, value in entries(root).items():
                if name not in keep:
                    keep[name] = value
                    if value.__class__ is not Tensor and name != "next":
                        flat = False
        if top:
            keep.pop("next", None)
        for name in self._dropped if top else (*drop, *self.drop_names):
            if name in keep and drop.get(name) is None:
                del keep[name]
        if not flat:
            before = entries(root) if root is not None and self.keep_other else {}
            for name, value in list(keep.items()):
                if value.__class__ is not Tensor and isinstance(value, TensorDictBase):
                    level = self._level(before.get(name), after.get(name), drop.get(name) or {})
                    if name in after or not level.is_empty():
                        keep[name] = level
                    else:
                        del keep[name]
        like = following if following is not None else root
        return unchecked(keep, like.batch_size, like.device)  # type: ignore[union-attr]


class _Keys(tuple):
    """A list of keys in a form that can be looked up in a cache, and is no nested key itself."""

    __slots__ = ()

    def __new__(cls, keys: Keys) -> _Keys | None:  # type: ignore[misc]
        return None if keys is None else super().__new__(cls, keys if isinstance(keys, list) else [keys])


@lru_cache
def _compiled(
    keep_other: bool,
    exclude_reward: bool,
    exclude_done: bool,
    exclude_action: bool,
    reward_keys: Keys,
    done_keys: Keys,
    action_keys: Keys,
) -> Advance:
    drop: list[NestedKey] = []
    for exclude, keys in ((exclude_reward, reward_keys), (exclude_done, done_keys), (exclude_action, action_keys)):
        if exclude and keys is not None:
            drop += keys if isinstance(keys, _Keys) else [keys]  # type: ignore[list-item]
    return Advance(drop, DONE_NAMES if exclude_done and done_keys is None else (), keep_other=keep_other)
