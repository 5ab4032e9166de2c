"""The part of a :class:`~envkit.RayCollector` that runs in the actors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from envkit.batched.equal_specs import specs_of
from envkit.collectors.collector import Collector
from envkit.collectors.options import CollectorOptions
from envkit.collectors.parts import with_rows
from envkit.collectors.ray_transport import pack
from envkit.collectors.ray_weights import Weights
from envkit.core.env import EnvBase
from envkit.core.policies import Policy
from envkit.core.seeding import spawn_seed
from envkit.specs import Composite

__all__ = ["CollectorActor", "NotStartedError"]


class NotStartedError(Exception):
    """The process is new: it does not know yet what to collect."""

    def __init__(self) -> None:
        super().__init__("its process ended between two batches")


class CollectorActor:
    """A :class:`~envkit.Collector` in a process of its own.

    When the process has died Ray makes another one, which has no collector until :meth:`start` is called again.
    """

    def __init__(self) -> None:
        self._collector: Collector | None = None
        self._version: int | None = 0

    def start(
        self,
        create_env_fn: Callable[[], EnvBase],
        policy: Policy | None,
        policy_factory: Callable[[], Policy] | None,
        options: CollectorOptions,
        seed: int | None,
        static_seed: bool,
    ) -> dict[str, Composite]:
        """Makes the collector; returns the specs of its env, on the CPU."""
        self.shutdown()
        self._collector = Collector(create_env_fn, policy, policy_factory=policy_factory, **vars(options))
        self._version = 0
        if seed is not None:
            self.set_seed(seed, static_seed)
        return {role: spec.to("cpu") for role, spec in specs_of(self._collector.env).items()}

    @property
    def _started(self) -> Collector:
        if self._collector is None:
            raise NotStartedError
        return self._collector

    def collect(self, weights: Weights) -> tuple[int, Any]:
        """A batch, packed, and the version of the weights that collected it.

        Args:
            weights: loaded if they are others than those at hand.
        """
        collector = self._started
        if weights.version != self._version:
            if weights.packed is not None:
                collector.update_policy_weights_(weights.unpacked())
            self._version = weights.version
        try:
            batch = collector.next()
        except Exception:  # what was collected so far is lost, and its trajectories cannot go on
            collector.restart()
            raise
        if batch.device is not None and batch.device.type != "cpu":
            batch = batch.cpu()
        return weights.version, pack(with_rows(batch))

    def restart(self) -> None:
        """See :meth:`Collector.restart <envkit.Collector.restart>`."""
        self._started.restart()

    def set_seed(self, seed: int | None, static_seed: bool) -> int | None:
        """Seeds the env, and this process's generator, from which policies sample; returns the env's next seed."""
        collector = self._started
        if seed is not None:
            torch.manual_seed(spawn_seed(seed, "policy"))
        return collector.set_seed(seed, static_seed)

    def state_dict(self, env: bool) -> dict[str, Any]:
        """See :meth:`Collector.state_dict <envkit.Collector.state_dict>`."""
        return self._started.state_dict(env=env)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See :meth:`Collector.load_state_dict <envkit.Collector.load_state_dict>`."""
        self._started.load_state_dict(state)
        self._version = None  # whatever weights come next are loaded

    def shutdown(self) -> None:
        """Closes the env."""
        if self._collector is not None:
            self._collector.shutdown()
            self._collector = None
