"""An env seen through transforms."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from tensordict import TensorDictBase

from envkit.core.env import EnvBase
from envkit.core.masks import merge_step
from envkit.core.plan import Plan
from envkit.core.rows import RowPort
from envkit.core.seeding import spawn_seed
from envkit.errors import SpecError
from envkit.specs import Composite, TensorSpec
from envkit.storage import Slab
from envkit.transforms.base import Transform
from envkit.transforms.compose import Compose, TransformLike
from envkit.transforms.passage import reset_through, step_through
from envkit.transforms.row_port import Chain

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
        transform: a transform, a function on TensorDicts, or a list (or :class:`~envkit.transforms.Compose`) of those;
            nothing by default.

    Raises:
        SpecError: a transform names a key that the env inside it does not have, cannot transform its values, or
            does not belong on this env.
        RuntimeError: the transform belongs to another env already.

    Examples:
        >>> from envkit import GymEnv, RewardSum, StepCounter
        >>> env = TransformedEnv(GymEnv("CartPole-v1"), Compose(StepCounter(max_steps=5), RewardSum()))
        >>> env.rollout(10)["next", "episode_reward"].squeeze(-1)
        tensor([1., 2., 3., 4., 5.])
    """

    _limits_may_pass = True

    def __init__(self, base_env: EnvBase, transform: TransformLike | None = None) -> None:
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
        # One stream of random actions: an env that was seeded before it was transformed stays seeded.
        self._runtime.generator = base_env._runtime.generator
        self._runtime.told = base_env._runtime.told  # what was said of the one is not said again of the other
        self.transform: Compose = Compose(*inner)
        self.transform._attach(self)
        if transform is not None:
            self.transform._splice(len(inner), [transform])
        self._base_plan: Plan | None = None
        self._levels: list[dict[str, Composite]] = []
        self._parents: dict[int, TransformedEnv] = {}
        self._chain: Chain | None = None

    # ------------------------------------------------------------------ specs

    @property
    def plan(self) -> Plan:
        """See :attr:`~envkit.EnvBase.plan`; compiled anew as well when the base env's specs have changed."""
        if self._base_plan is not None and self.base_env.plan is not self._base_plan:
            self._forget_plan()
        return super().plan

    @property
    def nonfinite(self) -> str:
        """See :attr:`~envkit.EnvBase.nonfinite`; that of the base env."""
        return self.base_env.nonfinite

    @nonfinite.setter
    def nonfinite(self, mode: str) -> None:
        self.base_env.nonfinite = mode

    def _describe_element(self, index: list[int]) -> str:
        return self.base_env._describe_element(index)

    @property
    def fits_rows(self) -> bool:
        """See :attr:`~envkit.EnvBase.fits_rows`; only if the base env's data does, too."""
        return super().fits_rows and self.base_env.fits_rows

    @property
    def keeps_state(self) -> bool:
        """See :attr:`~envkit.EnvBase.keeps_state`; True if the base env and the transforms say so."""
        return self.base_env.keeps_state and self.transform.keeps_state and self._runtime.auto_reset is None

    @property
    def hides_last_observations(self) -> bool:
        """See :attr:`~envkit.EnvBase.hides_last_observations`; True as well if the base env does."""
        return super().hides_last_observations or self.base_env.hides_last_observations

    def _complete_specs(self) -> dict[str, Composite]:
        base = self.base_env
        self._base_plan = base.plan
        for transform in self.transform:
            if transform.placement == "single" and base.batch_size:
                raise SpecError(
                    f"{type(transform).__name__} belongs on a single env: expected one without batch dimensions, found "
                    f"batch size {list(base.batch_size)}; transform the envs before they become a batch"
                )
        self._levels = self.transform.levels({role: base._get_spec(role) for role in self._specs})
        self._device = self.transform.transform_env_device(base.device)
        self._batch_size = self.transform.transform_env_batch_size(base.batch_size)
        self.batch_locked = self.transform.transform_env_batch_locked(base.batch_locked)
        self._specs = {role: spec.clone() for role, spec in self._levels[-1].items()}
        return super()._complete_specs()

    @property
    def levels(self) -> list[dict[str, Composite]]:
        """The five specs by role: the base env's, then those outside of each transform."""
        self.plan  # noqa: B018 - compiles, if the base env's specs are not those it was compiled from
        return self._levels

    def _forget_plan(self) -> None:
        super()._forget_plan()
        self._parents, self._chain = {}, None

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

    def append_transform(self, transform: TransformLike) -> TransformedEnv:
        """Adds a transform on the outside, in place, and returns the env."""
        self.transform.append(transform)
        return self

    def insert_transform(self, index: int, transform: TransformLike) -> TransformedEnv:
        """Adds a transform before the one at ``index``, in place, and returns the env."""
        self.transform.insert(index, transform)
        return self

    def before(self, transform: Transform) -> TransformedEnv:
        """The base env behind clones of the transforms that come before ``transform``."""
        inside = self._inside(transform)
        parent = self._parents.get(len(inside))
        if parent is None:
            parent = self._parents[len(inside)] = TransformedEnv(self.base_env, [inner.clone() for inner in inside])
        return parent

    def _inside(self, transform: Transform) -> list[Transform]:
        """The transforms before ``transform``; before the chain itself, none."""
        chain = list(self.transform)
        return chain[: next((i for i, other in enumerate(chain) if other is transform), 0)]

    def assert_batchable(self) -> None:
        """Checks that no transform belongs on a batch as a whole.

        Raises:
            SpecError: one does.
        """
        for transform in self.transform:
            if transform.placement == "batch":
                raise SpecError(
                    f"{type(transform).__name__} belongs on a batch as a whole: found it on an env that is to become "
                    f"one of a batch; transform the batch instead"
                )
        self.base_env.assert_batchable()

    # -------------------------------------------------------------- the ports

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: Any) -> TensorDictBase:
        return reset_through(self.base_env, list(self.transform), tensordict, kwargs)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        out, masks = step_through(self.base_env, list(self.transform), tensordict)
        return merge_step(self.plan_for(tensordict.batch_size), tensordict, out, masks) if masks else out

    def step_inside(self, transform: Transform, tensordict: TensorDictBase) -> TensorDictBase:
        """What a step of the env as ``transform`` sees it writes under ``"next"``.

        Args:
            transform: one of the chain, for which it is meant: to step more than once, say.
            tensordict: the input, as that transform hands it inwards.
        """
        return step_through(self.base_env, self._inside(transform), tensordict)[0]

    def reset_inside(
        self, transform: Transform, tensordict: TensorDictBase | None = None, **kwargs: Any
    ) -> TensorDictBase:
        """The first data of the env as ``transform`` sees it; what stands outside of masks is up to the caller."""
        return reset_through(self.base_env, self._inside(transform), tensordict, kwargs)

    def _row_port(self, plan: Plan, root: Slab, following: Slab) -> RowPort:
        """See :meth:`~envkit.EnvBase._row_port`; on rows throughout, if all transforms have them."""
        chain = self._chain_for(plan)
        port = None if chain is None else chain.bind(root, following)
        return super()._row_port(plan, root, following) if port is None else port

    def _slabs(self, plan: Plan, rows: int, device: torch.device | None) -> tuple[Slab, Slab]:
        """See :meth:`~envkit.EnvBase._slabs`; around those of a base env that has its own way."""
        own, chain = type(self.base_env)._slabs is not EnvBase._slabs, self._chain_for(plan)
        slabs = chain.slabs(rows, device) if own and chain is not None else None
        return super()._slabs(plan, rows, device) if slabs is None else slabs

    def _chain_for(self, plan: Plan) -> Chain | None:
        """The chain on rows; None if something about this env, its transforms apart, keeps it from handing on rows."""
        ours = type(self)._step is TransformedEnv._step and type(self)._reset is TransformedEnv._reset
        if not ours or plan is not self.plan or not self.batch_locked or self._runtime.auto_reset is not None:
            return None
        if self._chain is None:
            self._chain = Chain(self, plan)
        return self._chain

    @property
    def _own_actions(self) -> bool:
        """Whether random actions are drawn by this env's spec, and not by the base env's own way."""
        return self.base_env.draws_from_spec or self.full_action_spec != self.base_env.full_action_spec

    @property
    def draws_from_spec(self) -> bool:
        """See :attr:`~envkit.EnvBase.draws_from_spec`; False if the base env or a transform has a way of its own."""
        changed = any(type(t)._rand_action is not Transform._rand_action for t in self.transform)
        return self._own_actions and not changed

    def rand_action(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        """See :meth:`~envkit.EnvBase.rand_action`."""
        drawn = super().rand_action(tensordict) if self._own_actions else self.base_env.rand_action(tensordict)
        return self.transform._rand_action(drawn, self._runtime.generator)

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
        """Seeds the base env and the transforms, and returns the seed that the base env returns."""
        super().set_seed(seed, static_seed)
        for i, transform in enumerate(self.transform):
            transform.set_seed(None if seed is None else spawn_seed(seed, "transform", i))
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
