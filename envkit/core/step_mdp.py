"""From the data of one step to the input of the next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from tensordict import LazyStackedTensorDict, NestedKey, TensorDict, TensorDictBase, is_non_tensor
from torch import Tensor

from envkit.core.plan import DONE_NAMES, path_of
from envkit.storage import entries, unchecked

__all__ = ["step_mdp"]

MOST_ROUTES = 64
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
    usual = keep_other and exclude_reward and not exclude_done and exclude_action
    if usual and reward_keys == "reward" and action_keys == "action":
        out = _USUAL(tensordict)
    else:
        options = (keep_other, exclude_reward, exclude_done, exclude_action)
        out = _compiled(*options, reward_keys, done_keys, action_keys)(tensordict)
    if not (keep_other or exclude_action):
        for key in action_keys if isinstance(action_keys, _Keys) else [action_keys]:
            action = None if key is None else tensordict.get(key, None)
            if action is not None:
                out.set(key, action)  # type: ignore[arg-type]
    return out if next_tensordict is None else next_tensordict.update(out)


class Advance:
    """The compiled form of :func:`step_mdp`: a callable from a step's data to the next step's input.

    Args:
        drop: keys left behind on both sides.
        drop_names: last names left behind at any level.
        keep_other: whether root entries without a successor stay.
    """

    def __init__(self, drop: Iterable[NestedKey], drop_names: Iterable[str] = (), *, keep_other: bool = True) -> None:
        self._level = _Level([path_of(key) for key in drop], frozenset(drop_names), keep_other, frozenset({"next"}))

    def __call__(self, tensordict: TensorDictBase) -> TensorDictBase:
        """The input of the step after ``tensordict``."""
        if tensordict.__class__ is not TensorDict and isinstance(tensordict, LazyStackedTensorDict):
            dim = tensordict.stack_dim
            return LazyStackedTensorDict.lazy_stack([self(td) for td in tensordict.unbind(dim)], dim)
        before = entries(tensordict)
        following = before.get("next")
        if following is None:
            raise KeyError(f'"next" is missing: expected the output of env.step, found keys {sorted(before)}')
        return self._level.merge(tensordict, before, entries(following))


class _Level:
    """What is left behind at one nesting level, and at the levels below."""

    def __init__(
        self,
        drop: list[tuple[str, ...]],
        drop_names: frozenset[str],
        keep_other: bool,
        also: frozenset[str] = frozenset(),
    ) -> None:
        self.skip = drop_names | also | {path[0] for path in drop if len(path) == 1}
        self.keep_other = keep_other
        self.below = {
            name: _Level([path[1:] for path in drop if path[0] == name and len(path) > 1], drop_names, keep_other)
            for name in {path[0] for path in drop if len(path) > 1}
        }
        self.elsewhere = (drop_names, keep_other)
        self.routes: dict[tuple, tuple[list[str], list[str]]] = {}

    def merge(self, like: TensorDictBase, before: dict[str, Any], after: dict[str, Any]) -> TensorDictBase:
        """Entries of ``after`` and, where there are none, of ``before``, in a TensorDict like ``like``."""
        names = (*before, None, *after)
        route = self.routes.get(names)
        if route is None:
            route = self._route(names, before, after)
        keep, flat = {}, True
        for name in route[0]:
            value = keep[name] = after[name]
            if value.__class__ is not Tensor:
                flat = False
        for name in route[1]:
            value = keep[name] = before[name]
            if value.__class__ is not Tensor:
                flat = False
        if not flat:
            self._descend(keep, before, after)
        return unchecked(keep, like.batch_size, like.device)

    def _route(self, names: tuple, before: Iterable[str], after: Iterable[str]) -> tuple[list[str], list[str]]:
        """Which entries come from either side; remembered, for the same names come again and again."""
        taken = [name for name in after if name not in self.skip]
        others = [name for name in before if self.keep_other and name not in self.skip and name not in taken]
        if len(self.routes) >= MOST_ROUTES:
            self.routes.clear()
        self.routes[names] = (taken, others)
        return taken, others

    def _descend(self, keep: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> None:
        """Merges the nested TensorDicts in ``keep`` as well."""
        for name, value in list(keep.items()):
            if isinstance(value, TensorDictBase) and not is_non_tensor(value):
                level = self.below.get(name) or _Level([], *self.elsewhere)
                keep[name] = level.nested(value, before.get(name), after.get(name))
                # What held nothing but rewards is not there after a reset either.
                if keep[name].is_empty() and not (name in after and after[name].is_empty()):
                    del keep[name]

    def nested(self, like: TensorDictBase, before: Any, after: Any) -> TensorDictBase:
        """The same for nested TensorDicts, either of which may be missing."""
        sides = [side if isinstance(side, TensorDictBase) else None for side in (before, after)]
        if isinstance(like, LazyStackedTensorDict):
            dim = like.stack_dim
            parts = like.unbind(dim)
            pairs = ([None] * len(parts) if side is None else side.unbind(dim) for side in sides)
            return LazyStackedTensorDict.lazy_stack(
                [self.nested(*part) for part in zip(parts, *pairs, strict=True)], dim
            )
        return self.merge(like, *({} if side is None else entries(side) for side in sides))


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


_USUAL = _compiled(True, True, False, True, "reward", None, "action")
