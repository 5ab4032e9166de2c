"""The workers of a :class:`~envkit.ParallelEnv`."""

from __future__ import annotations

import contextlib
import functools
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import cloudpickle

from envkit.batched.env_service import EnvService
from envkit.batched.equal_specs import UnequalSpecsError, refuse_unequal
from envkit.batched.last_seen import LastSeen
from envkit.batched.layout import layout_of
from envkit.batched.memory import Blocks, Home
from envkit.batched.pool import GIVING_UP, WorkerPool
from envkit.core.env import EnvBase
from envkit.core.masks import Masks
from envkit.core.plan import Plan
from envkit.core.seeding import spawn_seed
from envkit.errors import ClosedEnvError, WorkerError
from envkit.storage import Slab

__all__ = ["Crew", "Share"]


class Share(NamedTuple):
    """What one worker has of a batch: its envs, by their numbers there, and their positions in the batch."""

    worker: int
    envs: list[int]
    positions: list[int]


class Crew:
    """Workers with envs, commanded by one batch and by the batches that are parts of it.

    Args:
        made: functions that make the envs, and their arguments.
        workers: number of processes.
        options: those of the :class:`~envkit.batched.pool.WorkerPool`.
        max_restarts: how many failures to mend; None mends none.
    """

    def __init__(self, made: list, workers: int, options: dict[str, Any], max_restarts: int | None) -> None:
        self._given = made, workers, options, max_restarts
        self.workers, self.may_restart = workers, max_restarts is not None
        self.restarts, self._restarts_left = 0, max_restarts or 0
        # Numbers of envs that were built anew, but whose episodes have no last transition yet.
        self.cut: set[int] = set()
        self.last = LastSeen(len(made))
        # What becomes of NaN in envs that were told.
        self._modes: dict[int, str] = {}
        self._options = options
        bounds = [len(made) * i // workers for i in range(workers + 1)]
        self._envs = [range(a, b) for a, b in itertools.pairwise(bounds)]
        names = [getattr(made[own.start][0], "__qualname__", repr(made[own.start][0])) for own in self._envs]
        self._makers = [functools.partial(EnvService, made[own.start : own.stop]) for own in self._envs]
        self._known: list[dict[str, Any]] = [
            {"env_indices": [*own], "env_name": name, "seed": None} for own, name in zip(self._envs, names, strict=True)
        ]
        self._pool: WorkerPool | None = None
        self._closed = self._warned = False
        self._blocks = Blocks()

    # -------------------------------------------------------------- workers

    @property
    def started(self) -> bool:
        """Whether there are processes, or have been."""
        return self._pool is not None

    @property
    def pool(self) -> WorkerPool:
        """The processes, started if need be."""
        self.start()
        return self._pool  # type: ignore[return-value]

    def start(self) -> None:
        """Starts the workers, if they are not running."""
        if self._pool is not None:
            return
        if self._closed:
            raise ClosedEnvError("ParallelEnv is closed: expected an open env; make a new one")
        # What is known may be read without this crew: the pool would keep it, and with it the workers, for too long.
        describe = functools.partial(_described, self._known)
        try:
            pool = WorkerPool(self._makers, describe=describe, **self._options)
        except WorkerError as error:
            if isinstance(error.__cause__, UnequalSpecsError):
                raise error.__cause__.among("ParallelEnv", self._envs[error.worker].start) from None
            raise
        firsts = [own.start for own in self._envs]
        try:
            said = zip(firsts, pool.descriptions, strict=True)
            refuse_unequal("ParallelEnv", {first: one["specs"] for first, one in said})
        except UnequalSpecsError:
            pool.close()
            raise
        self._pool = pool
        for worker in range(self.workers):
            self._tell_modes(worker)
        for known, one in zip(self._known, pool.descriptions, strict=True):
            known["env_name"] = one["name"]

    def told(self, envs: Sequence[int]) -> list[dict[str, Any]]:
        """What workers say of their envs, those that have ``envs``."""
        descriptions = self.pool.descriptions
        return [descriptions[share.worker] for share in self.shares(envs)]

    def __reduce__(self) -> tuple:
        return _crew_of, (cloudpickle.dumps(self._given),)

    def twin(self) -> Crew:
        """A crew of the same kind, which has not started."""
        crew = Crew(*self._given)
        crew._modes = dict(self._modes)
        return crew

    def shares(self, envs: Sequence[int]) -> list[Share]:
        """Which worker has which of ``envs``."""
        out = []
        for worker, own in enumerate(self._envs):
            positions = [position for position, i in enumerate(envs) if i in own]
            if positions:
                out.append(Share(worker, [envs[position] - own.start for position in positions], positions))
        return out

    def ask(
        self,
        envs: Sequence[int],
        name: str,
        given: Callable[[Share], tuple],
        phase: str = "call",
        *,
        again: bool = False,
        fatal: bool = True,
    ) -> list[Any]:
        """Calls a method of the services that have ``envs``, all at a time.

        With ``again``, a new worker in the place of one that failed is asked the same. Without ``fatal``, what a method
        raises leaves the workers as they are.
        """
        shares = self.shares(envs)
        workers = [share.worker for share in shares]
        self.revive()
        with self.giving_up(fatal):
            calls: list[tuple] = [(given(share), {}) for share in shares]
            if not (again and self.may_restart):
                return self.pool.call_each(workers, name, calls, phase=phase)
            answers = self.pool.try_each(workers, name, calls, phase=phase)
            for i, worker in enumerate(workers):
                while isinstance(answers[i], WorkerError):
                    self.restart(worker, answers[i])
                    answers[i] = self.pool.try_each([worker], name, [calls[i]], phase=phase)[0]
            return answers

    @contextlib.contextmanager
    def giving_up(self, fatal: bool = True) -> Iterator[None]:
        """Within it, a failure ends all workers before it is raised; one that leaves a worker alive, if ``fatal``."""
        try:
            yield
        except WorkerError:
            if fatal or self.pool.casualties():
                self.close(GIVING_UP)
            raise

    def seed(self, envs: Sequence[int], seed: int | None, static: bool) -> int | None:
        """Seeds ``envs`` in a chain, and returns what follows the last one."""
        self.revive()
        for worker, own in self._in_turn(envs):
            self._known[worker]["seed"] = seed
            with self.giving_up():
                seed = self.pool.call(worker, "set_seed", own, seed, static)
        return seed

    def set_nonfinite(self, envs: Sequence[int], mode: str) -> None:
        """Tells ``envs``, and those that are built anew in their place, what becomes of NaN."""
        self.ask(envs, "set_nonfinite", lambda share: (share.envs, mode), fatal=False)
        self._modes.update(dict.fromkeys(envs, mode))

    def _tell_modes(self, worker: int) -> None:
        for number, i in enumerate(self._envs[worker]):
            if i in self._modes:
                self.pool.call(worker, "set_nonfinite", [number], self._modes[i])

    def _in_turn(self, envs: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
        """The workers that have ``envs``, in the order of those, with the numbers there of neighbours."""
        workers = [(worker, i - own.start) for i in envs for worker, own in enumerate(self._envs) if i in own]
        for worker, group in itertools.groupby(workers, lambda one: one[0]):
            yield worker, [number for _, number in group]

    def restart(self, worker: int, error: WorkerError) -> None:
        """Puts a new worker in the place of one that failed, seeded from the stream of the old one's seed.

        Raises:
            WorkerError: that was one time too many; all workers are gone.
        """
        while True:
            if self._restarts_left < 1:
                self.close(GIVING_UP)
                raise error
            self._restarts_left -= 1
            self.restarts += 1
            first = str(error).splitlines()[0]
            warnings.warn(f"{first}; it is restarted ({self._restarts_left} more times at most)", stacklevel=5)
            try:
                self._rebuild(worker)
            except WorkerError as again:
                error = again
            else:
                self.cut.update(self._envs[worker])
                return

    def _rebuild(self, worker: int) -> None:
        pool = self.pool
        pool.restart(worker)
        for number, layout in enumerate(self._blocks.layouts):
            pool.call(worker, "lay_out", number, layout)
        known = self._known[worker]
        if known["seed"] is not None:
            known["seed"] = spawn_seed(known["seed"], "restart", self.restarts)
            pool.call(worker, "set_seed", list(range(len(self._envs[worker]))), known["seed"], False)
        self._tell_modes(worker)
        for home in self._blocks.homes():
            if home.bound.pop(worker, None) is not None:
                self._bind(home, [share for share in self.shares(home.envs) if share.worker == worker])

    def begun(self, envs: Sequence[int], masks: Masks | None = None) -> None:
        """Notes that episodes have begun, under ``masks`` of ``envs``: nothing is left to be said of those before."""
        if self.cut:
            whole = [masks is None or all(bool(mask[i].all()) for mask in masks.values()) for i in range(len(envs))]
            self.cut.difference_update(itertools.compress(envs, whole))

    def revive(self) -> None:
        """Restarts workers that have died while nobody waited for them, where that is allowed."""
        if self.may_restart and self._pool is not None:
            for error in self._pool.casualties():
                self.restart(error.worker, error)

    def _mending(self, prepare: Callable[[], Any]) -> None:
        """Prepares what follows, once more wherever a worker fails meanwhile that may be restarted."""
        while True:
            self.revive()
            try:
                prepare()
            except WorkerError as error:
                if not self.may_restart:
                    self.close(GIVING_UP)
                    raise
                self.restart(error.worker, error)
            else:
                return

    def warn_of_sending(self, env: EnvBase) -> None:
        """Says, once, that data is sent rather than shared."""
        if not self._warned and not env.fits_rows:
            self._warned = True
            warnings.warn(
                f"{env}: its data has no fixed layout (dynamic shapes, or no tensors), and is sent between processes "
                f"instead of shared, which is slower",
                stacklevel=4,
            )

    def close(self, seconds: float) -> None:
        """Ends the workers, for good."""
        self._closed = True
        if self._pool is not None:
            self._pool.close(seconds)
        self._blocks.close()

    # --------------------------------------------------------------- memory

    def slabs(self, plan: Plan, envs: tuple[int, ...], rows: int) -> tuple[Slab, Slab]:
        """A pair of slabs in shared memory, which is used again when nothing refers to them any more."""
        blocks = self._blocks
        number = blocks.number_of(plan)
        if number is None:
            number, layout = len(blocks.layouts), layout_of(plan)
            self._mending(lambda: self.pool.call_all("lay_out", number, layout))
            blocks.lay_out(plan, layout)
        return blocks.slabs(number, plan, envs, rows)

    def bind(self, home: Home, shares: list[Share]) -> bool:
        """Has workers bind their envs to a pair of slabs; returns whether all can be advanced."""
        if not all(share.worker in home.bound for share in shares):
            gone = self._blocks.unwanted()
            if gone:
                self._mending(lambda: self.pool.call_all("drop", gone))
            self._mending(lambda: self._bind(home, [share for share in shares if share.worker not in home.bound]))
            if not self.may_restart:
                home.block.forget_descriptor()  # users who keep much data would run out of them
        return all(home.bound[share.worker] for share in shares)

    def _bind(self, home: Home, shares: list[Share]) -> None:
        workers = [share.worker for share in shares]
        given = [(home.place, home.layout, home.rows, list(_runs(share))) for share in shares]
        home.bound.update(zip(workers, self.pool.take_each(workers, home.block, given), strict=True))


def _crew_of(given: bytes) -> Crew:
    return Crew(*cloudpickle.loads(given))


def _described(known: list[dict[str, Any]], worker: int) -> dict[str, Any]:
    return dict(known[worker])


def _runs(share: Share) -> Iterator[tuple[slice, list[int]]]:
    """The envs of a share in pieces whose positions in the batch are a slice each."""
    envs, positions = share.envs, share.positions
    first = 0
    while first < len(envs):
        step = positions[first + 1] - positions[first] if first + 1 < len(envs) else 1
        last = first
        while last + 1 < len(envs) and positions[last + 1] - positions[last] == step:
            last += 1
        yield slice(positions[first], positions[last] + 1, step), envs[first : last + 1]
        first = last + 1
