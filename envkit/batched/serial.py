"""Many envs in one process."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from tensordict import TensorDictBase

from envkit.batched.base import BatchedEnv, makers, most_lenient, options_of_each, seed_one, set_nonfinite, together
from envkit.batched.equal_specs import refuse_unequal, specs_of
from envkit.batched.generators import generators_of
from envkit.core.env import EnvBase
from envkit.core.masks import Masks, any_true, read_masks
from envkit.storage import Slab

__all__ = ["SerialEnv"]


class SerialEnv(BatchedEnv):
    """Several envs of one kind, stepped one after the other, as a single env with one more batch dimension.

    Each env writes its own slice of the batch's rows in place, at the cost of a loop over them. Envs with dynamic
    specs, or with data that is no tensor, are stacked step by step instead, lazily.
    Attributes that the batch lacks are looked up in its envs and returned as a list; methods are called on all of
    them, and so is any function by :meth:`map`. ``reset(list_of_kwargs=[...])`` gives each env arguments of its own.
    An index gives a batch of some of the envs: to step it is to step those envs.

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
        >>> env[1:].batch_size, env.gravity
        (torch.Size([2]), [9.8, 9.8, 9.8])
    """

    def __init__(
        self,
        num_workers: int,
        create_env_fn: Callable[..., EnvBase] | Sequence[Callable[..., EnvBase]],
        *,
        create_env_kwargs: dict[str, Any] | Sequence[dict[str, Any]] | None = None,
        device: torch.device | str | int | None = None,
    ) -> None:
        made = makers("num_workers", num_workers, create_env_fn, create_env_kwargs)
        self.__dict__["_envs"] = [function(**options) for function, options in made]
        for env in self._envs:
            env.assert_batchable()
        first = self._envs[0]
        super().__init__(device=device, batch_size=(num_workers, *first.batch_size))
        self.allow_done_after_reset = any(env.allow_done_after_reset for env in self._envs)
        specs = dict(enumerate(map(specs_of, self._envs)))
        refuse_unequal("SerialEnv", specs)
        for name, spec in specs[0].items():
            setattr(self, name, spec.expand(num_workers, *spec.shape))

    def __getitem__(self, index: int | slice | Sequence[int]) -> SerialEnv:
        envs = [self._envs[i] for i in self._positions(index)]
        part = SerialEnv(len(envs), [lambda env=env: env for env in envs], device=self._device)
        part._runtime.started = self._runtime.started
        return part

    def map(self, function: Callable[..., Any], *given: Sequence[Any]) -> list[Any]:
        """What ``function(env, ...)`` returns for each env.

        Args:
            function: called with an env, and with its element of each sequence in ``given``.
            *given: sequences with one element for each env.
        """
        return [function(*one) for one in zip(self._envs, *given, strict=True)]

    @property
    def nonfinite(self) -> str:
        """See :attr:`~envkit.EnvBase.nonfinite`; assigning sets it for all envs."""
        return most_lenient(env.nonfinite for env in self._envs)

    @nonfinite.setter
    def nonfinite(self, mode: str) -> None:
        self.map(set_nonfinite, [mode] * len(self._envs))
        self._runtime.ring = self._runtime.quick = None

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

    def _reset_apart(
        self, tensordict: TensorDictBase | None, list_of_kwargs: Sequence[dict] | None = None, **kwargs: Any
    ) -> TensorDictBase:
        # Each env is handed its own part, with whatever it may look for in there.
        plan, outs = self.plan, []
        options = options_of_each(len(self._envs), list_of_kwargs, kwargs)
        masks = None if tensordict is None else read_masks(tensordict, plan, "_reset")
        given = [None] * len(self._envs) if tensordict is None else tensordict.unbind(0)
        for i, (env, part) in enumerate(zip(self._envs, given, strict=True)):
            own = None if masks is None else {key: mask[i] for key, mask in masks.items()}
            if own is None or any_true(own):
                outs.append(generators_of(env).call(env.first_of, part, env.plan, own, **options[i]))
            else:  # nothing of it will be read
                outs.append(env.plan.root_spec.zero() if part is None else env.plan.root_spec.zero().update(part))
        kept = [key for key in plan.kept if all(out.get(key, None) is not None for out in outs)]
        keys = [*plan.observation_keys, *plan.done_keys, *kept]
        return together(outs, plan, keys, self.fits_rows)

    def _step_apart(self, tensordict: TensorDictBase, masks: Masks | None) -> TensorDictBase:
        plan, outs = self.plan, []
        for i, (env, part) in enumerate(zip(self._envs, tensordict.unbind(0), strict=True)):
            own = {key: mask[i] for key, mask in (masks or {}).items()}
            whole = all(bool(mask.all()) for mask in own.values())
            step = functools.partial(env.next_of, part.exclude(*own), None, None if whole else own, strict=False)
            outs.append(generators_of(env).call(step))
        keys = [*plan.observation_keys, *plan.reward_keys, *plan.done_keys]
        return together(outs, plan, keys, self.fits_rows)

    def set_seed(self, seed: int | None, static_seed: bool = False) -> int | None:
        """Seeds the first env with ``seed``, each other with what its neighbour returned; returns the last one's."""
        following = seed
        for env in self._envs:
            following = seed_one(env, following, static_seed)
        super().set_seed(seed, static_seed)
        return following

    @property
    def draws_from_spec(self) -> bool:
        """See :attr:`~envkit.EnvBase.draws_from_spec`."""
        return all(env.draws_from_spec for env in self._envs)

    def _drawn(self, parts: list[TensorDictBase | None]) -> list[TensorDictBase]:
        drawn = [generators_of(env).call(env.rand_action, part) for env, part in zip(self._envs, parts, strict=True)]
        return [one.select(*self.action_keys) for one in drawn]

    def close(self) -> None:
        """Closes all envs."""
        for env in self._envs:
            env.close()
        super().close()

    def __repr__(self) -> str:
        return f"SerialEnv({len(self._envs)} x {self._envs[0]}, batch_size={list(self.batch_size)})"


class SerialRows:
    """Envs bound to the slices of a batch's slabs."""

    def __init__(self, batch: EnvBase, envs: list[EnvBase], root: Slab, following: Slab) -> None:
        self._bare = [
            env._row_port(env.plan, root.select(i, env.plan.root_spec), following.select(i, env.plan.next_spec))
            for i, env in enumerate(envs)
        ]
        self._generators = [generators_of(env) for env in envs]
        for own in self._generators:
            own.users.add(self)
        self.guard()
        plan = batch.plan
        self._repeated = [
            (following.arrays[key], root.arrays[key]) for key in (*plan.observation_keys, *plan.done_keys)
        ]
        self._rewards = [following.arrays[key] for key in plan.reward_keys]
        self._done = [following.arrays[group.done] for group in plan.done_groups]
        # The others are told their mask even if everything is reset: their `_reset` may look at it.
        self._need_no_mask = np.array([env.keeps_state for env in envs])
        self._carry = [(root.arrays[key], following.arrays[key]) for key in plan.carried]
        one_flag = len(plan.done_groups) == 1 and all(env.plan.batch_size.numel() == 1 for env in envs)
        simple = one_flag and not plan.kept and bool(self._need_no_mask.all())
        self._able = simple

    def guard(self) -> None:
        """Has the envs run with global generators of their own, those that have some."""
        self._ports = [own.guarded(port) for own, port in zip(self._generators, self._bare, strict=True)]
        self._steps = [port.step for port in self._ports]
        self._resets = [port.reset for port in self._ports]

    @property
    def advance(self) -> Callable[[int, int], None] | None:
        """See :attr:`~envkit.core.rows.RowPort.advance`."""
        return self._advance if self._able else None  # not kept: a port that refers to itself outlives its use

    def _advance(self, start: int, stop: int) -> None:
        for row in range(start, stop):
            following = row + 1
            ended = [i for i, step in enumerate(self._steps) if step(row)]
            for destination, source in self._carry:
                destination[following] = source[row]
            for i in ended:
                self._resets[i](following)

    def reset(
        self, row: int, masks: Masks | None = None, list_of_kwargs: Sequence[dict] | None = None, **kwargs: Any
    ) -> None:
        """See :meth:`~envkit.core.rows.RowPort.reset`; ``list_of_kwargs`` has some for each env."""
        if masks is not None and self._able and not (list_of_kwargs or kwargs):
            (mask,) = masks.values()
            for i in np.flatnonzero(mask.cpu().numpy()).tolist():
                self._resets[i](row)
            return
        options = options_of_each(len(self._ports), list_of_kwargs, kwargs)
        if masks is None:
            for port, own in zip(self._ports, options, strict=True):
                port.reset(row, **own)
            return
        flat = self._by_env(masks)
        whole = flat.all(1) & self._need_no_mask
        for i in np.flatnonzero(flat.any(1)).tolist():
            part = None if whole[i] else {key: mask[i] for key, mask in masks.items()}
            self._ports[i].reset(row, part, **options[i])

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
