"""The specs of an env, what is read off them, and their lock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from tensordict import NestedKey
from torch import nn

from envkit.core.plan import Plan, complete_done_spec
from envkit.core.runtime import Runtime
from envkit.core.step_mdp import Advance
from envkit.errors import EnvDataError, SpecError
from envkit.specs import Composite, TensorSpec, Unbounded

if TYPE_CHECKING:
    from typing import Self

__all__ = ["EnvSpecs"]

MOST_SIZES = 64  # plans of a batch-unlocked env that are kept
ROLES = ("action", "state", "observation", "reward", "done")


class EnvSpecs(nn.Module):
    """The half of an env that describes it: five specs, and the plan that follows from them at the lock."""

    batch_locked: bool = True
    """Whether inputs must have exactly the env's batch size."""
    _limits_may_pass: ClassVar[bool] = False

    def __init__(
        self,
        device: torch.device | str | int | None,
        batch_size: Sequence[int] | torch.Size | None,
        spec_locked: bool,
    ) -> None:
        super().__init__()
        self._device = None if device is None else torch.device(device)
        self._batch_size = torch.Size(batch_size or ())
        self._runtime = Runtime()
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
        plan = Plan(**specs, batch_size=self._batch_size, limits_may_pass=self._limits_may_pass)
        if self._locked:
            self._specs = {role: spec.lock_() for role, spec in specs.items()}
            self._runtime.plan = plan
        kept = set(plan.state_keys)
        self._runtime.advance = Advance([key for key in plan.reward_keys if key not in kept])
        return plan

    def plan_for(self, size: torch.Size) -> Plan:
        """The plan for inputs of batch size ``size``: a batch-unlocked env has one for each size it has met.

        Raises:
            EnvDataError: the env is batch-locked, or has a batch size of its own, and ``size`` is another one.
        """
        plan = self._runtime.plan or self.plan
        if size == plan.batch_size:
            return plan
        if self.batch_locked or plan.batch_size:
            raise EnvDataError(
                f"{type(self).__name__}: expected a TensorDict of batch size {list(plan.batch_size)}, "
                f"found {list(size)}"
            )
        sized = self._runtime.sized.get(size)
        if sized is None:
            sized = plan.sized(size)
            if self._locked:
                if len(self._runtime.sized) >= MOST_SIZES:
                    self._runtime.sized.clear()
                self._runtime.sized[size] = sized
        return sized

    def _forget_plan(self) -> None:
        """After a change to the specs: nothing that was derived from them is used again."""
        self._runtime.forget()

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


def _unbatched(name: str) -> property:
    """A spec as one env of the batch sees it; assigning expands it to the whole batch."""

    def get(self: EnvSpecs) -> TensorSpec:
        return getattr(self, name)[(0,) * self.batch_dims] if self.batch_dims else getattr(self, name)

    def assign(self: EnvSpecs, spec: TensorSpec) -> None:
        setattr(self, name, spec.expand(*self.batch_size, *spec.shape))

    return property(get, assign, doc=f"``{name}`` of a single env of the batch; assigning expands it to the batch.")


for _role in ROLES:
    for _name in (f"{_role}_spec", f"full_{_role}_spec"):
        setattr(EnvSpecs, f"{_name}_unbatched", _unbatched(_name))


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
