"""The service of a worker of :class:`~envkit.ParallelEnv`: some envs, bound to their slices of shared slabs."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from tensordict import LazyStackedTensorDict, TensorDictBase

from envkit.batched.base import restore_one
from envkit.batched.equal_specs import specs_of
from envkit.batched.layout import Applied, Layout
from envkit.batched.serial import SerialEnv
from envkit.batched.worker import OTHERS, Service
from envkit.core.env import EnvBase
from envkit.core.masks import Masks
from envkit.core.rows import RowPort
from envkit.storage.shared import SharedBlock

__all__ = ["ADVANCE", "RESET", "STEP", "EnvService"]

# What a worker does at a row of a pair of slabs. The detail says which masks apply, a bit each, where 0 is everything;
# or how many more rows there are to advance.
STEP, ADVANCE, RESET = range(OTHERS, OTHERS + 3)


class _Bound(NamedTuple):
    """Some envs, bound to a slice of a batch in a block."""

    port: RowPort
    bind: Callable[[], RowPort]
    resets: list[Applied]
    steps: list[Applied]
    progress: np.ndarray
    envs: int
    block: SharedBlock

    def do(self, operation: int, row: int, detail: int) -> int:
        if operation == ADVANCE:
            for at in range(row, row + detail + 1):
                self.progress[...] = at
                self.port.advance(at, at + 1)  # type: ignore[misc]
            return 0
        if operation == RESET:
            self.port.reset(row, _chosen(self.resets, detail))
            return 0
        masks = _chosen(self.steps, detail)
        return self.port.step(row) if masks is None else self.port.step(row, masks)


def _chosen(masks: list[Applied], detail: int) -> Masks | None:
    return {key: mask for bit, (key, mask) in enumerate(masks) if detail >> bit & 1} if detail else None


class EnvService(Service):
    """Envs in a worker.

    Args:
        made: functions that make them, and their arguments.
    """

    def __init__(self, made: list[tuple[Callable[..., EnvBase], dict[str, Any]]]) -> None:
        functions, options = zip(*made, strict=True)
        self._env = SerialEnv(len(made), functions, create_env_kwargs=options)
        self._all = list(range(len(made)))
        self._layouts: dict[int, Layout] = {}
        self._bound: dict[int, list[_Bound]] = {}

    def describe(self) -> dict[str, Any]:
        """Specs and properties of the envs, as one env has them."""
        env, first = self._env, self._env._envs[0]
        return {
            "specs": specs_of(first),
            "batch_size": first.batch_size,
            "allow_done_after_reset": env.allow_done_after_reset,
            "hides_last_observations": env.hides_last_observations,
            "keeps_state": env.keeps_state,
            "draws_from_spec": env.draws_from_spec,
            "nonfinite": env.nonfinite,
            "name": repr(first),
        }

    def _some(self, envs: list[int]) -> SerialEnv:
        """Some of the envs, as a batch; making one takes its time."""
        return self._env if envs == self._all else self._env[envs]

    def phase(self, operation: int) -> str:
        """See :meth:`~envkit.batched.worker.Service.phase`."""
        return "reset" if operation == RESET else "step"

    # ---------------------------------------------------------- on shared rows

    def do(self, operation: int, place: int, row: int, detail: int) -> int:
        """Steps, or resets, at a row; says whether anything is done."""
        ended = 0
        for bound in self._bound[place]:
            ended |= bound.do(operation, row, detail)
        return ended

    def lay_out(self, number: int, layout: Layout) -> None:
        """Learns what blocks of a kind hold."""
        self._layouts[number] = layout

    def take(
        self, block: SharedBlock, place: int, number: int, rows: int, shares: list[tuple[slice, list[int]]]
    ) -> bool:
        """Binds envs to slices of the slabs in a block, which is known as ``place`` from now on.

        Args:
            block: the memory.
            place: its number.
            number: that of its layout.
            rows: for how many rows it is.
            shares: slices of the batch, and the envs there.

        Returns:
            Whether all can be advanced; see :class:`~envkit.core.rows.RowPort`.
        """
        block.forget_descriptor()
        layout = self._layouts[number]
        root, following, masks = layout.slabs(block.bytes, rows)
        bound = self._bound[place] = []
        for where, envs in shares:
            env = self._some(envs)
            plan = env.plan
            ours = root.select(where, plan.root_spec), following.select(where, plan.next_spec)
            bind = functools.partial(env._row_port, plan, *ours)
            progress = layout.progress(masks, where)
            bound.append(_Bound(bind(), bind, *layout.applied(masks, where), progress, len(envs), block))
        return all(one.port.advance is not None for one in bound)

    def drop(self, places: list[int]) -> None:
        """Forgets blocks that nobody uses any more."""
        for place in places:
            self._bound.pop(place, None)

    def reset_with(self, place: int, row: int, detail: int, options: list[dict]) -> None:
        """A reset at a row, with what each env is given by name."""
        own = iter(options)
        for bound in self._bound[place]:
            some = list(itertools.islice(own, bound.envs))
            bound.port.reset(row, _chosen(bound.resets, detail), list_of_kwargs=some)

    # ---------------------------------------------------------- on TensorDicts

    def reset_apart(self, envs: list[int], parts: list | None, masks: Masks | None, kwargs: dict) -> list:
        """Resets envs on TensorDicts of their own; ``kwargs`` are those of a batch."""
        env = self._some(envs)
        given = None if parts is None else LazyStackedTensorDict.lazy_stack(parts, 0)
        if given is not None and masks:
            for key, mask in masks.items():
                given.set(key, mask)
        return list(env._reset_apart(given, **kwargs).unbind(0))

    def step_apart(self, envs: list[int], parts: list[TensorDictBase], masks: Masks | None) -> list:
        """Steps envs on TensorDicts of their own."""
        stacked = LazyStackedTensorDict.lazy_stack(parts, 0)
        return list(self._some(envs)._step_apart(stacked, masks).unbind(0))

    def rand_action(self, envs: list[int], parts: list) -> list:
        """A random action of each env's own."""
        return self._some(envs)._drawn(parts)

    # ------------------------------------------------------------- everything else

    def set_seed(self, envs: list[int], seed: int | None, static: bool) -> int | None:
        """Seeds envs one after the other, each with what the one before returned; returns the last one's."""
        return self._some(envs).set_seed(seed, static)

    def map(self, envs: list[int], function: Callable[..., Any], given: list[tuple]) -> list[Any]:
        """What a function returns for each env, and its own arguments."""
        return [function(self._env._envs[i], *own) for i, own in zip(envs, given, strict=True)]

    def restore(self, envs: list[int], snapshots: list[Any]) -> None:
        """See :meth:`~envkit.EnvBase.restore`, of each env; another simulator has to be bound to the rows."""
        for i, snapshot in zip(envs, snapshots, strict=True):
            restore_one(self._env._envs[i], snapshot)
        self._bind_again()

    def set_nonfinite(self, envs: list[int], mode: str) -> None:
        """See :attr:`~envkit.EnvBase.nonfinite`, of each env; rows are bound for one or the other."""
        self._some(envs).nonfinite = mode
        self._bind_again()

    def _bind_again(self) -> None:
        for place, some in self._bound.items():
            self._bound[place] = [bound._replace(port=bound.bind()) for bound in some]

    def method(self, envs: list[int], name: str, args: tuple, kwargs: dict) -> list[Any]:
        """What a method of each env returns."""
        return [getattr(self._env._envs[i], name)(*args, **kwargs) for i in envs]

    def close(self) -> None:
        """Closes the envs."""
        self._env.close()
