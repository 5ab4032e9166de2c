"""Collecting on many machines, with Ray."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import nn

from envkit.collectors.base import CollectorBase
from envkit.collectors.options import CollectorOptions
from envkit.collectors.parts import joined, part_functions, part_options
from envkit.collectors.ray_fleet import Fleet, ray_library
from envkit.collectors.ray_progress import Progress
from envkit.collectors.ray_transport import unpack
from envkit.collectors.ray_weights import Weights
from envkit.collectors.weights import portable
from envkit.core.env import EnvBase
from envkit.core.policies import Policy
from envkit.errors import ClosedEnvError

__all__ = ["RayCollector"]

STATE = ("frames", "policy_version", "progress", "collectors")


class RayCollector(CollectorBase):
    """Batches from :class:`collectors <envkit.Collector>` that run side by side, each in an actor of Ray's.

    With ``sync=True`` each batch has the same share of every collector, in order, and all use the same weights. They
    collect while :meth:`next` waits. Its batch size is ``(num_collectors, time)`` for single envs, and for batches of
    envs that of one with the first dimension ``num_collectors`` times as long: ``(num_collectors * n, ..., time)``.
    With ``sync=False`` a batch is one collector's, whichever has one ready, and all go on collecting while the caller
    is busy with it. Its batch size is ``(1, time)`` for a single env, and else ``(*env.batch_size, time)``. Either way
    a batch has ``frames_per_batch`` steps, and the data is that of the same collectors run one after the other in this
    process.

    Entries under ``"collector"``, int64 of the batch's size:

    - ``"traj_ids"`` numbers the trajectories; collector ``i`` of ``n`` uses ``i, i + n, i + 2 n, ...`` in the order in
      which its trajectories begin, so that no two share a number.
    - ``"policy_version"`` counts the :meth:`updates <update_policy_weights_>` of the weights that made the step: one
      that is behind :attr:`policy_version` is stale.

    Ray restarts an actor that dies. The batch it had under way is lost, and collected anew with new episodes under
    new numbers, from seeds of their own; a warning says so. Where the actor's env or policy raises, the error comes
    out here, and the next call begins new episodes there.

    Functions and policies are sent by cloudpickle, modules on the CPU. A Ray instance that is running is used and left
    running; otherwise one is started, and shut down with the collector.

    Args:
        create_env_fn: makes an env, in the actor; or a list of functions, one for each collector.
        policy: reads a TensorDict, writes the action; None draws random actions. Every collector has its own copy.
        num_collectors: their number; by default that of the functions.
        policy_factory: a function that makes the policy, in the actor, in place of ``policy``.
        sync: whether a batch is of all collectors.
        ray_init_config: arguments of ``ray.init``, if no Ray instance is running.
        remote_configs: options of Ray for the actors, such as ``{"num_cpus": 1, "num_gpus": 0.5}``; one dict for all,
            or a list with one for each.
        max_restarts: how often Ray restarts each actor; -1 for always.
        update_after_each_batch: whether :meth:`next` first sends the weights that ``policy`` has by then.
        timeout: seconds without an answer of any actor after which an error is raised; None waits for ever.
        **options: those of :class:`~envkit.CollectorOptions`, of which ``frames_per_batch`` must be given. Batches are
            put together first; ``storing_device``, ``return_same_td``, ``split_trajs``, ``postproc`` and
            ``replay_buffer`` come into play in this process. ``init_random_frames`` are shared out.

    Attributes:
        options, frames, postproc: see :class:`~envkit.Collector`.
        policy: the policy in this process, whose weights are sent.
        policy_version: how often weights were sent.

    Raises:
        MissingDependencyError: Ray is not installed.
        TypeError: ``create_env_fn`` is not callable (an env instance, say), or both ``policy`` and ``policy_factory``.
        ValueError: options out of range, that do not fit each other or the number of collectors.
        SpecError: with ``sync``, envs of unequal specs.
        WorkerError: an env could not be made, or an actor does not start.

    A batch of 100 steps, of two collectors with a CPU each, on as many machines as the running cluster has::

        ray.init("auto")
        create_env_fn = lambda: GymEnv("CartPole-v1")
        configs = {"num_cpus": 1}
        with RayCollector(create_env_fn, num_collectors=2, frames_per_batch=100, remote_configs=configs) as collector:
            collector.next().batch_size  # torch.Size([2, 50])
    """

    def __init__(
        self,
        create_env_fn: Callable[[], EnvBase] | Sequence[Callable[[], EnvBase]],
        policy: Policy | None = None,
        *,
        num_collectors: int | None = None,
        policy_factory: Callable[[], Policy] | None = None,
        sync: bool = True,
        ray_init_config: dict[str, Any] | None = None,
        remote_configs: dict[str, Any] | Sequence[dict[str, Any]] | None = None,
        max_restarts: int = 3,
        update_after_each_batch: bool = False,
        timeout: float | None = None,
        **options: Any,
    ) -> None:
        self._ray = ray_library()
        super().__init__(CollectorOptions(**options), policy, policy_factory)
        self._functions = part_functions("num_collectors", create_env_fn, num_collectors)
        count = len(self._functions)
        configs = _configs(remote_configs, count)
        if update_after_each_batch and not isinstance(policy, nn.Module):
            raise TypeError(f"update_after_each_batch: expected an nn.Module as policy, found {type(policy).__name__}")
        self.policy, self.sync = policy, sync
        self.policy_version = 0
        self._factory, self._updates = policy_factory, update_after_each_batch
        self._part = part_options(self.options, count, together=sync)
        self._progress = [Progress() for _ in range(count)]
        self._is_closed = False
        travelling = portable(policy)
        self._owns_ray = _connect(self._ray, ray_init_config)
        try:
            self._policy = self._ray.put(travelling)
            self._weights = self._ray.put(Weights(0))
            self._fleet = Fleet(configs, max_restarts, self._beginning, self._receive, sync, timeout)
        except BaseException:
            if self._owns_ray:
                self._ray.shutdown()
            raise

    @property
    def num_collectors(self) -> int:
        """The number of collectors."""
        return len(self._functions)

    @property
    def restarts(self) -> int:
        """How often an actor was restarted, all of them together."""
        return sum(self._fleet.restarts)

    def _assert_open(self) -> None:
        if self._is_closed:
            raise ClosedEnvError("the collector was shut down")

    # ------------------------------------------------------------- collecting

    def next(self) -> TensorDictBase | Any:
        """The next batch, whether ``total_frames`` are reached or not; None if it went to a replay buffer.

        Raises:
            WorkerError: an env or policy raised, which is the cause; an actor died and is not restarted any more; or
                none answers in time. The next call goes on with what the others have collected.
            ClosedEnvError: the collector was shut down.
        """
        self._assert_open()
        if self._updates and self.frames:
            self.update_policy_weights_()
        fleet = self._fleet
        wanted = self.num_collectors if self.sync else 1
        while len(fleet.ready) < wanted:
            self._keep_busy()
            fleet.wait()
        if self.sync:
            batch = joined([fleet.ready.pop(index) for index in range(wanted)])
        else:
            batch = fleet.ready.pop(next(iter(fleet.ready)))
            self._keep_busy()
        self.frames += self.frames_per_batch
        return self._hand_over(batch)

    def _keep_busy(self) -> None:
        for index in self._fleet.idle:
            self._fleet.collect(index, self._weights)

    def _beginning(self, index: int) -> tuple:
        """What a collector is told when it begins, for the first time or anew."""
        progress, options = self._progress[index], self._part
        if progress.frames:
            options = replace(options, init_random_frames=max(0, options.random_frames - progress.frames))
        seed = progress.begin()
        return self._functions[index], self._policy, self._factory, options, *seed

    def _receive(self, index: int, answer: tuple[int, Any]) -> TensorDictBase:
        """A collector's batch, with numbers that are its own among those of all."""
        version, packed = answer
        batch = unpack(packed)
        numbers = self._progress[index].receive(batch["collector", "traj_ids"])
        batch.set(("collector", "traj_ids"), numbers * self.num_collectors + index)
        return batch.set(("collector", "policy_version"), torch.full_like(numbers, version))

    # ---------------------------------------------------------------- control

    def restart(self) -> None:
        """Begins the next batch with new episodes; batches under way are given up."""
        self._assert_open()
        self._fleet.forget()
        self._fleet.call_all("restart")

    def set_seed(self, seed: int | None, static_seed: bool = False) -> int | None:
        """Seeds the first collector's env with ``seed``, each other with what its neighbour returned.

        The generator that policies sample from is torch's in each actor, seeded with
        ``spawn_seed(the env's seed, "policy")``.

        Returns:
            What the last env returned; see :meth:`~envkit.EnvBase.set_seed`.
        """
        self._assert_open()
        following = seed
        for index, progress in enumerate(self._progress):
            progress.seed, progress.static_seed = following, static_seed
            following = self._fleet.call(index, "set_seed", following, static_seed)
        return following

    def update_policy_weights_(self, policy_weights: Any = None) -> None:
        """Puts weights into the object store, for all batches begun from now on, under the next version number.

        Args:
            policy_weights: a ``state_dict``, or ``TensorDict.from_module`` of a policy alike. By default those that
                :attr:`policy` has now; without a policy there are none, and nothing happens.

        Raises:
            TypeError: the policy is a function, or made in the actors, and no weights are given.
            RuntimeError: the weights are those of another policy.
        """
        self._assert_open()
        if policy_weights is None and self.policy is None and self._factory is None:
            return
        weights = Weights.of(self.policy, self.policy_version + 1, policy_weights)
        self._weights = self._ray.put(weights)
        self.policy_version = weights.version

    def shutdown(self) -> None:
        """Closes the envs, and the Ray instance if it was started here; may be called again."""
        if self._is_closed:
            return
        self._is_closed = True
        self._fleet.close()
        if self._owns_ray:
            self._ray.shutdown()

    # ----------------------------------------------------------------- resume

    def state_dict(self, *, env: bool = True) -> dict[str, Any]:
        """What another one like it needs to go on with the same bytes; see :meth:`Collector.state_dict`.

        The states of the collectors are in a list under ``"collectors"``. With ``sync=False`` batches under way are
        not among it: they are missing from what the other one hands out.

        Args:
            env: whether snapshots of the envs are wanted, which have to be sent here.
        """
        self._assert_open()
        return {
            "frames": self.frames,
            "policy_version": self.policy_version,
            "progress": [asdict(progress) for progress in self._progress],
            "collectors": self._fleet.call_all("state_dict", env),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what :meth:`state_dict` of a collector like this one returned.

        Weights are not among it: the policy's are sent again, under the version number they had.

        Raises:
            KeyError: something is missing.
            ValueError: it is the state of another number of collectors.
            WorkerError: it is the state of other envs.
        """
        missing = [name for name in STATE if name not in state]
        if missing:
            raise KeyError(f"state of a RayCollector: expected {missing} in it, found {sorted(state)}")
        if len(state["collectors"]) != self.num_collectors:
            raise ValueError(
                f"state of a RayCollector: expected that of {self.num_collectors} collectors, "
                f"found {len(state['collectors'])}"
            )
        self._assert_open()
        self._fleet.forget()
        for index, part in enumerate(state["collectors"]):
            self._fleet.call(index, "load_state_dict", part)
        self.frames, self.policy_version = state["frames"], state["policy_version"]
        self._progress = [Progress(**progress) for progress in state["progress"]]
        trained = isinstance(self.policy, nn.Module)
        weights = Weights.of(self.policy, self.policy_version) if trained else Weights(self.policy_version)
        self._weights = self._ray.put(weights)


def _configs(given: dict[str, Any] | Sequence[dict[str, Any]] | None, count: int) -> list[dict[str, Any]]:
    configs = [given or {}] * count if given is None or isinstance(given, dict) else list(given)
    if len(configs) != count:
        raise ValueError(f"remote_configs: expected one dict for all or {count}, found {len(configs)}")
    if any("max_restarts" in config for config in configs):
        raise ValueError("remote_configs: expected no max_restarts, which is an argument of its own")
    return configs


def _connect(ray: Any, config: dict[str, Any] | None) -> bool:
    """Sees to it that Ray is running; returns whether it was started for this."""
    if not ray.is_initialized():
        ray.init(**(config or {}))
        return True
    if config is not None:
        raise ValueError("ray_init_config: expected None, for a Ray instance is running, which is used as it is")
    return False
