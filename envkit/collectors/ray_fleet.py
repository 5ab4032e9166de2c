"""Actors that work side by side, are waited for, and begin anew when they died."""

from __future__ import annotations

import contextlib
import textwrap
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from envkit.batched.equal_specs import refuse_unequal
from envkit.collectors.ray_actor import CollectorActor, NotStartedError
from envkit.errors import MissingDependencyError, WorkerError
from envkit.specs import Composite

__all__ = ["Fleet", "ray_library"]

CLOSING = 5.0  # seconds in which envs are closed, before their processes are ended

BUILD, COLLECT = "build", "collect"


def ray_library() -> Any:
    """The module ``ray``.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError("RayCollector needs Ray: pip install 'envkit[ray]'") from error
    return ray


class Fleet:
    """The actors of a :class:`~envkit.RayCollector`, each with at most one task under way.

    Ray restarts an actor that died. Here it is noticed, told again what to collect, and counted; whatever it had
    under way is lost.

    Args:
        configs: options of Ray for each actor.
        max_restarts: how often Ray restarts each; -1 for always.
        beginning: the arguments of :meth:`CollectorActor.start` for an actor, asked for whenever it begins.
        receive: called with the index of an actor and what its :meth:`CollectorActor.collect` returned, when that is
            there; its result is kept.
        alike: whether the specs of all envs have to be the same.
        timeout: seconds without any answer after which an error is raised; None waits for ever.

    Attributes:
        ready: batches that are there, by actor; the oldest first.
        restarts: how often each actor was restarted.

    Raises:
        SpecError: they are not.
        WorkerError: see :meth:`wait`. In either case all actors are gone.
    """

    def __init__(
        self,
        configs: Sequence[dict[str, Any]],
        max_restarts: int,
        beginning: Callable[[int], tuple],
        receive: Callable[[int, Any], Any],
        alike: bool,
        timeout: float | None,
    ) -> None:
        self._ray, self._max_restarts, self._timeout = ray_library(), max_restarts, timeout
        self._beginning, self._receive = beginning, receive
        actor = self._ray.remote(CollectorActor)
        self._actors = [actor.options(max_restarts=max_restarts, **config).remote() for config in configs]
        self._under_way: dict[Any, tuple[int, str]] = {}
        self._lost: dict[int, Exception] = {}
        self.ready: dict[int, Any] = {}
        self._specs: dict[int, dict[str, Composite]] = {}
        self.restarts = [0] * len(configs)
        try:
            for index in range(len(configs)):
                self._begin(index)
            while self._under_way:
                self.wait()
            if alike:
                refuse_unequal("RayCollector", dict(sorted(self._specs.items())))
        except BaseException:
            self.close()
            raise

    @property
    def idle(self) -> list[int]:
        """The actors that have nothing to do, and no batch to hand out."""
        busy = {index for index, _ in self._under_way.values()} | self.ready.keys()
        return [index for index in range(len(self._actors)) if index not in busy]

    def _begin(self, index: int) -> None:
        # Retried until the actor is up again, or will not be any more: only then this task fails.
        start = self._actors[index].start.options(max_task_retries=-1)
        self._under_way[start.remote(*self._beginning(index))] = index, BUILD

    def collect(self, index: int, *args: Any) -> None:
        """Asks an idle actor for a batch."""
        self._under_way[self._actors[index].collect.remote(*args)] = index, COLLECT

    def wait(self) -> None:
        """Waits until one of the actors has done what it was asked for.

        Raises:
            WorkerError: an env or policy raised, an actor will not be restarted any more, or none answers in time.
        """
        ready, _ = self._ray.wait(list(self._under_way), timeout=self._timeout)
        if not ready:
            raise self._silence(list(self._under_way.values()))
        index, phase = self._under_way.pop(ready[0])
        found, answer = self._answer(index, phase, ready[0])
        if not found:
            return
        if phase == COLLECT:
            self.ready[index] = self._receive(index, answer)
            return
        self._specs[index] = answer
        if index in self._lost:
            self._restarted(index, self._lost.pop(index))

    def call(self, index: int, method: str, *args: Any) -> Any:
        """The result of a method of an actor, called when it has done what it was asked for before."""
        while True:
            result = getattr(self._actors[index], method).remote(*args)
            if not self._ray.wait([result], timeout=self._timeout)[0]:
                raise self._silence([(index, "call")])
            found, answer = self._answer(index, "call", result)
            if found:
                return answer
            while (index, BUILD) in self._under_way.values():
                self.wait()

    def call_all(self, method: str, *args: Any) -> list[Any]:
        """The results of :meth:`call` for all actors."""
        return [self.call(index, method, *args) for index in range(len(self._actors))]

    def forget(self) -> None:
        """Gives up all batches that are there or under way."""
        self.ready.clear()
        self._under_way = {task: what for task, what in self._under_way.items() if what[1] == BUILD}

    # ------------------------------------------------------------- failures

    def _answer(self, index: int, phase: str, task: Any) -> tuple[bool, Any]:
        """Whether there is one, and the answer; where there is none the actor begins anew."""
        errors = self._ray.exceptions
        try:
            return True, self._ray.get(task)
        except (errors.RayActorError, errors.ObjectLostError, errors.OutOfMemoryError) as error:
            if phase == BUILD:
                raise self._death(index, error) from error
            lost: Exception = error
        except errors.RayTaskError as error:
            if not isinstance(error.cause, NotStartedError):
                raise self._raised(index, phase, error) from error.cause
            lost = error.cause
        except errors.RayError as error:
            raise self._raised(index, phase, error) from error
        self._lost.setdefault(index, lost)
        self._under_way = {task: what for task, what in self._under_way.items() if what[0] != index}
        self._begin(index)
        return False, None

    def _restarted(self, index: int, cause: Exception) -> None:
        self.restarts[index] += 1
        warnings.warn(
            f"collector {index} was restarted, and begins new trajectories; a batch it had under way is lost, and "
            f"collected anew. Restarts: {self.restarts[index]}, at most {self._max_restarts}. Why: {_why(cause)}",
            RuntimeWarning,
            stacklevel=2,
        )

    def _raised(self, index: int, phase: str, error: Any) -> WorkerError:
        cause = getattr(error, "cause", None)
        name = None if cause is None else type(cause).__name__
        said = f"raised {name}: {cause}\n\n{error}" if name else f"sent what cannot be read here:\n\n{error}"
        return WorkerError(
            f"collector {index} {said} [phase: {phase}]",
            worker=index,
            phase=phase,
            remote_type=name,
            remote_traceback=str(error),
        )

    def _death(self, index: int, error: Exception) -> WorkerError:
        phase = COLLECT if index in self._lost else BUILD
        return WorkerError(
            f"collector {index} died, and Ray does not restart it any more (max_restarts={self._max_restarts}, "
            f"restarted {self.restarts[index]} times). Why: {_why(error)} [phase: {phase}]",
            worker=index,
            phase=phase,
        )

    def _silence(self, waited_for: list[tuple[int, str]]) -> WorkerError:
        index, phase = waited_for[0]
        hint = ""
        if phase == BUILD:
            hint = f"; are there resources for them? The cluster has {self._ray.cluster_resources()}"
        silent = sorted(index for index, _ in waited_for)
        return WorkerError(
            f"collectors {silent} did not answer within {self._timeout} s{hint} [phase: {phase}]",
            worker=index,
            phase=phase,
        )

    # ------------------------------------------------------------------ end

    def close(self) -> None:
        """Closes the envs and ends the actors; those that are busy for too long are ended as they are."""
        if not self._ray.is_initialized():  # it took the actors with it
            return
        with contextlib.suppress(self._ray.exceptions.RayError):
            unmade = {index for index, phase in self._under_way.values() if phase == BUILD}
            farewells = [actor.shutdown.remote() for i, actor in enumerate(self._actors) if i not in unmade]
            if farewells:
                self._ray.wait(farewells, num_returns=len(farewells), timeout=CLOSING)
            for actor in self._actors:
                self._ray.kill(actor)


def _why(error: Exception) -> str:
    """What Ray says, on one line, without the ids and addresses that it lists."""
    lines = [line for line in str(error).splitlines() if not line.startswith("\t")]
    return textwrap.shorten(" ".join(lines), 400)
