"""Many envs in one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from tensordict import LazyStackedTensorDict, TensorDictBase

from envkit.core.env import EnvBase
from envkit.core.masks import Masks, any_true, read_masks
from envkit.core.row_env import RowEnv
from envkit.errors import SpecError
from envkit.storage import Slab

__all__ = ["SerialEnv"]

SPECS = ("full_action_spec", "state_spec", "observation_spec", "full_reward_spec", "done_spec")


class SerialEnv(RowEnv):
    """Several envs of one kind, stepped one after the other, as a single env with one more batch dimension.

    Each env writes its own slice of the batch's rows in place, at the cost of a loop over them. Envs with dynamic
    specs, or with data that is no tensor, are stacked step by step instead, lazily.
    Attributes that the batch lacks are looked up in its envs and returned as a list.

    Args:
        num_workers: number of envs.
        create_env_fn: makes an env; or a list of functions, one per env, whose envs have equal specs.
        create_env_kwargs: keyword arguments for ``create_env_fn``; one dict for all, or one for each.
        device: device of inputs and outputs.

    Raises:
        TypeError: ``create_env_fn`` is not callable (an env instance, say).
        SpecError: the envs' specs differ.

    Examples:
        >>> from envkit import GymEnv
        >>> env = SerialEnv(3, lambda: GymEnv("CartPole-v1"))
        >>> env.reset()["observation"].shape
        torch.Size([3, 4])
        >>> env.rollout(10, break_when_any_done=False).batch_size
        torch.Size([3, 10])
    """

    def __init__(
        self,
        num_workers: int,
        create_env_fn: Callable[..., EnvBase] | Sequence[Callable[..., EnvBase]],
        *,
        create_env_kwargs: dict[str, Any] | Sequence[dict[str, Any]] | None = None,
        device: torch.device | str | int | None = None,
    ) -> None:
        self.__dict__["_envs"] = _build(num_workers, create_env_fn, create_env_kwargs)
        first = self._envs[0]
        super().__init__(device=device, batch_size=(num_workers, *first.batch_size))
        self.allow_done_after_reset = any(env.allow_done_after_reset for env in self._envs)
        for name in SPECS:
            specs = [getattr(env, name) for env in self._envs]
            for i, spec in enumerate(specs):
                if spec != specs[0]:
                    raise SpecError(
                        f"SerialEnv: expected envs of equal specs, but {name} of env {i} differs from that of "
                        f"env 0:\n{spec}\n{specs[0]}"
                    )
            setattr(self, name, specs[0].expand(num_workers, *specs[0].shape))

    @property
    def check_finite(self) -> bool:
        """See :attr:`~envkit.EnvBase.check_finite`; assigning sets it for all envs."""
        return all(env.check_finite for env in self._envs)

    @check_finite.setter
    def check_finite(self, value: bool) -> None:
        for env in self._envs:
            env.check_finite = value

    @property
    def fits_rows(self) -> bool:
        """See :attr:`~envkit.EnvBase.fits_rows`; only data of one layout can be sliced by env."""
        return not self.has_dynamic_specs

    @property
    def keeps_state(self) -> bool:
        """See :attr:`~envkit.EnvBase.keeps_state`."""
        return self._trusted and all(env.keeps_state for env in self._envs)

    @property
    def hides_last_observations(self) -> bool:
        """See :attr:`~envkit.EnvBase.hides_last_observations`; True as well if any of the envs does."""
        return super().hides_last_observations or any(env.hides_last_observations for env in self._envs)

    def _native_rows(self, root: Slab, following: Slab) -> SerialRows:
        return SerialRows(self, self._envs, root, following)

    def _reset_apart(self, tensordict: TensorDictBase | None, **kwargs: Any) -> TensorDictBase:
        # Each env is handed its own part, with whatever it may look for in there.
        plan, outs = self.plan, []
        masks = None if tensordict is None else read_masks(tensordict, plan, "_reset")
        given = [None] * len(self._envs) if tensordict is None else tensordict.unbind(0)
        for i, (env, part) in enumerate(zip(self._envs, given, strict=True)):
            own = None if masks is None else {key: mask[i] for key, mask in masks.items()}
            if own is None or any_true(own):
                outs.append(env.first_of(part, env.plan, own, **kwargs))
            else:  # nothing of it will be read
                outs.append(env.plan.root_spec.zero() if part is None else env.plan.root_spec.zero().update(part))
        kept = [key for key in plan.kept if all(out.get(key, None) is not None for out in outs)]
        keys = [*plan.observation_keys, *plan.done_keys, *kept]
        return self._stacked([out.select(*keys) for out in outs])

    def _step_apart(self, tensordict: TensorDictBase, masks: Masks | None) -> TensorDictBase:
        plan, outs = self.plan, []
        for i, (env, part) in enumerate(zip(self._envs, tensordict.unbind(0), strict=True)):
            own = {key: mask[i] for key, mask in (masks or {}).items()}
            whole = all(bool(mask.all()) for mask in own.values())
            outs.append(env.next_of(part.exclude(*own), None, None if whole else own, strict=False))
        keys = [*plan.observation_keys, *plan.reward_keys, *plan.done_keys]
        return self._stacked([out.select(*keys) for out in outs])

    def _stacked(self, outs: list[TensorDictBase]) -> TensorDictBase:
        if self.fits_rows:
            return torch.stack(outs)  # type: ignore[return-value, arg-type]
        return LazyStackedTensorDict.lazy_stack(outs, 0)

    def set_seed(self, seed: int | None, static_seed: bool = False) -> int | None:
        """Seeds the first env with ``seed``, each other with what its neighbour returned; returns the last one's."""
        following = seed
        for env in self._envs:
            following = env.set_seed(following, static_seed)
        super().set_seed(seed, static_seed)
        return following

    def _set_seed(self, seed: int | None) -> None:
        """The envs are seeded in :meth:`set_seed`, which chains them."""

    @property
    def draws_from_spec(self) -> bool:
        """See :attr:`~envkit.EnvBase.draws_from_spec`."""
        return all(env.draws_from_spec for env in self._envs)

    def rand_action(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        """See :meth:`~envkit.EnvBase.rand_action`; drawn by the envs if one of them has a way of its own."""
        if self.draws_from_spec:
            return super().rand_action(tensordict)
        parts = [None] * len(self._envs) if tensordict is None else tensordict.unbind(0)
        drawn = [env.rand_action(part).select(*env.action_keys) for env, part in zip(self._envs, parts, strict=True)]
        actions: TensorDictBase = torch.stack(drawn)  # type: ignore[assignment]
        return actions if tensordict is None else tensordict.update(actions)

    def snapshot(self) -> Any:
        """See :meth:`~envkit.EnvBase.snapshot`: those of all envs."""
        return super().snapshot(), [env.snapshot() for env in self._envs]

    def restore(self, snapshot: Any) -> None:
        """See :meth:`~envkit.EnvBase.restore`."""
        own, inner = snapshot
        super().restore(own)
        for env, part in zip(self._envs, inner, strict=True):
            env.restore(part)

    def _simulation(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        """Closes all envs."""
        for env in self._envs:
            env.close()
        super().close()

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("_"):
                raise
            return [getattr(env, name) for env in self._envs]

    def __repr__(self) -> str:
        return f"SerialEnv({len(self._envs)} x {self._envs[0]}, batch_size={list(self.batch_size)})"


class SerialRows:
    """Envs bound to the slices of a batch's slabs."""

    def __init__(self, batch: EnvBase, envs: list[EnvBase], root: Slab, following: Slab) -> None:
        self._ports = [
            env._row_port(env.plan, root.select(i, env.plan.root_spec), following.select(i, env.plan.next_spec))
            for i, env in enumerate(envs)
        ]
        self._steps = [port.step for port in self._ports]
        plan = batch.plan
        self._repeated = [
            (following.arrays[key], root.arrays[key]) for key in (*plan.observation_keys, *plan.done_keys)
        ]
        self._rewards = [following.arrays[key] for key in plan.reward_keys]
        self._done = [following.arrays[group.done] for group in plan.done_groups]
        # The others are told their mask even if everything is reset: their `_reset` may look at it.
        self._need_no_mask = np.array([env.keeps_state for env in envs])

    def reset(self, row: int, masks: Masks | None = None, **kwargs: Any) -> None:
        """See :meth:`~envkit.core.rows.RowPort.reset`."""
        if masks is None:
            for port in self._ports:
                port.reset(row, **kwargs)
            return
        flat = self._by_env(masks)
        whole = flat.all(1) & self._need_no_mask
        for i in np.flatnonzero(flat.any(1)).tolist():
            part = None if whole[i] else {key: mask[i] for key, mask in masks.items()}
            self._ports[i].reset(row, part, **kwargs)

    def _by_env(self, masks: Masks) -> np.ndarray:
        """All masks side by side, one row an env."""
        return np.concatenate([mask.cpu().numpy().reshape(len(self._ports), -1) for mask in masks.values()], 1)

    def _step_some(self, row: int, masks: Masks) -> bool:
        flat = self._by_env(masks)
        for i, port in enumerate(self._ports):
            if flat[i].all():
                port.step(row)
            elif flat[i].any():
                port.step(row, {key: mask[i] for key, mask in masks.items()})
            else:
                for destination, source in self._repeated:
                    destination[row, i] = source[row, i]
                for rewards in self._rewards:
                    rewards[row, i] = 0
        return any(bool(column[row].any()) for column in self._done)

    def step(self, row: int, masks: Masks | None = None) -> bool:
        """See :meth:`~envkit.core.rows.RowPort.step`."""
        if masks is not None:
            return self._step_some(row, masks)
        ended = False
        for step in self._steps:
            if step(row):
                ended = True
        return ended


def _build(
    count: int,
    create: Callable[..., EnvBase] | Sequence[Callable[..., EnvBase]],
    kwargs: dict[str, Any] | Sequence[dict[str, Any]] | None,
) -> list[EnvBase]:
    functions = list(create) if isinstance(create, Sequence) else [create] * count
    options = [kwargs or {}] * count if kwargs is None or isinstance(kwargs, dict) else list(kwargs)
    if count < 1 or len(functions) != count or len(options) != count:
        raise ValueError(
            f"num_workers: expected a positive number with as many functions and kwargs, "
            f"found {count} for {len(functions)} functions and {len(options)} kwargs"
        )
    for function in functions:
        if isinstance(function, EnvBase) or not callable(function):
            raise TypeError(f"create_env_fn: expected a function that makes an env, found {type(function).__name__}")
    return [function(**options[i]) for i, function in enumerate(functions)]
