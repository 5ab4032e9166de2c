"""What an env's data looks like to a user of Gymnasium.

Decided once, when an env is exported: which entries are the observation and which are info, whether there is one
of a kind (which stands alone) or several (which form a ``Dict``), and one conversion per leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from tensordict import NestedKey, TensorDictBase

from envkit.core.env import EnvBase
from envkit.core.plan import path_of
from envkit.errors import InvalidActionError, SpecError
from envkit.specs import Bounded, Categorical, Composite, NonTensor, TensorSpec, Unbounded, space_from_spec

__all__ = ["Layout", "as_keys", "encoder", "reader", "scalar_reward"]

Convert = Callable[[Any], Any]


class Layout:
    """The spaces of an env, and the conversions between its TensorDicts and their elements.

    Args:
        env: the env; with a batch, spaces are those of one element and data that of the whole batch.
        info_keys: observations that are info instead.
        to_numpy: data is numpy; if False, tensors as the env made them.

    Attributes:
        observation_space: the space of ``"observation"`` if there is nothing else, a ``Dict`` otherwise.
        action_space: the action's space; a ``Dict`` if there are several actions.
        action_key: where :meth:`action` goes; None if it is a TensorDict of several actions.

    Raises:
        SpecError: ``info_keys`` names no observation.
        UnsupportedSpaceError: a spec has no space.
    """

    def __init__(self, env: EnvBase, info_keys: Iterable[NestedKey] = (), *, to_numpy: bool = True) -> None:
        alone = (0,) * env.batch_dims
        observation = env.observation_spec[alone] if alone else env.observation_spec.clone()
        self.info_keys = as_keys(info_keys)
        seen, info = _split(observation, self.info_keys)
        self.wraps_dict = list(seen.keys()) != ["observation"]
        leaf = seen if self.wraps_dict else seen["observation"]
        self.observation_space = space_from_spec(leaf)
        self._observe = reader(leaf, self.observation_space, to_numpy=to_numpy)
        self._inform = _info_reader(info, to_numpy)
        action = env.full_action_spec
        self.action_key = _only_key(action)
        whole = action if self.action_key is None else action[self.action_key]
        single = whole[alone] if alone else whole
        self.action_space = space_from_spec(single)
        self.action = encoder(whole)

    def observation(self, tensordict: TensorDictBase) -> Any:
        """The element of the observation space that ``tensordict`` holds; it shares no memory with it."""
        return self._observe(tensordict if self.wraps_dict else tensordict.get("observation"))

    def info(self, tensordict: TensorDictBase) -> dict[str, Any]:
        """The info entries of ``tensordict``; nested keys become nested dictionaries."""
        return self._inform(tensordict)

    def put_action(self, tensordict: TensorDictBase, action: Any) -> None:
        """Writes an element of the action space into ``tensordict``.

        Raises:
            InvalidActionError: the action does not fit its space. Bounds of continuous actions are left to the env.
        """
        encoded = self.action(action)
        if self.action_key is None:
            tensordict.update(encoded)
        else:
            tensordict.set(self.action_key, encoded)


def as_keys(keys: Iterable[NestedKey] | str) -> list[NestedKey]:
    """A list of keys in one spelling: JSON knows no tuples, and one key may come alone."""
    if isinstance(keys, str):
        return [keys]
    out: list[NestedKey] = []
    for key in keys:
        path = (key,) if isinstance(key, str) else tuple(key)
        out.append(path[0] if len(path) == 1 else path)
    return out


def reader(spec: TensorSpec, space: spaces.Space, *, to_numpy: bool) -> Convert:
    """A function from values of ``spec``, with any leading dimensions, to elements of ``space`` (batched alike)."""
    if isinstance(spec, Composite):
        inner = {
            name: reader(leaf, part, to_numpy=to_numpy)
            for (name, leaf), part in zip(_present(spec), _parts(space), strict=True)
        }
        if spec.is_tuple:
            return lambda value: tuple(read(value.get(name)) for name, read in inner.items())
        return lambda value: {name: read(value.get(name)) for name, read in inner.items()}
    if isinstance(spec, NonTensor):
        return lambda value: _plain(spec.to_numpy(value))
    if not to_numpy:
        return lambda value: value.detach().clone()
    convert, dtype = spec.to_numpy, space.dtype

    def read(value: torch.Tensor) -> Any:
        array = convert(value)
        # Flags are booleans here and integers in the spaces Gymnasium has for them.
        return array if array.dtype == dtype else array.astype(dtype)

    return read


def encoder(spec: TensorSpec) -> Convert:
    """A function from elements of the space of ``spec`` to its values, which refuses what is no category."""
    if isinstance(spec, Composite):
        discrete = [(key, leaf) for key, leaf in spec.items(True, True) if _is_discrete(leaf)]
    else:
        discrete = [((), spec)] if _is_discrete(spec) else []

    def encode(action: Any) -> Any:
        try:
            value = spec.encode(action)
            for key, leaf in discrete:
                leaf.assert_is_in(value.get(key) if key else value)
        except (SpecError, TypeError) as error:
            raise InvalidActionError(f"action {action!r}: {error}") from error
        return value

    if type(spec) is not Categorical or spec.shape or spec.mask is not None:
        return encode
    start, count, dtype, device = spec.start, spec.n, spec.dtype, spec.device

    def encode_number(action: Any) -> Any:
        # The most common action by far, and the long way is dear.
        if action.__class__ in (int, np.int64) and start <= action < start + count:
            return torch.tensor(int(action) - start, dtype=dtype, device=device)
        return encode(action)

    return encode_number


def _is_discrete(leaf: TensorSpec) -> bool:
    return not isinstance(leaf, Bounded | Unbounded | NonTensor)


def _present(spec: Composite) -> list[tuple[str, TensorSpec]]:
    return [(name, leaf) for name, leaf in spec.items() if leaf is not None]


def _parts(space: Any) -> list[spaces.Space]:
    return list(space.spaces.values()) if isinstance(space, spaces.Dict) else list(space.spaces)


def _plain(value: Any) -> Any:
    return tuple(map(_plain, value)) if isinstance(value, list) else value


def _only_key(spec: Composite) -> NestedKey | None:
    """The key of the only action, or None. A ``Dict`` that came in as one action goes out as one."""
    names = [name for name, _ in _present(spec)]
    if names == ["action"]:
        return "action"
    leaves = list(spec.keys(True, True))
    return leaves[0] if len(leaves) == 1 else None


def _split(spec: Composite, info_keys: list[NestedKey]) -> tuple[Composite, dict[NestedKey, TensorSpec]]:
    """The observation's spec without its info entries, and those."""
    seen, info = spec.clone(), {}
    for key in info_keys:
        if key not in spec.keys(True):
            raise SpecError(
                f"info_keys: {key!r} is no observation of the env; expected some of "
                f"{sorted(map(str, spec.keys(True, True)))}"
            )
        info[key] = spec[key]
        del seen[key]
        path = path_of(key)[:-1]
        while path and not len(list(seen[path].keys())):
            del seen[path]
            path = path[:-1]
    return seen, info


def _info_reader(info: Mapping[NestedKey, TensorSpec], to_numpy: bool) -> Callable[[TensorDictBase], dict[str, Any]]:
    reads = [(key, path_of(key), _info_leaf(spec, to_numpy)) for key, spec in info.items()]

    def read(tensordict: TensorDictBase) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, path, convert in reads:
            level = out
            for name in path[:-1]:
                level = level.setdefault(name, {})
            level[path[-1]] = convert(tensordict.get(key))
        return out

    return read


def _info_leaf(spec: TensorSpec, to_numpy: bool) -> Convert:
    """Info has no space to agree with: whatever the spec can describe goes out, objects included."""
    if isinstance(spec, Composite):
        inner = {name: _info_leaf(leaf, to_numpy) for name, leaf in _present(spec)}
        return lambda value: {name: read(value.get(name)) for name, read in inner.items()}
    if to_numpy or isinstance(spec, NonTensor):
        return spec.to_numpy
    return lambda value: value.detach().clone()


def scalar_reward(value: torch.Tensor) -> float | np.ndarray:
    """A reward as a number; several at once (more than one objective) as an array."""
    return value.item() if value.numel() == 1 else value.detach().cpu().numpy().reshape(-1).copy()
