"""What a transform is, and how transforms chain."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import torch
from tensordict import NestedKey, TensorDictBase
from torch import nn

from envkit.errors import SpecError
from envkit.specs import Composite, TensorSpec, Unbounded

if TYPE_CHECKING:
    from typing import Self

    from envkit.core.env import EnvBase

__all__ = ["Compose", "Transform"]

Keys = NestedKey | Sequence[NestedKey] | None


class Transform(nn.Module):
    """One change, told twice: for the data and for the specs.

    ``in_keys`` and ``in_keys_inv`` are names as the inner env knows them, ``out_keys`` and ``out_keys_inv`` as the
    outside world (the policy) does. On the way out of the env each ``in_key`` becomes its ``out_key`` through
    :meth:`_apply_transform`; on the way in each ``out_key_inv`` becomes its ``in_key_inv`` through
    :meth:`_inv_apply_transform`. Out keys default to the in keys.

    A subclass defines one or both of those. For what they do to a spec it may define :meth:`_transform_leaf`; by
    default the shape and dtype are found by transforming a zero, and the bounds are unknown. Transforms that need
    more than one value at a time define ``_step(tensordict, next_tensordict)`` and ``_reset(tensordict,
    reset_tensordict)``, and the spec hooks ``transform_observation_spec``, ``transform_reward_spec``,
    ``transform_done_spec``, ``transform_action_spec``, ``transform_state_spec``. What a transform remembers between
    steps it keeps in the data (see :class:`~envkit.transforms.episode.StepCounter`): then partial resets need no
    care.

    A module call (:meth:`forward`) does on any TensorDict what happens on the way out, and :meth:`inv` what happens on
    the way in.

    Examples:
        >>> from tensordict import TensorDict
        >>> class AddOneToObs(Transform):
        ...     def __init__(self):
        ...         super().__init__(in_keys=["observation"], out_keys=["observation"])
        ...     def _apply_transform(self, obs):
        ...         return obs + 1
        >>> AddOneToObs()(TensorDict({"observation": torch.zeros(2)}))["observation"]
        tensor([1., 1.])
    """

    def __init__(
        self, in_keys: Keys = None, out_keys: Keys = None, in_keys_inv: Keys = None, out_keys_inv: Keys = None
    ) -> None:
        super().__init__()
        self.in_keys, self.out_keys = _pair(self, "in_keys", in_keys, "out_keys", out_keys)
        self.in_keys_inv, self.out_keys_inv = _pair(self, "in_keys_inv", in_keys_inv, "out_keys_inv", out_keys_inv)
        self.__dict__["_container"] = None

    # ------------------------------------------------------------------- data

    def _apply_transform(self, value: torch.Tensor) -> torch.Tensor:
        """The change to one value on its way out."""
        return value

    def _inv_apply_transform(self, value: torch.Tensor) -> torch.Tensor:
        """The change to one value on its way in."""
        return value

    def _call(self, next_tensordict: TensorDictBase) -> TensorDictBase:
        """The change to everything that comes out of the env, in place."""
        for in_key, out_key in zip(self.in_keys, self.out_keys, strict=True):
            value = next_tensordict.get(in_key, None)
            if value is not None:
                next_tensordict.set(out_key, self._apply_transform(value))
        return next_tensordict

    def _inv_call(self, tensordict: TensorDictBase) -> TensorDictBase:
        """The change to everything that goes into the env, in place."""
        for in_key, out_key in zip(self.in_keys_inv, self.out_keys_inv, strict=True):
            value = tensordict.get(out_key, None)
            if value is not None:
                tensordict.set(in_key, self._inv_apply_transform(value))
        return tensordict

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        """After a step: changes ``next_tensordict``, knowing the ``tensordict`` that was stepped."""
        return self._call(next_tensordict)

    def _reset(self, tensordict: TensorDictBase | None, tensordict_reset: TensorDictBase) -> TensorDictBase:
        """After a reset: changes ``tensordict_reset``, as if everything had been reset."""
        return self._call(tensordict_reset)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Applies the transform to a TensorDict outside of any env, in place.

        Raises:
            KeyError: an in key is missing.
        """
        for key in self.in_keys:
            self._take(tensordict, key)
        return self._call(tensordict)

    def _take(self, tensordict: TensorDictBase, key: NestedKey) -> Any:
        value = tensordict.get(key, None)
        if value is None:
            raise KeyError(
                f"{type(self).__name__}: {key!r} is missing; found {sorted(map(str, tensordict.keys(True, True)))}"
            )
        return value

    def inv(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Applies the inverse transform to a copy of ``tensordict``."""
        return self._inv_call(tensordict.copy())

    @property
    def invertible(self) -> bool:
        """Whether anything happens on the way in."""
        return bool(self.in_keys_inv)

    # ------------------------------------------------------------------ specs

    def _transform_leaf(self, leaf: TensorSpec) -> TensorSpec:
        """The spec of a transformed value."""
        sample = leaf.zero()
        changed = self._apply_transform(sample)
        if changed is sample:
            return leaf
        return Unbounded(changed.shape, dtype=changed.dtype, device=leaf.device)

    def _transform_leaves(
        self, spec: Composite, pairs: Sequence[tuple[NestedKey, NestedKey]], *, replace: bool
    ) -> Composite:
        out = spec.clone()
        for in_key, out_key in pairs:
            leaf = spec.get(in_key, None)
            if leaf is not None:
                if replace and out_key != in_key:
                    del out[in_key]
                out[out_key] = self._transform_leaf(leaf)
        return out

    def _outward(self, spec: Composite) -> Composite:
        return self._transform_leaves(spec, list(zip(self.in_keys, self.out_keys, strict=True)), replace=False)

    def _inward(self, spec: Composite) -> Composite:
        return self._transform_leaves(spec, list(zip(self.in_keys_inv, self.out_keys_inv, strict=True)), replace=True)

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """The observation spec as seen from outside."""
        return self._outward(observation_spec)

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        """The reward spec as seen from outside."""
        return self._outward(reward_spec)

    def transform_done_spec(self, done_spec: Composite) -> Composite:
        """The done spec as seen from outside."""
        return self._outward(done_spec)

    def transform_action_spec(self, action_spec: Composite) -> Composite:
        """The action spec as seen from outside."""
        return self._inward(action_spec)

    def transform_state_spec(self, state_spec: Composite) -> Composite:
        """The state spec as seen from outside."""
        return self._inward(state_spec)

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """All five specs of an env, by role, as seen from outside.

        Raises:
            SpecError: the env inside knows no such key.
        """
        self._know(self.in_keys, [specs[role] for role in ("observation", "reward", "done")], "in_keys")
        self._know(self.in_keys_inv, [specs[role] for role in ("action", "state")], "in_keys_inv")
        return {role: getattr(self, f"transform_{role}_spec")(spec) for role, spec in specs.items()}

    def _know(self, keys: Sequence[NestedKey], specs: Sequence[Composite], role: str) -> None:
        known = [key for spec in specs for key in spec.keys(True)]
        for key in keys:
            if key not in known:
                raise SpecError(
                    f"{type(self).__name__}: unknown key {key!r} in {role}; the env inside has "
                    f"{sorted(map(str, known))}"
                )

    # ------------------------------------------------------------- belonging

    @property
    def container(self) -> Any:
        """The transformed env this transform belongs to, or None."""
        holder = self._container
        return holder.container if isinstance(holder, Transform) else holder

    @property
    def parent(self) -> EnvBase | None:
        """The env as this transform sees it: the base env behind clones of all transforms before this one."""
        env = self.container
        return None if env is None else env.before(self)

    def _attach(self, holder: Any) -> None:
        if self._container is not None:
            raise RuntimeError(
                f"{type(self).__name__} already belongs to {type(self._container).__name__}; a transform has "
                f"one parent: use its clone()"
            )
        self.__dict__["_container"] = holder

    def reset_parent(self) -> None:
        """Lets go of the env the transform belongs to."""
        self.__dict__["_container"] = None

    def clone(self) -> Self:
        """A transform that belongs to no env and shares this one's buffers."""
        twin = copy.copy(self)
        for name in ("_parameters", "_buffers", "_modules"):
            twin.__dict__[name] = dict(self.__dict__[name])
        twin.reset_parent()
        return twin

    def _changed(self) -> None:
        """Tells the env that specs have to be worked out anew."""
        env = self.container
        if env is not None:
            env.respec()

    def close(self) -> None:
        """Releases what the transform holds."""

    def extra_repr(self) -> str:
        """The keys."""
        shown = {"in_keys": self.in_keys, "out_keys": self.out_keys, "in_keys_inv": self.in_keys_inv}
        return ", ".join(f"{name}={keys}" for name, keys in shown.items() if keys)


class Compose(Transform):
    """Transforms in a row, the innermost first.

    An index gives the transform itself, which keeps its parent; a slice gives a Compose of clones without one.

    Args:
        *transforms: the transforms.

    Examples:
        >>> from envkit import DoubleToFloat, StepCounter
        >>> chain = Compose(DoubleToFloat(), StepCounter())
        >>> len(chain), type(chain[-1]).__name__
        (2, 'StepCounter')
    """

    def __init__(self, *transforms: Transform) -> None:
        super().__init__()
        self.transforms = nn.ModuleList()
        for transform in transforms:
            self._insert(len(self.transforms), transform)

    @property
    def _chain(self) -> list[Transform]:
        return list(self.transforms)  # type: ignore[arg-type]

    def _insert(self, index: int, transform: Transform) -> None:
        if not isinstance(transform, Transform):
            raise TypeError(f"expected a Transform, found {type(transform).__name__}")
        if isinstance(transform, Compose):
            for offset, inner in enumerate(transform.pop_all()):
                self._insert(index + offset, inner)
            return
        transform._attach(self)
        self.transforms.insert(index, transform)

    def pop_all(self) -> list[Transform]:
        """Empties the chain and returns its transforms, free to go elsewhere."""
        if self._container is not None:
            raise RuntimeError("Compose already belongs to an env; a transform has one parent: use its clone()")
        transforms = self._chain
        self.transforms = nn.ModuleList()
        for transform in transforms:
            transform.reset_parent()
        return transforms

    def append(self, transform: Transform) -> None:
        """Adds a transform on the outside."""
        self.insert(len(self.transforms), transform)

    def insert(self, index: int, transform: Transform) -> None:
        """Adds a transform before the one at ``index``.

        Raises:
            SpecError: it, or one after it, names a key that is not there; the chain stays as it was.
        """
        before = self._chain
        self._insert(range(len(self.transforms) + 1)[index], transform)
        try:
            self._changed()
        except SpecError:
            for added in self._chain:
                if not any(added is kept for kept in before):
                    added.reset_parent()
            self.transforms = nn.ModuleList(before)
            self._changed()
            raise

    def clone(self) -> Self:
        """A chain of clones."""
        return type(self)(*(transform.clone() for transform in self._chain))

    @overload
    def __getitem__(self, index: int) -> Transform: ...
    @overload
    def __getitem__(self, index: slice) -> Compose: ...
    def __getitem__(self, index: int | slice) -> Transform:
        if isinstance(index, slice):
            return Compose(*(transform.clone() for transform in self._chain[index]))
        return self._chain[index]

    def __len__(self) -> int:
        return len(self.transforms)

    def __iter__(self) -> Iterator[Transform]:
        return iter(self._chain)

    @property
    def invertible(self) -> bool:
        """Whether any transform does something on the way in."""
        return any(transform.invertible for transform in self._chain)

    def _call(self, next_tensordict: TensorDictBase) -> TensorDictBase:
        return self._fold(next_tensordict, lambda transform, td: transform._call(td))

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        for transform in self._chain:
            next_tensordict = transform._step(tensordict, next_tensordict)
        return next_tensordict

    def _reset(self, tensordict: TensorDictBase | None, tensordict_reset: TensorDictBase) -> TensorDictBase:
        for transform in self._chain:
            tensordict_reset = transform._reset(tensordict, tensordict_reset)
        return tensordict_reset

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Applies all transforms, innermost first."""
        return self._fold(tensordict, lambda transform, td: transform(td))

    def _fold(self, tensordict: TensorDictBase, apply: Callable) -> TensorDictBase:
        for transform in self._chain:
            tensordict = apply(transform, tensordict)
        return tensordict

    def _inv_call(self, tensordict: TensorDictBase) -> TensorDictBase:
        for transform in reversed(self._chain):
            tensordict = transform._inv_call(tensordict)
        return tensordict

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """All five specs as seen from outside the chain."""
        for transform in self._chain:
            specs = transform.transform_specs(specs)
        return specs

    def close(self) -> None:
        """Closes all transforms."""
        for transform in self._chain:
            transform.close()

    def extra_repr(self) -> str:
        """Nothing beyond the transforms."""
        return ""


def _pair(owner: Transform, in_name: str, in_keys: Keys, out_name: str, out_keys: Keys) -> tuple[list, list]:
    ins = _listed(in_keys)
    outs = list(ins) if out_keys is None else _listed(out_keys)
    if len(ins) != len(outs):
        raise ValueError(f"{type(owner).__name__}: expected as many {out_name} as {in_name}, found {outs} for {ins}")
    return ins, outs


def _listed(keys: Keys) -> list[NestedKey]:
    if keys is None:
        return []
    return [keys] if isinstance(keys, (str, tuple)) else list(keys)
