"""Specs read off the data of an env that has none yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from tensordict import NestedKey, TensorDict, TensorDictBase, is_leaf_nontensor

from envkit.core.plan import DONE_NAMES, path_of
from envkit.errors import SpecError
from envkit.specs import Categorical, Composite, NonTensor, TensorSpec, Unbounded

if TYPE_CHECKING:
    from envkit.core.env import EnvBase

__all__ = ["auto_specs_"]

Keys = NestedKey | Sequence[NestedKey]


def auto_specs_(
    self: EnvBase,
    policy: Callable[[TensorDictBase], TensorDictBase],
    *,
    tensordict: TensorDictBase | None = None,
    action_key: Keys = "action",
    done_key: Keys | None = None,
    observation_key: Keys = "observation",
    reward_key: Keys = "reward",
) -> EnvBase:
    """Sets all specs of an env by what it returns at a reset and in two steps of ``policy``.

    Every entry becomes unbounded (done flags boolean), and a size that differs between the two steps -1: specs to start
    from, and to narrow down by hand.

    Args:
        policy: reads a TensorDict and writes the actions into it.
        tensordict: handed to the reset.
        action_key: key, or list of keys, of the actions.
        done_key: of the done flags; by default whatever is called done, terminated or truncated.
        observation_key: of the observations.
        reward_key: of the rewards.

    Returns:
        The env itself.

    Raises:
        SpecError: an entry has no role, or a key none of the data.

    Examples:
        >>> from tensordict import TensorDict
        >>> from envkit import EnvBase
        >>> class Walk(EnvBase):
        ...     def _reset(self, tensordict=None):
        ...         return TensorDict({"observation": torch.zeros(1)})
        ...     def _step(self, tensordict):
        ...         x = tensordict["observation"] + tensordict["action"]
        ...         return TensorDict({"observation": x, "reward": -x.abs(), "done": x.abs() > 100})
        ...     def _set_seed(self, seed):
        ...         pass
        >>> env = Walk().auto_specs_(lambda td: td.set("action", torch.ones(1)))
        >>> env.rollout(5).batch_size
        torch.Size([5])
    """
    size = self.batch_size
    first = _data(self._reset(tensordict), size)
    acted = policy(first.copy())
    one = _data(self._step(acted), size)
    two = _data(self._step(policy(one.exclude(*_listed(reward_key)))), size)
    if done_key is None:
        done_key = [key for key in one.keys(True, True) if path_of(key)[-1] in DONE_NAMES]
    roles = {"observation": _listed(observation_key), "reward": _listed(reward_key), "done": _listed(done_key)}
    claimed = {key for keys in roles.values() for key in keys}
    loose = [key for key in one.keys(True, True, is_leaf=is_leaf_nontensor) if key not in claimed]
    if loose:
        raise SpecError(f"auto_specs_: expected a role for every entry, found none for {loose}; the roles are {roles}")
    specs = {role: _composite(keys, one, two, size) for role, keys in roles.items()}
    specs["action"] = _composite(_listed(action_key), acted, acted, size)
    states = [key for key in first.keys(True, True) if key not in {*claimed, *_listed(action_key)}]
    specs["state"] = _composite(states, first, first, size)
    for role, spec in specs.items():
        if role == "done":
            spec = Composite(
                {key: Categorical(2, leaf.shape, dtype=torch.bool) for key, leaf in spec.items(True, True)}, shape=size
            )
        self._set_spec(role, spec, full=True)
    return self


def _data(out: TensorDictBase | Mapping[str, Any], size: torch.Size) -> TensorDictBase:
    return out if isinstance(out, TensorDictBase) else TensorDict(dict(out), size)


def _composite(keys: list[NestedKey], one: TensorDictBase, two: TensorDictBase, size: torch.Size) -> Composite:
    out = Composite(shape=size)
    for key in keys:
        value, other = one.get(key, None), two.get(key, None)
        if value is None or other is None:
            raise SpecError(f"auto_specs_: {key!r} is missing; found {sorted(map(str, one.keys(True, True)))}")
        out[key] = _leaf(value, other)
    return out


def _leaf(value: Any, other: Any) -> TensorSpec:
    if not isinstance(value, torch.Tensor):
        return NonTensor(())
    if value.ndim != other.ndim:
        raise SpecError(f"auto_specs_: expected one number of dimensions, found {value.ndim} and {other.ndim}")
    shape = [size if size == later else -1 for size, later in zip(value.shape, other.shape, strict=True)]
    return Unbounded(shape or (), dtype=value.dtype, device=value.device)


def _listed(keys: Keys) -> list[NestedKey]:
    return list(keys) if isinstance(keys, list) else [keys]  # type: ignore[list-item]
