"""What a transform is."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from tensordict import NestedKey, TensorDictBase
from torch import nn

from envkit.core.plan import path_of
from envkit.errors import SpecError
from envkit.specs import Composite, TensorSpec, Unbounded
from envkit.transforms.keys import Keys, paired
from envkit.transforms.leaves import by_role, inward, outward, refuse_unknown
from envkit.transforms.rows import ColumnFunction, Columns, RowForm, elementwise_rows

if TYPE_CHECKING:
    from typing import Self

    from envkit.core.env import EnvBase

__all__ = ["Keys", "Transform"]

Specs = dict[str, Composite]


class Transform(nn.Module):
    """One change, told twice: for the data and for the specs.

    ``in_keys`` and ``in_keys_inv`` are names as the inner env knows them, ``out_keys`` and ``out_keys_inv`` as the
    outside world (the policy) does. On the way out of the env each ``in_key`` becomes its ``out_key`` through
    :meth:`_apply_transform`; on the way in each ``out_key_inv`` becomes its ``in_key_inv`` through
    :meth:`_inv_apply_transform`. Out keys default to the in keys.

    **Data.** A subclass defines one or both of those two. What it raises there on a value that it cannot transform is
    raised when the env is built, with the transform's name and the key. Transforms that need more than one value at a
    time define ``_call(next_tensordict)`` for resets and steps alike, or ``_step(tensordict, next_tensordict)`` and
    ``_reset(tensordict, tensordict_reset)``; ``_inv_call(tensordict)`` on the way in. What a transform remembers
    between steps it keeps in the data (see :class:`~envkit.transforms.episode.StepCounter`): then partial resets need
    no care. It names those entries in :attr:`memory_keys`.

    **Specs.** :meth:`_transform_leaf` tells the spec of a transformed value; by default shape and dtype are found by
    transforming a zero, and the bounds are unknown. Others define ``transform_observation_spec``,
    ``transform_reward_spec``, ``transform_done_spec``, ``transform_action_spec``, ``transform_state_spec``, which
    return new specs and never edit what they are given; or :meth:`transform_specs` for all five at once.

    **Where it belongs** is declared by :attr:`placement`, :attr:`env_only` and :attr:`data_only`.

    **Rows.** Loops write rows of columns instead of assembling TensorDicts (:mod:`envkit.transforms.rows`). A
    transform of single values goes along by itself, through torch; quicker if its function takes numpy arrays as well
    (:attr:`takes_arrays`) or it has another one for them (:meth:`_on_arrays`). One with hooks of its own defines
    :meth:`_bind_rows` too, or loops go through TensorDicts for the whole chain.

    A module call (:meth:`forward`) does on any TensorDict what happens on the way out, and :meth:`inv` what happens on
    the way in.

    Examples:
        >>> from tensordict import TensorDict
        >>> class AddOneToObs(Transform):
        ...     takes_arrays = True
        ...     def __init__(self):
        ...         super().__init__(in_keys=["observation"], out_keys=["observation"])
        ...     def _apply_transform(self, obs):
        ...         return obs + 1
        >>> AddOneToObs()(TensorDict({"observation": torch.zeros(2)}))["observation"]
        tensor([1., 1.])
    """

    placement: ClassVar[Literal["either", "single", "batch"]] = "either"
    """Which env it belongs on: ``"single"``, one without batch dimensions (which may be one of a batch); ``"batch"``,
    the whole batch where there is one, never an env within it; or ``"either"``."""
    env_only: ClassVar[str] = ""
    """Why it is of no use on stored data, if so: what :meth:`forward` raises."""
    data_only: ClassVar[str] = ""
    """Why it is of no use in an env, if so: what building the env raises."""
    in_dtypes: ClassVar[tuple[torch.dtype, ...]] = ()
    """The dtypes that ``in_keys`` may have; any by default."""
    sees_masks: ClassVar[bool] = False
    """Whether it finds ``"_reset"`` and ``"_step"`` masks in the TensorDicts on their way in, first arguments of
    :meth:`_reset` and :meth:`_step`: if what it remembers is not in the data (statistics, say), or it changes the batch
    size, masks included. Others need not know of them."""
    keeps_values: ClassVar[bool] = False
    """Whether it changes the form of values alone (their dtype, say), so that they still tell what they told before."""
    takes_arrays: ClassVar[bool] = False
    """Whether :meth:`_apply_transform` and its inverse take numpy arrays as well, and give the same bits."""

    def __init__(
        self, in_keys: Keys = None, out_keys: Keys = None, in_keys_inv: Keys = None, out_keys_inv: Keys = None
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.in_keys, self.out_keys = paired(name, "in_keys", in_keys, "out_keys", out_keys)
        self.in_keys_inv, self.out_keys_inv = paired(name, "in_keys_inv", in_keys_inv, "out_keys_inv", out_keys_inv)
        self.frozen = False
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
        values = [next_tensordict.get(key, None) for key in self.in_keys]
        for key, value in zip(self.out_keys, values, strict=True):
            if value is not None:
                next_tensordict.set(key, self._apply_transform(value))
        return next_tensordict

    def _inv_call(self, tensordict: TensorDictBase) -> TensorDictBase:
        """The change to everything that goes into the env, in place."""
        values = [tensordict.get(key, None) for key in self.out_keys_inv]
        for key, value in zip(self.in_keys_inv, values, strict=True):
            if value is not None:
                tensordict.set(key, self._inv_apply_transform(value))
        return tensordict

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        """After a step: changes ``next_tensordict``, knowing the ``tensordict`` that was stepped.

        That is what this transform was given from outside, before its own inverse. If only some elements were stepped,
        what is returned for the others is replaced.
        """
        return self._call(next_tensordict)

    def _reset(self, tensordict: TensorDictBase | None, tensordict_reset: TensorDictBase) -> TensorDictBase:
        """After a reset: changes ``tensordict_reset``, as if everything had been reset.

        What is returned for elements that were not reset is replaced. ``tensordict`` is what the reset was given.
        """
        return self._call(tensordict_reset)

    def _reset_env_preprocess(self, tensordict: TensorDictBase | None) -> TensorDictBase | None:
        """Before a reset: the change to what the env's reset is given (a copy is made by whoever changes it)."""
        return tensordict

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Applies the transform to a TensorDict outside of any env, in place.

        A stored step is transformed at both ends: what is under ``"next"`` as well, unless keys there are among
        ``in_keys``.

        Raises:
            KeyError: an in key is missing.
            NotImplementedError: the transform needs an env.
        """
        if self.env_only:
            raise NotImplementedError(self.env_only)
        following = tensordict.get("next", None)
        if not isinstance(following, TensorDictBase) or any(path_of(key)[0] == "next" for key in self.in_keys):
            following = None
        for key in self.in_keys:
            if following is None or following.get(key, None) is None:
                self._take(tensordict, key)
        out = self._call(tensordict)
        if following is not None:
            out.set("next", self._call(following))
        return out

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
        return bool(self.in_keys_inv) or type(self)._inv_call is not Transform._inv_call

    @property
    def initialized(self) -> bool:
        """Whether everything it computes with is known; until then its inverse is not tried when an env is built."""
        return True

    @property
    def memory_keys(self) -> list[NestedKey]:
        """Entries that it writes, and needs to find again as they were in the TensorDict that is stepped."""
        return []

    @property
    def keeps_state(self) -> bool:
        """Whether it reads nothing from the data that is stepped or reset, beside what it changes on the way in."""
        return all(getattr(type(self), name) is getattr(Transform, name) for name in WHOLE)

    def _rand_action(self, tensordict: TensorDictBase, generator: torch.Generator | None) -> TensorDictBase:
        """The change to random actions, which ``tensordict`` holds beside what was observed; none by default.

        Args:
            tensordict: changed in place.
            generator: the env's stream of random actions, None for torch's own.
        """
        return tensordict

    # ------------------------------------------------------------------- rows

    def _on_arrays(self, source: np.ndarray, target: np.ndarray) -> ColumnFunction | None:
        """:meth:`_apply_transform` for rows: a function of a row, made when a loop binds to its columns.

        Args:
            source: numpy column ``[rows, *shape]`` to read, one row at a time.
            target: the column to write, of the transformed value's shape and dtype; ``source`` itself where nothing
                but the value changes.

        Returns:
            The function, which leaves the same bits in the row as :meth:`_apply_transform` does; None to do without.
        """
        return None

    def _inv_on_arrays(self, source: np.ndarray, target: np.ndarray) -> ColumnFunction | None:
        """:meth:`_inv_apply_transform` for rows; see :meth:`_on_arrays`. The two columns are never the same."""
        return None

    def _bind_rows(self, columns: Columns) -> RowForm | None:
        """What the transform does to rows, made when a loop binds; None if it cannot.

        It has to leave the same bits as the hooks on TensorDicts do; see :class:`~envkit.transforms.rows.RowForm`. A
        subclass that overrides any of those is not bound to rows unless it overrides this as well.
        """
        return elementwise_rows(self, columns)

    # ------------------------------------------------------------------ specs

    def _transform_leaf(self, leaf: TensorSpec) -> TensorSpec:
        """The spec of a transformed value."""
        sample = leaf.zero()
        changed = self._apply_transform(sample)
        if changed is sample:
            return leaf
        return Unbounded(changed.shape, dtype=changed.dtype, device=leaf.device)

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """The observation spec as seen from outside."""
        return outward(self, observation_spec)

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        """The reward spec as seen from outside."""
        return outward(self, reward_spec)

    def transform_done_spec(self, done_spec: Composite) -> Composite:
        """The done spec as seen from outside."""
        return outward(self, done_spec)

    def transform_action_spec(self, action_spec: Composite) -> Composite:
        """The action spec as seen from outside."""
        return self._inward(action_spec)

    def transform_state_spec(self, state_spec: Composite) -> Composite:
        """The state spec as seen from outside."""
        return self._inward(state_spec)

    def _inward(self, spec: Composite) -> Composite:
        return inward(self, spec, check=self.initialized and type(self)._inv_call is Transform._inv_call)

    def transform_input_spec(self, input_spec: Composite) -> Composite:
        """``full_action_spec`` and ``full_state_spec`` as seen from outside, in one Composite."""
        return self._each_role(input_spec)

    def transform_output_spec(self, output_spec: Composite) -> Composite:
        """``full_observation_spec``, ``full_reward_spec`` and ``full_done_spec``, likewise."""
        return self._each_role(output_spec)

    def _each_role(self, spec: Composite) -> Composite:
        roles = [name.removeprefix("full_").removesuffix("_spec") for name in spec.keys()]
        return by_role({role: getattr(self, f"transform_{role}_spec")(spec[f"full_{role}_spec"]) for role in roles})

    def transform_specs(self, specs: Specs) -> Specs:
        """All five specs of an env, by role (``"action"``, ...), as seen from outside.

        Raises:
            SpecError: the env inside knows no such key, or its values cannot be transformed.
        """
        if self.data_only:
            raise SpecError(self.data_only)
        inputs, outputs = ("action", "state"), ("observation", "reward", "done")
        refuse_unknown(self, self.in_keys, [specs[role] for role in outputs], "in_keys")
        refuse_unknown(self, self.in_keys_inv, [specs[role] for role in inputs], "in_keys_inv")
        given = self.transform_input_spec(by_role({role: specs[role] for role in inputs}))
        shown = self.transform_output_spec(by_role({role: specs[role] for role in outputs}))
        return {role: (given if role in inputs else shown)[f"full_{role}_spec"] for role in specs}

    def transform_env_device(self, device: torch.device | None) -> torch.device | None:
        """The device of the env as seen from outside."""
        return device

    def transform_env_batch_size(self, batch_size: torch.Size) -> torch.Size:
        """The batch size of the env as seen from outside."""
        return batch_size

    def transform_env_batch_locked(self, batch_locked: bool) -> bool:
        """Whether inputs must have exactly that batch size."""
        return batch_locked

    # ------------------------------------------------------------- belonging

    @property
    def container(self) -> Any:
        """The transformed env this transform belongs to, or None."""
        holder = self._container
        return holder.container if isinstance(holder, Transform) else holder

    @property
    def parent(self) -> EnvBase | None:
        """The env as this transform sees it: the base env behind clones of all transforms before this one.

        It is made anew when the specs are worked out anew. To run the env from within a transform use
        :meth:`_step_inside` and :meth:`_reset_inside`.
        """
        env = self.container
        return None if env is None else env.before(self)

    def _step_inside(self, tensordict: TensorDictBase) -> TensorDictBase:
        """One more step of the env as this transform sees it: what would be under ``"next"``."""
        return self.container.step_inside(self, tensordict)

    def _reset_inside(self, tensordict: TensorDictBase | None = None, **kwargs: Any) -> TensorDictBase:
        """A reset of the env as this transform sees it; what stands outside of masks is up to the caller."""
        return self.container.reset_inside(self, tensordict, **kwargs)

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

    # ------------------------------------------------------- over its lifetime

    def freeze(self, mode: bool = True) -> Self:
        """Keeps the statistics of the transform as they are from now on; ``freeze(False)`` lets them go on.

        A clone is frozen by itself: that of an evaluation may be, while that of the training, whose buffers it shares,
        goes on learning.
        """
        self.frozen = mode
        return self

    def set_seed(self, seed: int | None) -> None:
        """Seeds what is random about the transform; called by the env's ``set_seed`` with a seed of its own."""

    def dump(self, *args: Any, **kwargs: Any) -> Any:
        """Writes out what the transform has recorded."""

    def close(self) -> None:
        """Releases what the transform holds."""

    def extra_repr(self) -> str:
        """The keys."""
        shown = {"in_keys": self.in_keys, "out_keys": self.out_keys, "in_keys_inv": self.in_keys_inv}
        return ", ".join(f"{name}={keys}" for name, keys in shown.items() if keys)


WHOLE = ("_call", "_inv_call", "_step", "_reset", "_reset_env_preprocess")
