"""Collecting in several processes at a time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from tensordict import TensorDictBase

from envkit.batched.equal_specs import refuse_unequal
from envkit.batched.pool import WorkerPool
from envkit.collectors.base import CollectorBase
from envkit.collectors.options import CollectorOptions
from envkit.collectors.parts import joined, part_functions, part_options
from envkit.collectors.published import PublishedWeights
from envkit.collectors.service import COLLECT, RESTART, WRITTEN, CollectorService
from envkit.collectors.shared_batch import BatchLayout
from envkit.collectors.weights import portable, state_of
from envkit.core.env import EnvBase
from envkit.core.policies import Policy
from envkit.errors import ClosedEnvError
from envkit.storage import Slab
from envkit.storage.shared import SharedBlock, lease

__all__ = ["MultiAsyncCollector", "MultiSyncCollector"]

FREE_PLACES = 2  # for each worker, that are kept for the next batches
STATE = ("frames", "policy_version", "collectors")


class _Place:
    """Shared memory for batches, known to workers by a number."""

    def __init__(self, number: int, block: SharedBlock, layout: BatchLayout) -> None:
        self.number, self.block, self.layout = number, block, layout
        self.known: set[int] = set()


class _MultiCollector(CollectorBase):
    """What the two kinds have in common: workers with a collector each, places for batches, published weights."""

    sync: bool

    def __init__(
        self,
        create_env_fn: EnvBase | Callable[[], EnvBase] | Sequence[EnvBase | Callable[[], EnvBase]],
        policy: Policy | None = None,
        *,
        num_workers: int | None = None,
        policy_factory: Callable[[], Policy] | None = None,
        mp_start_method: str | None = None,
        timeout: float | None = None,
        device: torch.device | str | int | Sequence[torch.device | str | int | None] | None = None,
        **options: Any,
    ) -> None:
        functions = part_functions("num_workers", create_env_fn, num_workers, envs=True)
        count = len(functions)
        devices: list[Any] = list(device) if isinstance(device, (list, tuple)) else [device] * count
        if len(devices) != count:
            raise ValueError(f"device: expected one, or one for each of {count} workers, found {len(devices)}")
        common = devices[0] if len(set(devices)) == 1 else None
        super().__init__(CollectorOptions(**options, device=common), policy, policy_factory)
        self.policy, self.num_workers = policy, count
        self._workers = list(range(count))
        sent, told = portable(policy), vars(part_options(self.options, count, together=self.sync))
        makers = [
            functools.partial(
                CollectorService,
                functions[i],
                sent,
                policy_factory,
                told | {"device": devices[i]},
                i,
                count,
            )
            for i in self._workers
        ]
        self._layout: BatchLayout | None = None
        self._free: list[_Place] = []
        self._lost: list[_Place] = []
        self._places = 0
        self._restarts = set[int]()
        self._seeds: dict[int, int | None] = {}
        self._pool = WorkerPool(makers, start_method=mp_start_method, timeout=timeout, describe=self._describe)
        self._weights: PublishedWeights | None = None
        try:
            if self.sync:
                refuse_unequal(type(self).__name__, {i: self._pool.descriptions[i]["specs"] for i in self._workers})
            self._share_weights(self._pool.descriptions[0]["weights"])
        except BaseException:
            self._pool.close()
            raise

    def _share_weights(self, state: dict[str, torch.Tensor]) -> None:
        """Makes the place where workers find the weights of their policies, if those have some."""
        if state:
            self._weights = PublishedWeights(state)
            for worker in self._workers:
                self._pool.take(worker, self._weights.block)

    def _describe(self, worker: int) -> dict[str, Any]:
        return {"env_indices": [worker], "seed": self._seeds.get(worker)}

    @property
    def policy_version(self) -> int:
        """How often weights were published."""
        return 0 if self._weights is None else self._weights.version

    def _open(self) -> WorkerPool:
        if self._pool.is_closed:
            raise ClosedEnvError(f"{type(self).__name__} was shut down: expected an open one; make a new one")
        return self._pool

    # ---------------------------------------------------------------- places

    def _place(self, workers: int) -> tuple[_Place, Slab] | None:
        """Memory for the batches of so many workers, and what they will find there; None before the first batch.

        It comes back when nothing refers to the batches any more.
        """
        if self._layout is None:
            return None
        place = self._free.pop() if self._free else None
        if place is None or place.layout is not self._layout:
            if place is not None:
                self._lost.append(place)
            self._places += 1
            place = _Place(self._places, SharedBlock(self._layout.size(workers)), self._layout)
        memory = lease(place.block, functools.partial(_give_back, self._free, self._lost, place))
        return place, self._layout.slab(memory, workers)

    def _post(self, worker: int, place: _Place | None, workers: int = 1, at: int = 0) -> None:
        """Asks a worker for a batch, at ``place``, of whose parts for ``workers`` workers its own is number ``at``."""
        pool = self._open()
        if place is not None and worker not in place.known:
            gone = [lost.number for lost in self._lost if worker in lost.known]
            if gone:
                pool.call(worker, "drop", gone)
                for lost in self._lost:
                    lost.known.discard(worker)
                self._lost[:] = [lost for lost in self._lost if lost.known]
            pool.take(worker, place.block, place.number, place.layout, workers, at)
            place.known.add(worker)
        detail = RESTART if worker in self._restarts else 0
        self._restarts.discard(worker)
        pool.post(worker, COLLECT, 0 if place is None else place.number, 0, detail)

    def _learn(self, batch: TensorDictBase) -> None:
        """Has later batches be like ``batch``, which came by mail."""
        self._layout = BatchLayout.of(batch)

    # --------------------------------------------------------------- failures

    def _settle(self, workers: list[int], *, any_of: bool = False) -> None:
        wait = self._pool.wait_any if any_of else self._pool.settle
        errors = wait(workers, "collect")
        if errors:
            self._pool.close()
            raise errors[0]

    # ---------------------------------------------------------------- control

    def set_seed(self, seed: int | None, static_seed: bool = False) -> int | None:
        """Seeds the first worker's env with ``seed``, each other with what its neighbour returned.

        The generator that policies sample from is torch's in each worker, seeded with
        ``spawn_seed(the env's seed, "policy")``.

        Returns:
            What the last env returned; see :meth:`~envkit.EnvBase.set_seed`.
        """
        self._rest()
        following = seed
        for worker in self._workers:
            self._seeds[worker] = following
            following = self._open().call(worker, "set_seed", following, static_seed)
        return following

    def update_policy_weights_(self, policy_weights: Any = None) -> None:
        """Publishes weights, which workers use from their next batch on, under the next version number.

        Args:
            policy_weights: a ``state_dict``, or ``TensorDict.from_module`` of a policy alike. By default those that
                :attr:`policy` has now; without a policy there are none, and nothing happens.

        Raises:
            TypeError: there is no module to take the weights from, and none are given.
            RuntimeError: the weights are those of another policy.
        """
        self._open()
        if policy_weights is None:
            if self._weights is None:
                return
            if not isinstance(self.policy, torch.nn.Module):
                raise TypeError(
                    f"policy_weights: expected weights to publish, for there is no nn.Module to take them from, found "
                    f"{type(self.policy).__name__}"
                )
            policy_weights = self.policy.state_dict()
        if self._weights is None:
            raise TypeError("policy_weights: expected an nn.Module as policy, found none")
        self._weights.publish(state_of(self.policy, policy_weights))

    def restart(self) -> None:
        """Begins the next batch of every worker with new episodes."""
        self._restarts = set(self._workers)

    def _rest(self) -> None:
        """Lets workers finish what they are at."""

    def shutdown(self) -> None:
        """Ends the workers; may be called twice."""
        self._pool.close()

    close = shutdown

    # ----------------------------------------------------------------- resume

    def state_dict(self, *, env: bool = True) -> dict[str, Any]:
        """All that a collector like this one needs to go on; see :meth:`~envkit.Collector.state_dict`.

        Args:
            env: whether snapshots of the envs are wanted.
        """
        self._rest()
        states = self._open().call_all("state_dict", env)
        return {"frames": self.frames, "policy_version": self.policy_version, "collectors": states}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what :meth:`state_dict` of a collector like this one returned.

        The policy's weights are not among it: those that :attr:`policy` has now are published under the version that
        the state was taken at. Where the policy is made in the workers, that of the first one is, until others are.

        Raises:
            KeyError: something is missing.
            ValueError: it is that of another number of workers.
        """
        missing = [name for name in STATE if name not in state]
        if missing:
            raise KeyError(f"state of a collector: expected {missing} in it, found {sorted(state)}")
        if len(state["collectors"]) != self.num_workers:
            raise ValueError(
                f"state of a collector: expected {self.num_workers} workers, found {len(state['collectors'])}"
            )
        self._rest()
        given: list[tuple] = [((part,), {}) for part in state["collectors"]]
        self._open().call_each(self._workers, "load_state_dict", given)
        self.frames = state["frames"]
        if self._weights is not None:
            trained = isinstance(self.policy, torch.nn.Module)
            weights = self.policy.state_dict() if trained else self._weights.read()[1]  # type: ignore[union-attr]
            self._weights.publish(weights, version=state["policy_version"])


class MultiSyncCollector(_MultiCollector):
    """Batches to which every one of several worker processes contributes its share.

    Workers collect while :meth:`next` waits, all with the same weights: those of the last
    :meth:`update_policy_weights_`. Batches arrive in shared memory, of batch size ``(num_workers, time)`` for single
    envs; for batches of envs the first dimension is that of one env times the number of workers. The data is that of
    the same collectors run in this process, one after the other.

    Entries under ``"collector"``, int64 of the batch's size:

    - ``"traj_ids"`` numbers the trajectories; worker ``i`` of ``n`` uses ``i, i + n, i + 2 n, ...`` in the order in
      which its trajectories begin, so that no two share a number.
    - ``"policy_version"`` counts the updates of the weights that made the step: one that is behind
      :attr:`policy_version` is stale.

    Args:
        create_env_fn: makes an env; or a list of functions, one for each worker. An env that can be pickled may stand
            in place of a function: each worker gets a copy.
        policy: reads a TensorDict, writes the action; None draws random actions. Every worker has its own copy.
        num_workers: number of processes; by default that of the functions.
        policy_factory: a function that makes the policy, in the worker, in place of ``policy``.
        mp_start_method, timeout: see :class:`~envkit.ParallelEnv`.
        device: that of :class:`~envkit.CollectorOptions`, or a list with one for each worker.
        **options: those of :class:`~envkit.CollectorOptions`, of which ``frames_per_batch`` must be given.

    Raises:
        ValueError: options out of range, or that do not fit the number of workers.
        SpecError: a function or a policy cannot be sent to another process, or specs of the envs differ.
        WorkerError: an env or policy raised there, or the worker died, or takes too long; all workers are gone.

    Examples:
        >>> from envkit import GymEnv
        >>> with MultiSyncCollector(lambda: GymEnv("CartPole-v1"), num_workers=2, frames_per_batch=40) as collector:
        ...     collector.next().batch_size
        torch.Size([2, 20])
    """

    sync = True

    def next(self) -> TensorDictBase | Any:
        """The next batch, whether ``total_frames`` are reached or not; None if it went to a replay buffer.

        Raises:
            WorkerError: a worker failed; all are gone.
            ClosedEnvError: the collector was shut down.
        """
        pool = self._open()
        place, slab = self._place(self.num_workers) or (None, None)
        for worker in self._workers:
            self._post(worker, place, self.num_workers, worker)
        self._settle(self._workers)
        sent = [worker for worker in self._workers if pool.result(worker) != WRITTEN]
        if sent or slab is None or self._layout is None:
            batch = self._joined(slab, sent)
        else:
            batch = self._layout.batch(slab)
        self.frames += self.frames_per_batch
        return self._hand_over(batch)

    def _joined(self, slab: Slab | None, sent: list[int]) -> TensorDictBase:
        """A batch of which some parts do not fit into the shared memory there is."""
        parts = [
            self._pool.call(worker, "fetch") if worker in sent else self._layout.batch(slab, worker)  # type: ignore[union-attr, arg-type]
            for worker in self._workers
        ]
        self._learn(parts[0])
        return joined(parts)


class MultiAsyncCollector(_MultiCollector):
    """Batches of several worker processes, each handed out as soon as one has it ready.

    Workers go on collecting while the caller is busy with a batch, with the weights that are there when they begin
    one. A batch has ``frames_per_batch`` steps of one worker, and the batch size that one
    :class:`~envkit.Collector` would give it, of which envs without batch dimensions have a first one of 1.

    For entries under ``"collector"``, arguments and errors see :class:`MultiSyncCollector`.

    Examples:
        >>> from envkit import GymEnv, SerialEnv
        >>> make = lambda: SerialEnv(3, lambda: GymEnv("CartPole-v1"))
        >>> with MultiAsyncCollector(make, num_workers=2, frames_per_batch=60, total_frames=120) as collector:
        ...     [batch.batch_size for batch in collector]
        [torch.Size([3, 20]), torch.Size([3, 20])]
    """

    sync = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._under_way: dict[int, tuple[Slab | None, BatchLayout | None]] = {}
        super().__init__(*args, **kwargs)

    def next(self) -> TensorDictBase | Any:
        """The next batch that is ready, whether ``total_frames`` are reached or not; None if a replay buffer has it.

        Raises:
            WorkerError: a worker failed; all are gone.
            ClosedEnvError: the collector was shut down.
        """
        pool = self._open()
        self._keep_busy()
        under_way = list(self._under_way)  # the one that was asked first is served first, of those that are ready
        self._settle(under_way, any_of=True)
        worker = next(worker for worker in under_way if pool.answered(worker))
        slab, layout = self._under_way.pop(worker)
        if pool.result(worker) == WRITTEN:
            batch = layout.batch(slab)  # type: ignore[union-attr, arg-type]
        else:
            batch = pool.call(worker, "fetch")
            self._learn(batch)
        del slab
        self._keep_busy()
        self.frames += self.frames_per_batch
        return self._hand_over(batch)

    def _keep_busy(self) -> None:
        for worker in self._workers:
            if worker not in self._under_way:
                place, slab = self._place(1) or (None, None)
                self._post(worker, place)
                self._under_way[worker] = slab, self._layout

    def _rest(self) -> None:
        """Lets workers finish; their batches are still handed out."""
        self._settle(list(self._under_way))


def _give_back(free: list[_Place], lost: list[_Place], place: _Place) -> None:
    (free if len(free) < FREE_PLACES else lost).append(place)
