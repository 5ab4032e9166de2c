"""The contract of an environment."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from tensordict import NestedKey, TensorDict, TensorDictBase
from torch import nn

from envkit.core.masks import merge_reset, pop_masks
from envkit.core.plan import Plan, complete_done_spec
from envkit.core.rollout import rollout
from envkit.core.rows import RowPort, TensorDictRows
from envkit.core.seeding import seed_generator
from envkit.core.step_mdp import Advance
from envkit.core.values import check_values
from envkit.errors import EnvDataError, ResetNeededError, SpecError
from envkit.specs import Composite, TensorSpec, Unbounded
from envkit.storage import Slab, entries, put

if TYPE_CHECKING:
    from typing import Self

__all__ = ["EnvBase"]

ROLES = ("action", "state", "observation", "reward", "done")


class _Runtime:
    """What changes while an env runs, kept out of ``nn.Module`` whose attribute writes are slow."""

    __slots__ = ("advance", "checked_reset", "checked_step", "generator", "plan", "quick", "ring", "started")

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self.advance: Advance | None = None
        self.generator: torch.Generator | None = None
        # The rows that the public port of a RowEnv writes in; `quick` is the same once nothing is left to check.
        self.ring: Any = None
        self.quick: Any = None
        self.started = self.checked_reset = self.checked_step = False


class EnvBase(nn.Module):
    """Base class of all environments.

    An author assigns the specs in ``__init__`` and writes three methods on TensorDicts:

    - ``_reset(tensordict)`` returns the first data of an episode: observations, and done flags if they like;
    - ``_step(tensordict)`` returns what belongs under ``"next"``: observations, reward and done flags, in
      a TensorDict of its own (or a plain mapping of numbers and arrays);
    - ``_set_seed(seed)`` seeds the simulator.

    Leaf specs carry the env's batch size as their leading dimensions; where it is easier to write them for one env
    of the batch, assign to ``action_spec_unbatched`` and its kin. When the outermost ``__init__`` returns, the
    specs are locked and compiled into :attr:`plan`; assigning another spec compiles anew, editing one in place
    raises.

    The output of the first reset and the first step is compared with the specs in full. After that, shapes, dtypes and
    missing keys are refused at every step; NaN is looked for once per rollout or collected batch.

    Args:
        device: device of inputs and outputs; ``None`` leaves every tensor where it is.
        batch_size: batch size of the env.
        allow_done_after_reset: whether a reset may deliver a done state.
        spec_locked: whether specs are locked after construction.

    Examples:
        >>> from envkit import Bounded, Unbounded
        >>> class Walk(EnvBase):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.observation_spec = Unbounded((1,))
        ...         self.action_spec = Bounded(-1.0, 1.0, shape=(1,))
        ...     def _reset(self, tensordict=None):
        ...         return TensorDict({"observation": torch.zeros(1)})
        ...     def _step(self, tensordict):
        ...         position = tensordict["observation"] + tensordict["action"]
        ...         return TensorDict({"observation": position, "reward": -position.abs(), "done": position.abs() > 3})
        ...     def _set_seed(self, seed):
        ...         pass
        >>> env = Walk()
        >>> env.done_keys
        ['done', 'terminated']
        >>> env.rollout(5).batch_size
        torch.Size([5])
    """

    batch_locked: bool = True
    """Whether inputs must have exactly the env's batch size."""
    check_finite: bool = True
    """Whether rollouts and collectors refuse NaN (and infinities where the bounds are finite)."""
    _trusted: ClassVar[bool] = False
    _transformed: ClassVar[Callable[[EnvBase, Any], EnvBase] | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = _locking_at_the_end(cls.__init__)  # type: ignore[method-assign]

    def __init__(
        self,
        *,
        device: torch.device | str | int | None = None,
        batch_size: Sequence[int] | torch.Size | None = None,
        allow_done_after_reset: bool = False,
        spec_locked: bool = True,
    ) -> None:
        super().__init__()
        self._device = None if device is None else torch.device(device)
        self._batch_size = torch.Size(batch_size or ())
        self.allow_done_after_reset = allow_done_after_reset
        self.is_closed = False
        self._runtime = _Runtime()
        self._locked, self._lock_wanted = False, spec_locked
        self._specs: dict[str, Composite] = {role: self._empty() for role in ROLES}

    # ------------------------------------------------------------------ specs

    @property
    def plan(self) -> Plan:
        """What follows from the specs; compiled at the lock, and anew at every use while specs are unlocked."""
        plan = self._runtime.plan
        return plan if plan is not None else self._compile()

    def _compile(self) -> Plan:
        specs = self._complete_specs()
        plan = Plan(**specs, batch_size=self._batch_size, batch_locked=self.batch_locked)
        if self._locked:
            self._specs = {role: spec.lock_() for role, spec in specs.items()}
            self._runtime.plan = plan
        kept = set(plan.state_keys)
        self._runtime.advance = Advance([key for key in plan.reward_keys if key not in kept])
        return plan

    def _forget_plan(self) -> None:
        """After a change to the specs: nothing that was derived from them is used again."""
        runtime = self._runtime
        runtime.plan = runtime.advance = runtime.ring = runtime.quick = None

    def _complete_specs(self) -> dict[str, Composite]:
        """The five specs with their defaults filled in."""
        specs = dict(self._specs)
        if specs["reward"].is_empty(recurse=True):
            reward = specs["reward"] = self._empty()
            reward["reward"] = Unbounded((*self._batch_size, 1), device=self._device)
        specs["done"] = complete_done_spec(specs["done"], self._batch_size)
        return specs

    @property
    def is_spec_locked(self) -> bool:
        """Whether the specs are locked (and compiled)."""
        return self._locked

    def set_spec_lock_(self, mode: bool = True) -> Self:
        """Locks the specs and compiles them, or unlocks them and drops what was compiled."""
        self._locked = mode
        self._forget_plan()
        if mode:
            self._compile()
        else:
            self._specs = {role: spec.clone() for role, spec in self._specs.items()}
        return self

    def _empty(self) -> Composite:
        return Composite(shape=self._batch_size, device=self._device)

    def _get_spec(self, role: str) -> Composite:
        if self._locked:
            self.plan  # noqa: B018 - compiles, and with that completes and locks, what was assigned since the last lock
        return self._specs[role]

    def _set_spec(self, role: str, spec: TensorSpec | None, *, full: bool = False) -> None:
        if spec is None:
            spec = self._empty()
        if not isinstance(spec, Composite):
            if full or role == "state":
                raise SpecError(f"full_{role}_spec: expected a Composite, found {type(spec).__name__}")
            spec = self._wrap(role, spec)
        if role in ("reward", "done"):
            for key, leaf in spec.items(True, True):
                if not leaf.shape:
                    raise SpecError(f"{role}_spec {key!r}: expected a shape with a trailing 1, found []")
        self._specs[role] = _with_batch(spec, self._batch_size, role, self._device)
        self._forget_plan()

    def _wrap(self, role: str, leaf: TensorSpec) -> Composite:
        size = self._batch_size
        if leaf.shape[: len(size)] != size:
            raise _wrong_batch(role, role, size, leaf.shape)
        names = ("done", "terminated") if role == "done" else (role,)
        out = self._empty()
        for name in names:
            out[name] = leaf.clone()
        return out

    def _leaf_or_all(self, role: str) -> TensorSpec:
        spec = self._get_spec(role)
        leaves = list(spec.values(True, True))
        return leaves[0] if len(leaves) == 1 else spec

    @property
    def action_spec(self) -> TensorSpec:
        """The action's spec: the leaf if there is one action, the Composite of all otherwise."""
        return self._leaf_or_all("action")

    @action_spec.setter
    def action_spec(self, spec: TensorSpec) -> None:
        self._set_spec("action", spec)

    @property
    def full_action_spec(self) -> Composite:
        """The actions' specs, always as a Composite."""
        return self._get_spec("action")

    @full_action_spec.setter
    def full_action_spec(self, spec: Composite) -> None:
        self._set_spec("action", spec, full=True)

    @property
    def reward_spec(self) -> TensorSpec:
        """The reward's spec: the leaf if there is one reward, the Composite of all otherwise."""
        return self._leaf_or_all("reward")

    @reward_spec.setter
    def reward_spec(self, spec: TensorSpec) -> None:
        self._set_spec("reward", spec)

    @property
    def full_reward_spec(self) -> Composite:
        """The rewards' specs, always as a Composite."""
        return self._get_spec("reward")

    @full_reward_spec.setter
    def full_reward_spec(self, spec: Composite) -> None:
        self._set_spec("reward", spec, full=True)

    @property
    def observation_spec(self) -> Composite:
        """The observations' specs; a leaf assigned here goes under ``"observation"``."""
        return self._get_spec("observation")

    @observation_spec.setter
    def observation_spec(self, spec: TensorSpec) -> None:
        self._set_spec("observation", spec)

    full_observation_spec = observation_spec

    @property
    def done_spec(self) -> Composite:
        """The done flags' specs; every level has at least ``done`` and ``terminated``."""
        return self._get_spec("done")

    @done_spec.setter
    def done_spec(self, spec: TensorSpec) -> None:
        self._set_spec("done", spec)

    full_done_spec = done_spec

    @property
    def state_spec(self) -> Composite:
        """Inputs other than actions, which stateless envs read from the TensorDict."""
        return self._get_spec("state")

    @state_spec.setter
    def state_spec(self, spec: Composite | None) -> None:
        self._set_spec("state", spec)

    full_state_spec = state_spec

    @property
    def input_spec(self) -> Composite:
        """``full_action_spec`` and ``full_state_spec`` in one Composite."""
        return self._gather("action", "state")

    @property
    def output_spec(self) -> Composite:
        """``full_observation_spec``, ``full_reward_spec`` and ``full_done_spec`` in one Composite."""
        return self._gather("observation", "reward", "done")

    @property
    def specs(self) -> Composite:
        """``input_spec`` and ``output_spec`` in one Composite."""
        out = self._empty()
        out["input_spec"], out["output_spec"] = self.input_spec.clone(), self.output_spec.clone()
        return out.lock_()

    def _gather(self, *roles: str) -> Composite:
        out = self._empty()
        for role in roles:
            out[f"full_{role}_spec"] = self._get_spec(role).clone()
        return out.lock_()

    # ------------------------------------------------------------------- keys

    @property
    def action_keys(self) -> list[NestedKey]:
        """Keys of the actions."""
        return self.plan.action_keys

    @property
    def reward_keys(self) -> list[NestedKey]:
        """Keys of the rewards."""
        return self.plan.reward_keys

    @property
    def done_keys(self) -> list[NestedKey]:
        """Keys of the done flags."""
        return self.plan.done_keys

    @property
    def observation_keys(self) -> list[NestedKey]:
        """Keys of the observations."""
        return self.plan.observation_keys

    @property
    def state_keys(self) -> list[NestedKey]:
        """Keys of the states."""
        return self.plan.state_keys

    @property
    def reset_keys(self) -> list[NestedKey]:
        """Keys of the reset masks, one beside each ``done``."""
        return self.plan.reset_keys

    @property
    def action_key(self) -> NestedKey:
        """The key of the only action; KeyError if there are several."""
        return _only(self.action_keys, "action")

    @property
    def reward_key(self) -> NestedKey:
        """The key of the only reward; KeyError if there are several."""
        return _only(self.reward_keys, "reward")

    @property
    def done_key(self) -> NestedKey:
        """The key of the only ``done`` flag; KeyError if several groups have one."""
        return _only([group.done for group in self.plan.done_groups], "done")

    # --------------------------------------------------------------- metadata

    @property
    def batch_size(self) -> torch.Size:
        """The env's batch size."""
        return self._batch_size

    @batch_size.setter
    def batch_size(self, size: Sequence[int]) -> None:
        size = torch.Size(size)
        if size == self._batch_size:
            return
        if self._batch_size:
            raise SpecError(
                f"batch_size: expected an env without batch dimensions to resize, found {list(self._batch_size)}"
            )
        specs = {role: spec.expand(*size, *spec.shape) for role, spec in self._specs.items()}
        self._batch_size, self._specs = size, specs
        self._forget_plan()

    shape = batch_size

    @property
    def batch_dims(self) -> int:
        """Number of batch dimensions."""
        return len(self._batch_size)

    ndim = batch_dims

    def numel(self) -> int:
        """Number of envs in the batch."""
        return self._batch_size.numel()

    @property
    def device(self) -> torch.device | None:
        """Device of inputs and outputs, or None if they keep their own."""
        return self._device

    def to(self, device: torch.device | str | int) -> Self:  # type: ignore[override]
        """Moves the env: its specs and its outputs. Other casts of ``nn.Module`` do not apply to envs."""
        self._device = torch.device(device)
        self._specs = {role: spec.to(self._device) for role, spec in self._specs.items()}
        self._forget_plan()
        return super().to(self._device)

    @property
    def has_dynamic_specs(self) -> bool:
        """Whether some leaf has a size of -1 or holds non-tensor data."""
        return self.plan.has_dynamic_specs

    # -------------------------------------------------------------- the ports

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: Any) -> TensorDictBase | Mapping:
        """Starts an episode; see the class docstring."""
        raise NotImplementedError(f"{type(self).__name__} defines no _reset")

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase | Mapping:
        """Executes an action; see the class docstring."""
        raise NotImplementedError(f"{type(self).__name__} defines no _step")

    def _set_seed(self, seed: int | None) -> None:
        """Seeds the simulator; see the class docstring."""
        raise NotImplementedError(f"{type(self).__name__} defines no _set_seed")

    def _row_port(self, root: Slab, following: Slab) -> RowPort:
        """Binds the env to slabs; see :mod:`envkit.core.rows`."""
        return TensorDictRows(self, root, following)

    # ------------------------------------------------------------ public port

    def reset(self, tensordict: TensorDictBase | None = None, **kwargs: Any) -> TensorDictBase:
        """Starts new episodes and returns their first data: observations and done flags, all False.

        Args:
            tensordict: updated in place and returned, if given. Boolean ``"_reset"`` entries beside done flags
                restrict the reset to the elements that are True; elsewhere the content of ``tensordict`` stands.
            **kwargs: passed on to the env's ``_reset``.

        Raises:
            EnvDataError: the env returned data that contradicts its specs, or ``tensordict`` lacks content outside
                the masks.
        """
        plan = self.plan
        masks = None if tensordict is None else pop_masks(tensordict, plan)
        if masks is not None and not any(bool(mask.any()) for mask in masks.values()):
            return tensordict  # type: ignore[return-value]
        size = plan.batch_size if self.batch_locked or tensordict is None else tensordict.batch_size
        given = tensordict
        if masks is not None and tensordict is not None:
            given = tensordict.copy()
            for key, mask in masks.items():
                given.set(key, mask)
        out = self.first_of(given, size, masks, **kwargs)
        return out if tensordict is None else merge_reset(plan, tensordict, out, masks)

    def first_of(
        self,
        given: TensorDictBase | None,
        size: torch.Size,
        masks: Mapping[NestedKey, torch.Tensor] | None = None,
        **kwargs: Any,
    ) -> TensorDictBase:
        """What :meth:`reset` delivers inside ``masks``; what stands outside them is up to the caller.

        Args:
            given: what the env's ``_reset`` sees, masks included.
            size: batch size of the result.
            masks: the masks by reset key; None resets everything.
            **kwargs: passed on to ``_reset``.
        """
        plan, runtime = self.plan, self._runtime
        out: Any = self._reset(given, **kwargs)
        if out is given and out is not None:
            raise EnvDataError(f"{type(self).__name__}._reset returned its input: expected a TensorDict of its own")
        if not self._trusted:
            out = plan.complete_reset(out, size)
            if not self.allow_done_after_reset:
                self._refuse_done(out, masks)
        runtime.started = True
        if not runtime.checked_reset:
            check_values(self, out, plan.observation_keys, "_reset")
            runtime.checked_reset = True
        return out

    def _refuse_done(self, out: TensorDictBase, masks: Mapping[NestedKey, torch.Tensor] | None) -> None:
        for group in self.plan.done_groups:
            done = out.get(group.done)
            mask = None if masks is None else masks.get(group.reset)
            if bool((done if mask is None else done & mask.reshape(done.shape)).any()):
                raise EnvDataError(
                    f"{group.done!r} is True right after a reset of {type(self).__name__}: expected False "
                    "(construct the env with allow_done_after_reset=True if it can start done)"
                )

    def step(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Executes the action in ``tensordict``, writes what follows under ``"next"`` and returns ``tensordict``.

        Raises:
            ResetNeededError: the env was never reset.
            PolicyError: the action is missing.
            EnvDataError: the env returned data that contradicts its specs.
        """
        following = self.next_of(tensordict)
        preset = entries(tensordict).get("next")
        put(tensordict, "next", following if preset is None else preset.update(following))
        return tensordict

    def next_of(self, tensordict: TensorDictBase) -> TensorDictBase:
        """What :meth:`step` writes under ``"next"``, without touching ``tensordict``."""
        runtime = self._runtime
        plan = runtime.plan or self.plan
        size = tensordict.batch_size
        if size != plan.batch_size:
            if self.batch_locked:
                raise EnvDataError(
                    f"step of {type(self).__name__}: expected a TensorDict of batch size {list(plan.batch_size)}, "
                    f"found {list(size)}"
                )
        else:
            size = plan.batch_size
        if not runtime.started and self.batch_locked:
            raise ResetNeededError(f"{type(self).__name__}: expected reset() before the first step()")
        out: Any = self._step(tensordict)
        if out is tensordict:
            raise EnvDataError(f"{type(self).__name__}._step returned its input: expected a TensorDict of its own")
        if not self._trusted:
            out = plan.complete_next(out, size)
        if not runtime.checked_step:
            check_values(self, out, [*plan.observation_keys, *plan.reward_keys], "_step")
            runtime.checked_step = True
        return out

    def step_mdp(self, tensordict: TensorDictBase) -> TensorDictBase:
        """The input of the step after ``tensordict``, by this env's own keys; the action stays."""
        advance = self._runtime.advance
        if advance is None:
            self.plan  # noqa: B018 - compiles
            advance = self._runtime.advance
        return advance(tensordict)  # type: ignore[misc]

    def step_and_maybe_reset(self, tensordict: TensorDictBase) -> tuple[TensorDictBase, TensorDictBase]:
        """Steps, and resets what is done.

        Returns:
            ``tensordict`` with its ``"next"`` entry, and the TensorDict from which the next step starts.
        """
        tensordict = self.step(tensordict)
        return tensordict, self.maybe_reset(self.step_mdp(tensordict))

    def maybe_reset(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Resets the elements of ``tensordict`` that are done, if there are any."""
        return self.reset(tensordict) if self.any_done(tensordict) else tensordict

    def any_done(self, tensordict: TensorDictBase) -> bool:
        """Whether anything is done; if so, writes the masks of what is under the ``"_reset"`` keys."""
        groups = self.plan.done_groups
        flags = [tensordict.get(group.done) for group in groups]
        if not any(bool(flag.any()) for flag in flags):
            return False
        for group, flag in zip(groups, flags, strict=True):
            tensordict.set(group.reset, flag.clone())
        return True

    def rand_action(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        """Writes a random action into ``tensordict``, or into one of its own, and returns it.

        After :meth:`set_seed` actions come from a stream of the env's own, before that from torch's global generator.
        """
        size: Sequence[int] = ()
        if tensordict is None:
            tensordict = TensorDict({}, self._batch_size, device=self._device)
        elif not self.batch_locked:
            size = tensordict.batch_size[: tensordict.ndim - self.batch_dims]
        for key, leaf in self._get_spec("action").items(True, True):
            tensordict.set(key, leaf.rand(size, generator=self._runtime.generator))
        return tensordict

    def rand_step(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        """Executes a random action, from ``tensordict`` if it is given, and after a reset if there was none yet."""
        if tensordict is None and (not self._runtime.started or self.plan.state_keys):
            tensordict = self.reset()
        return self.step(self.rand_action(tensordict))

    def all_actions(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        """Every action there is, stacked along a leading dimension (discrete actions only)."""
        if tensordict is not None:
            self.reset(tensordict)
        return self.full_action_spec.enumerate()

    def set_seed(self, seed: int | None, static_seed: bool = False) -> int | None:
        """Seeds the env, its random actions included, and returns the seed for the next env of a row of envs.

        The next seed is a hash-like successor of ``seed`` (``seed`` itself with ``static_seed=True``). It takes
        effect at the next reset.
        """
        self._set_seed(seed)
        if seed is None:
            self._runtime.generator = None
            return None
        self._runtime.generator = torch.Generator(self._device or "cpu").manual_seed(seed)
        return seed if static_seed else seed_generator(seed)

    def fake_tensordict(self) -> TensorDictBase:
        """A TensorDict of zeros with the layout of one step, ``"next"`` included."""
        plan = self.plan
        out = plan.root_spec.zero()
        return out.set("next", plan.next_spec.zero())

    rollout = rollout

    @property
    def draws_from_spec(self) -> bool:
        """Whether random actions are plain samples of the action spec, so that a loop may draw many at once."""
        return type(self).rand_action is EnvBase.rand_action

    @property
    def keeps_state(self) -> bool:
        """Whether all that a step or a reset reads from the data is actions, states and masks."""
        return False

    def append_transform(self, transform: Any) -> EnvBase:
        """This env seen through ``transform``: a TransformedEnv."""
        if EnvBase._transformed is None:
            raise ImportError("append_transform needs envkit.transforms to be imported")
        return EnvBase._transformed(self, transform)

    def close(self) -> None:
        """Releases the simulator; may be called twice."""
        self.is_closed = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Not defined: an env is run by reset and step."""
        raise NotImplementedError(f"{type(self).__name__} is an env: call reset, step or rollout, not the env itself")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(batch_size={list(self._batch_size)}, device={self._device})"


def _unbatched(name: str) -> property:
    """A spec as one env of the batch sees it; assigning expands it to the whole batch."""

    def get(self: EnvBase) -> TensorSpec:
        return getattr(self, name)[(0,) * self.batch_dims] if self.batch_dims else getattr(self, name)

    def assign(self: EnvBase, spec: TensorSpec) -> None:
        setattr(self, name, spec.expand(*self.batch_size, *spec.shape))

    return property(get, assign, doc=f"``{name}`` of a single env of the batch; assigning expands it to the batch.")


def _locking_at_the_end(init: Callable) -> Callable:
    """Wraps an ``__init__`` so that the specs lock once the outermost one returns."""

    @functools.wraps(init)
    def wrapped(self: EnvBase, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        if type(self).__init__ is wrapped and self._lock_wanted:
            self.set_spec_lock_(True)

    return wrapped


EnvBase.__init__ = _locking_at_the_end(EnvBase.__init__)  # type: ignore[method-assign]

for _role in ROLES:
    for _name in (f"{_role}_spec", f"full_{_role}_spec"):
        setattr(EnvBase, f"{_name}_unbatched", _unbatched(_name))


def _only(keys: list[NestedKey], role: str) -> NestedKey:
    if len(keys) != 1:
        raise KeyError(f"{role}_key: expected one {role} key, found {keys}; use {role}_keys")
    return keys[0]


def _wrong_batch(role: str, key: NestedKey, size: torch.Size, found: torch.Size) -> SpecError:
    return SpecError(
        f"{role}_spec {key!r}: expected a shape that starts with the env's batch size {list(size)}, found "
        f"{list(found)}; "
        f"a spec for one env of the batch can be assigned to {role}_spec_unbatched"
    )


def _with_batch(spec: Composite, size: torch.Size, role: str, device: torch.device | None) -> Composite:
    """A copy of ``spec`` whose own shape is the env's batch size."""
    spec = spec.clone() if device is None else spec.to(device).clone()
    if spec.shape != size:
        for key, leaf in spec.items(True, True):
            if leaf.shape[: len(size)] != size:
                raise _wrong_batch(role, key, size, leaf.shape)
        spec.shape = size
    return spec
