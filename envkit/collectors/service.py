"""The service of a worker of the collectors over several processes: a collector of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tensordict import TensorDictBase

from envkit.batched.equal_specs import specs_of
from envkit.batched.worker import OTHERS, Service
from envkit.collectors.collector import Collector
from envkit.collectors.parts import with_rows
from envkit.collectors.published import PublishedWeights
from envkit.collectors.shared_batch import BatchLayout
from envkit.core.env import EnvBase
from envkit.core.policies import Policy
from envkit.core.seeding import spawn_seed
from envkit.storage import Slab
from envkit.storage.shared import SharedBlock

__all__ = ["COLLECT", "SENT", "WRITTEN", "CollectorService"]

COLLECT = OTHERS
# What became of a batch: it is in the place it was asked for, or it has to be fetched.
WRITTEN, SENT = 0, 1
UNREAD = -1  # the version of weights that are to be read in any case
RESTART = 1  # a bit of the detail of a command


class CollectorService(Service):
    """A :class:`~envkit.Collector` in a worker, that leaves its batches in shared memory.

    Args:
        create_env_fn, policy, policy_factory, options: those of the collector.
        worker: its index.
        workers: how many there are.
    """

    def __init__(
        self,
        create_env_fn: EnvBase | Callable[[], EnvBase],
        policy: Policy | None,
        policy_factory: Callable[[], Policy] | None,
        options: dict[str, Any],
        worker: int,
        workers: int,
    ) -> None:
        self._collector = Collector(create_env_fn, policy, policy_factory=policy_factory, **options)
        self._worker, self._workers = worker, workers
        self._weights: PublishedWeights | None = None
        self._version = 0
        self._places: dict[int, tuple[BatchLayout, Slab, int, SharedBlock]] = {}
        self._kept: TensorDictBase | None = None

    def describe(self) -> dict[str, Any]:
        """What the caller has to know of env and policy."""
        collector = self._collector
        policy = collector.policy
        weights = policy.state_dict() if isinstance(policy, torch.nn.Module) else {}
        return {"specs": specs_of(collector.env), "weights": weights}

    def phase(self, operation: int) -> str:
        """See :meth:`~envkit.batched.worker.Service.phase`."""
        return "collect"

    def do(self, operation: int, place: int, row: int, detail: int) -> int:
        """Collects a batch and leaves it at ``place``, or keeps it where it does not fit in there."""
        if detail & RESTART:
            self._collector.restart()
        batch = self._batch()
        if place in self._places:
            layout, slab, position, _ = self._places[place]
            if layout.fits(batch):
                layout.write(slab, position, batch)
                return WRITTEN
        self._kept = batch
        return SENT

    def _batch(self) -> TensorDictBase:
        """The next batch, with the numbers of its trajectories and of its weights."""
        if self._weights is not None and self._weights.version != self._version:
            self._version, state = self._weights.read()
            self._collector.update_policy_weights_(state)
        batch: TensorDictBase = self._collector.next()
        numbers = batch["collector", "traj_ids"] * self._workers + self._worker
        batch.set(("collector", "traj_ids"), numbers)
        batch.set(("collector", "policy_version"), torch.full_like(numbers, self._version))
        return with_rows(batch)

    def fetch(self) -> TensorDictBase | None:
        """The batch that did not fit."""
        batch, self._kept = self._kept, None
        return batch

    def take(
        self, block: SharedBlock, place: int = 0, layout: BatchLayout | None = None, workers: int = 1, at: int = 0
    ) -> None:
        """Learns of shared memory: for batches of ``workers`` workers, of which this is number ``at``; or weights."""
        block.forget_descriptor()
        if layout is None:
            self._weights = PublishedWeights(self.describe()["weights"], block)
        else:
            self._places[place] = layout, layout.slab(block.bytes, workers), at, block

    def drop(self, places: list[int]) -> None:
        """Forgets memory that nobody uses any more."""
        for place in places:
            self._places.pop(place, None)

    def set_seed(self, seed: int | None, static_seed: bool) -> int | None:
        """Seeds the env, and torch's global generator, from which policies sample; returns the env's next seed."""
        if seed is not None:
            torch.manual_seed(spawn_seed(seed, "policy"))
        return self._collector.set_seed(seed, static_seed)

    def state_dict(self, env: bool) -> dict[str, Any]:
        """See :meth:`~envkit.Collector.state_dict`."""
        return self._collector.state_dict(env=env)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See :meth:`~envkit.Collector.load_state_dict`; the weights are those that are published by the next batch."""
        self._collector.load_state_dict(state)
        self._version = UNREAD

    def close(self) -> None:
        """Closes the env."""
        self._collector.shutdown()
