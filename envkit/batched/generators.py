"""The global generators of ``random``, ``numpy`` and ``torch``, a set of its own for each env of a batch.

An env that draws from them shares them with whatever else runs in its process, so that its data would depend on who
its neighbours are: on the number of workers, that is. From :meth:`OwnGenerators.seed` on, such an env finds its own
states in them whenever it runs, and everybody else finds what they left there.
"""

from __future__ import annotations

import copy
import random
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from envkit.core.global_generators import GLOBALS, call_with
from envkit.core.masks import Masks
from envkit.core.rows import RowPort
from envkit.core.seeding import spawn_seed

if TYPE_CHECKING:
    from envkit.core.env import EnvBase

__all__ = ["OwnGenerators", "generators_of", "scatter"]

WATCHED = 20  # resets and steps after which it is known which generators an env uses


class OwnGenerators:
    """States of the global generators that belong to one env.

    Which of them it uses is found out in its first resets and steps after it was seeded; those it does not use cost
    nothing later. Without a seed there are none, and the env draws from what is there.
    """

    def __init__(self) -> None:
        self._states: dict[str, Any] = {}
        self._used: set[str] = set()
        self._calls = 0
        # Rows whose `guard` is called when it turns out, or is decided, whether there are states.
        self.users: weakref.WeakSet[Any] = weakref.WeakSet()

    def seed(self, seed: int | None, set_seed: Callable[[], Any]) -> Any:
        """Seeds them, and returns what ``set_seed`` returns, which runs with them: many authors seed global ones."""
        self._states = {}
        if seed is not None:
            self._states = {name: one.fresh(spawn_seed(seed, "global", name)) for name, one in GLOBALS.items()}
        self._calls = 0
        result = call_with(self._states, set_seed)
        self._tell()
        return result

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Calls a function with these states in the place of the global ones."""
        if not self._states or self._calls >= WATCHED:
            return call_with(self._states, function, *args, **kwargs)
        before = {name: GLOBALS[name].mark(state) for name, state in self._states.items()}
        result = call_with(self._states, function, *args, **kwargs)
        self._used |= {name for name, state in self._states.items() if GLOBALS[name].mark(state) != before[name]}
        self._calls += 1
        if self._calls == WATCHED:
            self._states = {name: state for name, state in self._states.items() if name in self._used}
            self._tell()
        return result

    def snapshot(self) -> Any:
        """The states, and what is known of their use, to be handed to :meth:`restore`."""
        return copy.deepcopy((self._states, self._used, self._calls))

    def restore(self, snapshot: Any) -> None:
        """Brings back what :meth:`snapshot` took; may be called again with the same snapshot."""
        self._states, self._used, self._calls = copy.deepcopy(snapshot)
        self._tell()

    def _tell(self) -> None:
        for rows in list(self.users):
            rows.guard()

    def guarded(self, port: RowPort) -> RowPort:
        """A row port whose env runs with these states; ``port`` itself, if there are none."""
        return _GuardedRows(self, port) if self._states else port


class _GuardedRows:
    advance: Callable[[int, int], None] | None = None

    def __init__(self, own: OwnGenerators, port: RowPort) -> None:
        self._own, self._port = own, port

    def reset(self, row: int, masks: Masks | None = None, **kwargs: Any) -> None:
        self._own.call(self._port.reset, row, masks, **kwargs)

    def step(self, row: int, masks: Masks | None = None) -> bool:
        return self._own.call(self._port.step, row) if masks is None else self._own.call(self._port.step, row, masks)


_OWN: weakref.WeakKeyDictionary[EnvBase, OwnGenerators] = weakref.WeakKeyDictionary()


def generators_of(env: EnvBase) -> OwnGenerators:
    """The states that belong to an env, however many batches it is part of."""
    own = _OWN.get(env)
    if own is None:
        own = _OWN[env] = OwnGenerators()
    return own


def scatter() -> None:
    """Seeds the global generators of this process from the system: forked processes would all draw the same numbers."""
    random.seed()
    np.random.seed()
    # Of devices that torch was built without, `torch.seed` notes in milliseconds where they were to be seeded from.
    if torch.backends.cuda.is_built() or torch.backends.mps.is_built() or torch.version.xpu:
        torch.seed()
    else:
        torch.default_generator.seed()
