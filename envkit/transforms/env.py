"""An env seen through transforms."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from tensordict import TensorDictBase

from envkit.core.env import EnvBase
from envkit.core.masks import has_mask, pop_masks, read_masks
from envkit.core.plan import Plan
from envkit.specs import Composite, TensorSpec
from envkit.transforms.base import Compose, Transform

if TYPE_CHECKING:
    from typing import Self

__all__ = ["TransformedEnv"]


class TransformedEnv(EnvBase):
    """An env seen through transforms.

    Its specs are the base env's, told from inside out by the transforms; the base env's own stay as they are.
    A step runs the inverse transforms from the outermost in, steps the base env, and runs the transforms from the
    innermost out.
    A transformed env that is transformed again becomes one longer chain. Attributes that it lacks are looked up in
    the base env.

    Args:
        base_env: the env inside.
        transform: a transform or a :class:`~envkit.transforms.Compose`; nothing by default.

    Raises:
        SpecError: a transform names a key that the env inside it does not have.
        RuntimeError: the transform belongs to another env already.

    Examples:
        >>> from envkit import GymEnv, RewardSum, StepCounter
        >>> env = TransformedEnv(GymEnv("CartPole-v1"), Compose(StepCounter(max_steps=5), RewardSum()))
        >>> env.rollout(10)["next", "episode_reward"].squeeze(-1)
        tensor([1., 2., 3., 4., 5.])
    """

    def __init__(self, base_env: EnvBase, transform: Transform | None = None) -> None:
        if not isinstance(base_env, EnvBase):
            raise TypeError(f"TransformedEnv: expected an env, found {type(base_env).__name__}")
        inner: list[Transform] = []
        if isinstance(base_env, TransformedEnv):
            inner = [t.clone() for t in base_env.transform]
            base_env = base_env.base_env
        super().__init__(device=base_env.device, batch_size=base_env.batch_size, spec_locked=base_env.is_spec_locked)
        # Not a submodule: the state of a transformed env is that of its transforms.
        self.__dict__["base_env"] = base_env
        self.allow_done_after_reset = base_env.allow_done_after_reset
        self.batch_locked = base_env.batch_locked
        # One stream of random actions: an env that was seeded before it was transformed stays seeded.
        self._runtime.generator = base_env._runtime.generator
        self.transform: Compose = Compose(*inner)
        self.transform._attach(self)
        if transform is not None:
            self.transform._insert(len(inner), transform)
        self._base_plan: Plan | None = None

    # ------------------------------------------------------------------ specs

    @property
    def plan(self) -> Plan:
        """See :attr:`~envkit.EnvBase.plan`; compiled anew as well when the base env's specs have changed."""
        if self._base_plan is not None and self.base_env.plan is not self._base_plan:
            self._forget_plan()
        return super().plan

    @property
    def check_finite(self) -> bool:
        """See :attr:`~envkit.EnvBase.check_finite`; that of the base env."""
        return self.base_env.check_finite

    @check_finite.setter
    def check_finite(self, value: bool) -> None:
        self.base_env.check_finite = value

    @property
    def fits_rows(self) -> bool:
        """See :attr:`~envkit.EnvBase.fits_rows`; as the base env."""
        return self.base_env.fits_rows

    @property
    def hides_last_observations(self) -> bool:
        """See :attr:`~envkit.EnvBase.hides_last_observations`; True as well if the base env does."""
        return super().hides_last_observations or self.base_env.hides_last_observations

    def _complete_specs(self) -> dict[str, Composite]:
        base = self.base_env
        self._base_plan = base.plan
        specs = {role: base._get_spec(role) for role in self._specs}
        specs = {role: spec.clone() for role, spec in self.transform.transform_specs(specs).items()}
        self._specs = specs
        return super()._complete_specs()

    def _get_spec(self, role: str) -> Composite:
        self.plan  # noqa: B018 - compiles, if the base env's specs are not those it was compiled from
        return self._specs[role]

    def _set_spec(self, role: str, spec: TensorSpec | None, *, full: bool = False) -> None:
        raise AttributeError(
            f"{role}_spec of a TransformedEnv follows from its base env and transforms; assign to "
            f"env.base_env.{role}_spec"
        )

    def respec(self) -> None:
        """Works the specs out anew, after a change to the base env or a transform."""
        self._forget_plan()
        if self._locked:
            self._compile()

    def set_spec_lock_(self, mode: bool = True) -> Self:
        """Locks or unlocks the specs of the base env, and with them this env's."""
        if self.base_env.is_spec_locked is not mode:
            self.base_env.set_spec_lock_(mode)
        return super().set_spec_lock_(mode)

    # -------------------------------------------------------------- the chain

    def append_transform(self, transform: Transform) -> TransformedEnv:
        """Adds a transform on the outside, in place, and returns the env."""
        self.transform.append(transform)
        return self

    def insert_transform(self, index: int, transform: Transform) -> TransformedEnv:
        """Adds a transform before the one at ``index``, in place, and returns the env."""
        self.transform.insert(index, transform)
        return self

    def before(self, transform: Transform) -> TransformedEnv:
        """The base env behind clones of the transforms that come before ``transform``."""
        chain = list(self.transform)
        stop = next((i for i, other in enumerate(chain) if other is transform), 0)
        return TransformedEnv(self.base_env, Compose(*(t.clone() for t in chain[:stop])))

    # -------------------------------------------------------------- the ports

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: Any) -> TensorDictBase:
        base = self.base_env
        plan = base.plan if tensordict is None else base.plan_for(tensordict.batch_size)
        masks = None if tensordict is None else read_masks(tensordict, plan, "_reset")
        out = base.first_of(tensordict, plan, masks, **kwargs)
        seen = tensordict.exclude(*masks) if tensordict is not None and masks else tensordict
        return self.transform._reset(seen, out)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        base = self.base_env
        plan = base.plan_for(tensordict.batch_size)
        masks = None
        if has_mask(tensordict, plan, "_step"):
            # Transforms see everything; what they make of the elements that are not stepped is replaced afterwards.
            tensordict = tensordict.copy()
            masks = pop_masks(tensordict, plan, "_step")
        inner = self.transform.inv(tensordict) if self.transform.invertible else tensordict
        # Entries that transforms hide from the outside are nowhere to be found outside the masks.
        return self.transform._step(tensordict, base.next_of(inner, plan, masks, strict=False))

    @property
    def draws_from_spec(self) -> bool:
        """See :attr:`~envkit.EnvBase.draws_from_spec`; False if the base env has a way of its own, and its actions."""
        return self.base_env.draws_from_spec or self.full_action_spec != self.base_env.full_action_spec

    def rand_action(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        """See :meth:`~envkit.EnvBase.rand_action`."""
        return super().rand_action(tensordict) if self.draws_from_spec else self.base_env.rand_action(tensordict)

    def snapshot(self) -> Any:
        """See :meth:`~envkit.EnvBase.snapshot`: that of the base env, and the transforms' buffers."""
        return super().snapshot(), self.base_env.snapshot(), copy.deepcopy(self.transform.state_dict())

    def restore(self, snapshot: Any) -> None:
        """See :meth:`~envkit.EnvBase.restore`."""
        own, base, state = snapshot
        super().restore(own)
        self.base_env.restore(base)
        self.transform.load_state_dict(state)

    def _simulation(self) -> dict[str, Any]:
        return {}

    def set_seed(self, seed: int | None, static_seed: bool = False) -> int | None:
        """Seeds the base env and returns the seed it returns."""
        super().set_seed(seed, static_seed)
        return self.base_env.set_seed(seed, static_seed)

    def _set_seed(self, seed: int | None) -> None:
        """The base env is seeded in :meth:`set_seed`, which returns its next seed."""

    def to(self, device: torch.device | str | int) -> Self:  # type: ignore[override]
        """Moves the base env and the transforms."""
        self.base_env.to(device)
        return super().to(device)

    def close(self) -> None:
        """Closes the transforms and the base env."""
        self.transform.close()
        self.base_env.close()
        super().close()

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("_") or "base_env" not in self.__dict__:
                raise
            return getattr(self.base_env, name)

    def __repr__(self) -> str:
        return f"TransformedEnv(\n    env={self.base_env},\n    transform={self.transform})"


EnvBase._transformed = TransformedEnv
