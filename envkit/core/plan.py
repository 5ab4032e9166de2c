"""What follows from an env's specs, derived once.

Locking the specs of an env compiles them into one immutable :class:`Plan`: which keys play which role, how the
flags of a done group complete each other, what a row of recorded data holds and what it hands on to the
next row. Nothing else in the runtime searches keys or walks specs while stepping.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from tensordict import NestedKey, TensorDict, TensorDictBase

from envkit.errors import EnvDataError, SpecError
from envkit.specs import Categorical, Composite, StackedComposite, TensorSpec
from envkit.storage import peek, put

__all__ = ["DoneGroup", "Plan", "complete_done_spec", "path_of"]

DONE_NAMES = ("done", "terminated", "truncated")


def path_of(key: NestedKey) -> tuple[str, ...]:
    """A nested key as a tuple of names."""
    return (key,) if isinstance(key, str) else key  # type: ignore[return-value]


def _key(*path: str) -> NestedKey:
    return path[0] if len(path) == 1 else path


def _sorted(keys: Iterable[NestedKey]) -> list[NestedKey]:
    return sorted(keys, key=lambda key: (len(path_of(key)), path_of(key)))


def complete_done_spec(spec: Composite, batch_size: torch.Size) -> Composite:
    """Gives every level of a done spec that has ``done`` or ``terminated`` the other one as well.

    An empty spec gets both at its root: boolean, of shape ``(*batch_size, 1)``.

    Raises:
        SpecError: a leaf that is no boolean or has no dimensions, or flags of one level whose shapes differ.
    """
    spec = spec.clone()
    levels: dict[tuple[str, ...], dict[str, TensorSpec]] = {}
    for key, leaf in spec.items(True, True):
        path = path_of(key)
        if not leaf.shape:
            raise SpecError(f"done spec {key!r}: expected a shape with a trailing 1, found []")
        if leaf.dtype is not torch.bool:
            raise SpecError(f"done spec {key!r}: expected dtype torch.bool, found {leaf.dtype}")
        levels.setdefault(path[:-1], {})[path[-1]] = leaf
    if not levels:
        flag = Categorical(2, shape=(*batch_size, 1), dtype=torch.bool, device=spec.device)
        spec["done"], spec["terminated"] = flag, flag.clone()
    for prefix, leaves in levels.items():
        if len({leaf.shape for leaf in leaves.values()}) > 1:
            shapes = {name: list(leaf.shape) for name, leaf in leaves.items()}
            raise SpecError(f"done spec at {prefix or 'the root'}: expected flags of one shape, found {shapes}")
        template = next(iter(leaves.values()))
        for name in ("done", "terminated"):
            if name not in leaves:
                spec[_key(*prefix, name)] = template.clone()
    return spec


class DoneGroup(NamedTuple):
    """The end-of-trajectory flags of one nesting level, and the reset mask that belongs to them."""

    done: NestedKey
    terminated: NestedKey
    truncated: NestedKey | None
    reset: NestedKey
    shape: torch.Size
    device: torch.device | None
    limits_may_pass: bool

    @property
    def keys(self) -> tuple[NestedKey, ...]:
        """The flags that there are."""
        return (self.done, self.terminated, *(() if self.truncated is None else (self.truncated,)))

    def derive(self, done: Any, terminated: Any, truncated: Any = None) -> tuple[Any, Any, Any]:
        """All flags, tensors or arrays, from those that are not None, which ``done`` or ``terminated`` is.

        A lone ``done`` counts as a termination. ``done`` is up wherever one of the others is, even if it was told not
        to be (but see ``limits_may_pass`` of :class:`Plan`). What is the same as another one is that very object.
        """
        if terminated is None:
            terminated = done if truncated is None else done & ~truncated
        if self.truncated is not None and truncated is None:
            truncated = (terminated if done is None else done) & ~terminated
        if done is None:
            done = terminated if truncated is None else terminated | truncated
        elif done is not terminated and not self.limits_may_pass:
            done = done | terminated if truncated is None else done | terminated | truncated
        return done, terminated, truncated

    def complete(self, out: TensorDictBase, *, default: bool) -> None:
        """Adds the flags that ``out`` lacks, as :meth:`derive` has them.

        If there is neither a done nor a terminated flag they become False where ``default`` allows it (after a reset),
        and are an error otherwise.
        """
        done = self._flag(out, self.done)
        terminated = self._flag(out, self.terminated)
        truncated = None if self.truncated is None else self._flag(out, self.truncated)
        if done is None and terminated is None:
            if not default:
                raise EnvDataError(
                    f"the env's _step returned neither {self.done!r} nor {self.terminated!r}: expected a boolean of "
                    f"shape {list(self.shape)}, found keys {sorted(map(str, out.keys(True, True)))}"
                )
            done = torch.zeros(self.shape, dtype=torch.bool, device=self.device)
            put(out, self.done, done)
        every_done, every_terminated, every_truncated = self.derive(done, terminated, truncated)
        if terminated is None:
            put(out, self.terminated, done.clone() if every_terminated is done else every_terminated)
        if truncated is None and self.truncated is not None:
            put(out, self.truncated, every_truncated)
        if every_done is not done:
            put(out, self.done, terminated.clone() if every_done is terminated else every_done)

    def lower(self, out: TensorDictBase) -> None:
        """Gives ``out``, which has none of the flags, all of them: False."""
        for key in self.keys:
            put(out, key, torch.zeros(self.shape, dtype=torch.bool, device=self.device))

    def _flag(self, out: TensorDictBase, key: NestedKey) -> torch.Tensor | None:
        flag, size = peek(out, key), self.shape
        if flag is None:
            return None
        if flag.dtype is not torch.bool:
            raise EnvDataError(f"{key!r}: expected dtype torch.bool, found {flag.dtype}")
        if flag.shape != size:
            if flag.numel() != size.numel():
                raise EnvDataError(f"{key!r}: expected shape {list(size)}, found {list(flag.shape)}")
            flag = flag.reshape(size)
            put(out, key, flag)
        return flag


class _Leaf(NamedTuple):
    """What the data of one leaf must look like; ``reshape`` tolerates a missing trailing 1."""

    key: NestedKey
    shape: torch.Size
    dtype: torch.dtype
    reshape: bool
    fixed: bool


class Plan:
    """Everything the runtime needs to know of an env, compiled from its five specs.

    Attributes:
        action_keys, state_keys, observation_keys, reward_keys, done_keys, reset_keys: leaf keys by role, sorted by
            depth and then by name.
        done_groups: one :class:`DoneGroup` per nesting level that has done flags.
        root_spec: what a row holds before the action is executed: state, observation, done flags and action.
        next_spec: what it holds under ``"next"``: observation, reward and done flags.
        carried: keys that a step hands from ``"next"`` to the next row's root.
        kept: state keys no step returns, which pass from root to root.
        groups_apart: whether no done group lies below another one. Then whatever is done is reset by its own mask, and
            no row from which a step is taken holds a flag that is up.
        levels: paths of the nested levels, which may have masks of their own.
        limits_may_pass: whether a truncation may leave a done flag down that is told to be: a limit that ends nothing,
            as transforms have it. Whatever an env itself calls an end is one.
        unequal: keys of groups whose elements differ in shape or in their entries; their data is a lazy stack.

    Raises:
        SpecError: two roles claim the same key.
    """

    def __init__(
        self,
        *,
        action: Composite,
        state: Composite,
        observation: Composite,
        reward: Composite,
        done: Composite,
        batch_size: torch.Size,
        limits_may_pass: bool = False,
    ) -> None:
        def keys_of(spec: Composite) -> list[NestedKey]:
            return _sorted(spec.keys(True, True))

        self._specs = {"action": action, "state": state, "observation": observation, "reward": reward, "done": done}
        self.action_keys, self.state_keys = keys_of(action), keys_of(state)
        self.observation_keys, self.reward_keys, self.done_keys = map(keys_of, (observation, reward, done))
        _no_overlap(observation=self.observation_keys, reward=self.reward_keys, done=self.done_keys)
        _no_overlap(action=self.action_keys, state=self.state_keys)
        _no_overlap(action=self.action_keys, observation=self.observation_keys)
        self.batch_size = batch_size
        self.batch_dims = len(batch_size)
        self.limits_may_pass = limits_may_pass
        self.done_groups = _done_groups(done, limits_may_pass)
        self.reset_keys = [group.reset for group in self.done_groups]
        places = [path_of(key)[:-1] for key in self.reset_keys]
        self.groups_apart = not any(a != b and b[: len(a)] == a for a in places for b in places)
        self.root_spec = _merge(state, observation, done, action).lock_()
        self.next_spec = _merge(observation, reward, done).lock_()
        self.levels = [path_of(key) for key in self.root_spec.keys(True) if isinstance(self.root_spec[key], Composite)]
        # Levels of a shape of their own, as groups of agents are; authors may leave it to the specs.
        self._groups = [
            (key, level.shape)
            for key, level in self.next_spec.items(True)
            if type(level) is Composite and level.shape != batch_size and -1 not in level.shape
        ]
        self.carried = [*self.observation_keys]
        self.kept = [key for key in self.state_keys if key not in self.carried]
        self.unequal = [key for key, _ in _stacks(self.root_spec)]
        self._ragged = {key for spec in (observation, reward, action, state) for key in _ragged(spec)}
        self._values = [
            _Leaf(key, leaf.shape, leaf.dtype, role == "reward", not leaf.has_dynamic_shape)
            for role, spec in (("observation", observation), ("reward", reward))
            for key, leaf in spec.items(True, True)
            if leaf.dtype is not None and key not in self._ragged
        ]
        self._root_values = [leaf for leaf in self._values if not leaf.reshape]
        self._reset_stacks, rewards = _stacks(observation), _stacks(reward)
        self._step_stacks = [*self._reset_stacks, *rewards]
        self._data_keys = [
            key for spec in (observation, reward) for key, leaf in spec.items(True, True) if leaf.dtype is None
        ]

    @property
    def has_dynamic_specs(self) -> bool:
        """Whether some leaf has a size of -1 or is non-tensor data, so that rows cannot share one tensor."""
        leaves = (*self.root_spec.values(True, True), *self.next_spec.values(True, True))
        return bool(self.unequal) or any(leaf.dtype is None or leaf.has_dynamic_shape for leaf in leaves)

    def is_ragged(self, key: NestedKey) -> bool:
        """Whether the values at ``key`` differ in shape between the elements of a group."""
        return key in self._ragged

    def stacks(self, method: str) -> list[tuple[NestedKey, StackedComposite]]:
        """The groups of unequal elements in what ``_reset`` or ``_step`` returns."""
        return self._reset_stacks if method == "_reset" else self._step_stacks

    def step_masks(self, flags: Mapping[NestedKey, torch.Tensor]) -> dict[NestedKey, torch.Tensor]:
        """The step masks of what is not done, by ``flags`` (by reset key); a flag at the root has the last word."""
        masks = {_key(*path_of(key)[:-1], "_step"): ~flag for key, flag in flags.items()}
        return {"_step": masks["_step"]} if "_step" in masks else masks

    def sized(self, size: torch.Size) -> Plan:
        """The plan of the same specs with ``size`` in front of every shape."""
        specs = {role: spec.expand(*size, *spec.shape) for role, spec in self._specs.items()}
        return Plan(**specs, batch_size=torch.Size((*size, *self.batch_size)), limits_may_pass=self.limits_may_pass)

    def level_shape(self, prefix: tuple[str, ...]) -> torch.Size | None:
        """The shape of a mask for the nesting level ``prefix``: that of its done flag, or of its entries and a 1.

        None if no spec has such a level.
        """
        for group in self.done_groups:
            if path_of(group.reset)[:-1] == prefix:
                return group.shape
        for spec in (self.root_spec, self.next_spec):
            level = spec.get(prefix, None) if prefix else spec
            if isinstance(level, Composite):
                return torch.Size((*level.shape, 1))
        return None

    def complete_next(self, out: TensorDictBase | Mapping) -> TensorDictBase:
        """Turns what an env's ``_step`` returned into a full ``"next"`` entry, or says what is wrong with it.

        Done flags are completed, rewards and flags without their trailing 1 get it, plain mappings of numbers and
        arrays are encoded by the specs.

        Raises:
            EnvDataError: a key is missing, or has another shape or dtype than its spec.
        """
        out = self._as_tensordict(out, self.next_spec, "_step")
        self._complete_values(out, self._values, "_step")
        for group in self.done_groups:
            group.complete(out, default=False)
        return out

    def tells_flags(self, out: Any) -> bool:
        """Whether what an env's ``_reset`` returned may have done flags in it."""
        return not isinstance(out, TensorDictBase) or any(peek(out, key) is not None for key in self.done_keys)

    def complete_reset(
        self, out: TensorDictBase | Mapping, *, silent: bool = False, bare: bool = False
    ) -> TensorDictBase:
        """Same as :meth:`complete_next` for the output of ``_reset``: missing done flags are False.

        ``silent`` says that all of them are known to be missing; ``bare`` that they may then stay so.
        """
        out = self._as_tensordict(out, self.root_spec, "_reset")
        self._complete_values(out, self._root_values, "_reset")
        for key in self.reward_keys:
            if peek(out, key) is not None:
                raise EnvDataError(
                    f"the env's _reset returned a reward ({key!r}); expected only observations and done flags"
                )
        if silent and bare:
            return out
        for group in self.done_groups:
            if silent:
                group.lower(out)
            else:
                group.complete(out, default=True)
        return out

    def _complete_values(self, out: TensorDictBase, leaves: list[_Leaf], method: str) -> None:
        for key, shape, dtype, reshape, fixed in leaves:
            value = peek(out, key)
            if value is None:
                raise self._missing(key, out, method)
            if value.shape != shape and (fixed or not self._fits(value, shape)):
                if not (reshape and fixed and value.numel() == shape.numel()):
                    raise EnvDataError(
                        f"{key!r} returned by the env's {method}: expected shape {list(shape)}, "
                        f"found {list(value.shape)}"
                    )
                value = value.reshape(shape)
                out.set(key, value)
            if value.dtype is not dtype:
                raise EnvDataError(
                    f"{key!r} returned by the env's {method}: expected dtype {dtype}, found {value.dtype}"
                )
        for key, size in self._groups:
            group = peek(out, key)
            if type(group) is TensorDict and group.batch_size != size:
                group.batch_size = size
        for key in self._data_keys:
            if key not in out.keys(True):
                raise self._missing(key, out, method)
        for key, stack in self.stacks(method):
            self._complete_stack(out, key, stack, method)

    def _complete_stack(self, out: TensorDictBase, key: NestedKey, stack: StackedComposite, method: str) -> None:
        """Compares a group of unequal elements with their specs, one by one."""
        group = out.get(key, None)
        if group is None:
            raise self._missing(key, out, method)
        elements = zip(group.unbind(stack.stack_dim), stack.unbind(stack.stack_dim), strict=True)
        for index, (element, spec) in enumerate(elements):
            for name, leaf in spec.items(True, True):
                value, place = element.get(name, None), (*path_of(key), index, *path_of(name))
                if value is None:
                    raise EnvDataError(
                        f"{place} is missing from what the env's {method} returned: found only "
                        f"{sorted(map(str, element.keys(True, True)))}"
                    )
                if leaf.dtype is not None and not self._fits(value, leaf.shape):
                    raise EnvDataError(
                        f"{place} returned by the env's {method}: expected shape {list(leaf.shape)}, "
                        f"found {list(value.shape)}"
                    )
                if leaf.dtype is not None and value.dtype is not leaf.dtype:
                    raise EnvDataError(
                        f"{place} returned by the env's {method}: expected dtype {leaf.dtype}, found {value.dtype}"
                    )

    @staticmethod
    def _missing(key: NestedKey, out: TensorDictBase, method: str) -> EnvDataError:
        found = sorted(map(str, out.keys(True, True)))
        return EnvDataError(f"{key!r} is missing from what the env's {method} returned: found only {found}")

    @staticmethod
    def _fits(value: torch.Tensor, shape: torch.Size) -> bool:
        return value.ndim == len(shape) and all(n in (-1, m) for n, m in zip(shape, value.shape, strict=True))

    def _as_tensordict(self, out: TensorDictBase | Mapping, spec: Composite, method: str) -> TensorDictBase:
        size = self.batch_size
        if isinstance(out, TensorDictBase):
            if out.batch_size != size:
                try:
                    out.batch_size = size
                except RuntimeError as error:
                    raise EnvDataError(
                        f"what the env's {method} returned: expected batch size {list(size)}, found "
                        f"{list(out.batch_size)}"
                    ) from error
            return out
        if not isinstance(out, Mapping):
            raise EnvDataError(f"the env's {method}: expected a TensorDict or a mapping, found {type(out).__name__}")
        encoded = TensorDict({}, size)
        for key, leaf in spec.items(True, True):
            value: object = out
            for name in path_of(key):
                value = value.get(name) if isinstance(value, Mapping) else None
            if value is None:
                continue
            try:
                encoded.set(key, leaf.encode(value))
            except SpecError as error:
                raise EnvDataError(f"{key!r} returned by the env's {method}: {error}") from error
        return encoded


def _no_overlap(**roles: list[NestedKey]) -> None:
    names = list(roles)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            both = set(roles[first]) & set(roles[second])
            if both:
                raise SpecError(
                    f"keys must belong to one role: {sorted(map(str, both))} found in {first} and {second} specs"
                )


def _done_groups(done: Composite, limits_may_pass: bool) -> list[DoneGroup]:
    prefixes = sorted({path_of(key)[:-1] for key in done.keys(True, True)}, key=lambda p: (len(p), p))
    groups = []
    for prefix in prefixes:
        level = done.get(_key(*prefix)) if prefix else done
        leaf = level["done"]
        truncated = _key(*prefix, "truncated") if "truncated" in level else None
        groups.append(
            DoneGroup(
                _key(*prefix, "done"),
                _key(*prefix, "terminated"),
                truncated,
                _key(*prefix, "_reset"),
                leaf.shape,
                leaf.device,
                limits_may_pass,
            )
        )
    return groups


def _stacks(spec: Composite) -> list[tuple[NestedKey, StackedComposite]]:
    return [(key, value) for key in spec.keys(True) if isinstance(value := spec[key], StackedComposite)]


def _ragged(spec: Composite) -> list[NestedKey]:
    """Keys of leaves of unequal elements that no tensor can hold together."""
    stacks = [path_of(key) for key, _ in _stacks(spec)]
    return [
        key
        for key, leaf in spec.items(True, True)
        if leaf.has_dynamic_shape and any(path_of(key)[: len(stack)] == stack for stack in stacks)
    ]


def _merge(*specs: Composite) -> Composite:
    """One Composite with the leaves of all; a later spec replaces a leaf of the same name."""
    out = specs[0].clone()
    for spec in specs[1:]:
        for key, value in spec.clone().items():
            there = out.get(key, None)
            out[key] = _join(there, value) if isinstance(there, Composite) and isinstance(value, Composite) else value
    return out


def _join(first: Composite, second: Composite) -> Composite:
    """The same for two levels, of which either may be a stack of unequal elements."""
    stack = next((spec for spec in (first, second) if isinstance(spec, StackedComposite)), None)
    if stack is None:
        return _merge(first, second)
    dim = stack.stack_dim
    pairs = zip(first.unbind(dim), second.unbind(dim), strict=True)
    joined: Any = [_join(*pair) for pair in pairs]
    return torch.stack(joined, dim)  # type: ignore[return-value]
