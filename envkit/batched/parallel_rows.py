"""The row port of a :class:`~envkit.ParallelEnv`: commands to workers, which write the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from envkit.batched.base import options_of_each
from envkit.batched.crew import Crew, Share
from envkit.batched.env_service import ADVANCE, RESET, STEP
from envkit.batched.layout import Applied
from envkit.batched.memory import Home
from envkit.batched.pool import GIVING_UP
from envkit.core.masks import Masks
from envkit.core.plan import Plan
from envkit.storage import Slab

__all__ = ["RESTARTED", "CopiedRows", "ParallelRows"]

RESTARTED = "worker_restarted"


class ParallelRows:
    """Envs of workers, bound to slabs in memory that they share."""

    def __init__(self, crew: Crew, plan: Plan, root: Slab, following: Slab) -> None:
        self._crew, self._plan = crew, plan
        self._root: dict[Any, Any] = root.columns
        self._following: dict[Any, Any] = following.columns
        home: Home = root.home
        self._home, self._pool, self._place = home, crew.pool, home.place
        self._shares = crew.shares(home.envs)
        self._workers = [share.worker for share in self._shares]
        self._able = crew.bind(home, self._shares)

    @property
    def advance(self) -> Callable[[int, int], None] | None:
        """See :attr:`~envkit.core.rows.RowPort.advance`."""
        return self._advance if self._able else None  # not kept: a port that refers to itself outlives its use

    def reset(
        self, row: int, masks: Masks | None = None, list_of_kwargs: Sequence[dict] | None = None, **kwargs: Any
    ) -> None:
        """See :meth:`~envkit.core.rows.RowPort.reset`; ``list_of_kwargs`` has some for each env."""
        detail = _put_up(self._home.resets, masks)
        if masks is not None and not detail:
            return
        if kwargs or list_of_kwargs:
            options = options_of_each(len(self._home.envs), list_of_kwargs, kwargs)

            def given(share: Share) -> tuple:
                return self._place, row, detail, [options[i] for i in share.positions]

            self._crew.ask(self._home.envs, "reset_with", given, phase="reset", again=True)
        else:
            for share in self._command(RESET, row, detail, "reset"):
                self._again(share, RESET, row, detail, "reset")
        if self._crew.may_restart:
            self._root[RESTARTED][row] = False  # the row before may have had it
            self._crew.begun(self._home.envs, masks)
            self._keep(self._root, row, masks)

    def step(self, row: int, masks: Masks | None = None) -> bool:
        """See :meth:`~envkit.core.rows.RowPort.step`."""
        detail = _put_up(self._home.steps, masks)
        renewed = self._command(STEP, row, detail, "step")
        for share in renewed:
            self._cut_off(share, row)
        if masks is not None and self._crew.may_restart:
            # Workers repeat the flags of what is not stepped, but do not know of these.
            for key in (RESTARTED, *(group.truncated for group in self._plan.done_groups)):
                self._following[key][row] |= self._root[key][row]
        if self._crew.may_restart:
            self._keep(self._following, row)
        pool = self._pool
        return bool(renewed) or any(pool.result(worker) for worker in self._workers)

    def _advance(self, start: int, stop: int) -> None:
        if not self._crew.may_restart and self._pool.timeout is None:
            self._command(ADVANCE, start, stop - start - 1, "step")
            return
        # One after the other, where each has a time limit, or what is lost is to be no more than that.
        for row in range(start, stop):
            for share in self._command(ADVANCE, row, 0, "step"):
                self._cut_off(share, row)
                self._again(share, RESET, row + 1, 0, "reset")
                self._crew.begun(self._numbers(share))
            if self._crew.may_restart:
                self._keep(self._root, row + 1)

    def _command(self, operation: int, row: int, detail: int, phase: str) -> list[Share]:
        """Gives all workers a command and waits for them.

        Returns:
            Shares of workers that have not carried it out, because they failed and were restarted, now or before.
        """
        pool, crew, place, workers = self._pool, self._crew, self._place, self._workers
        renewed: list[Share] = []
        if crew.cut and operation != RESET:
            renewed = [share for share in self._shares if not crew.cut.isdisjoint(self._numbers(share))]
            workers = [share.worker for share in self._shares if share not in renewed]
        for worker in workers:
            pool.post(worker, operation, place, row, detail)
        for error in pool.settle(workers, phase):
            if phase == "step":
                error.last_action = self._action(error.worker, row if operation == STEP else None)
            if not crew.may_restart:
                crew.close(GIVING_UP)
                raise error
            crew.restart(error.worker, error)
            renewed.append(next(share for share in self._shares if share.worker == error.worker))
        return renewed

    def _numbers(self, share: Share) -> list[int]:
        return [self._home.envs[position] for position in share.positions]

    def _action(self, worker: int, row: int | None) -> Any:
        """What a worker's envs were to do at a row, or at that which the worker says it has come to."""
        share = next(share for share in self._shares if share.worker == worker)
        if row is None:
            row = int(self._home.progress[share.positions[0]])
        keys = self._plan.action_keys
        actions = {key: self._root[key][row, share.positions].clone() for key in keys}
        return actions if len(actions) != 1 else next(iter(actions.values()))

    # -------------------------------------------------------------- mending

    def _again(self, share: Share, operation: int, row: int, detail: int, phase: str) -> None:
        self._pool.post(share.worker, operation, self._place, row, detail)
        for error in self._pool.settle([share.worker], phase):
            self._crew.restart(share.worker, error)
            self._again(share, operation, row, detail, phase)

    def _keep(self, columns: dict[Any, Any], row: int, masks: Masks | None = None) -> None:
        """Keeps in mind what envs show, in case that their next step is not made."""
        self._crew.last.keep(self._home.envs, self._plan, lambda key: columns[key][row], masks)

    def _cut_off(self, share: Share, row: int) -> None:
        """Writes what is true of a step that was never made, because the envs are new ones."""
        plan, where = self._plan, share.positions
        root, following = self._root, self._following
        for key in plan.observation_keys:
            for position, number in zip(where, self._numbers(share), strict=True):
                following[key][row, position] = self._crew.last.repeat(number, key, root[key][row, position])
        for key in plan.done_keys:
            following[key][row, where] = root[key][row, where]
        for key in plan.reward_keys:
            following[key][row, where] = 0
        for group in plan.done_groups:
            truncated, terminated = following[group.truncated], following[group.terminated]
            truncated[row, where] = ~terminated[row, where]
            following[group.done][row, where] = True
        following[RESTARTED][row, where] = True
        self._crew.begun(self._numbers(share))


def _put_up(known: list[Applied], masks: Masks | None) -> int:
    """Writes masks where workers look for them; returns which they are, a bit each."""
    detail = 0
    for bit, (key, column) in enumerate(known if masks is not None else ()):
        if key in masks:  # type: ignore[operator]
            column.copy_(masks[key])  # type: ignore[index]
            detail |= 1 << bit
    return detail


class CopiedRows:
    """The same for slabs in memory that workers do not see: shared ones, whose rows are copied."""

    def __init__(self, crew: Crew, plan: Plan, envs: tuple[int, ...], root: Slab, following: Slab) -> None:
        theirs = crew.slabs(plan, envs, following.rows)
        self._port = ParallelRows(crew, plan, *theirs)
        inputs = [*plan.root_spec.keys(True, True)]
        self._down = [(theirs[0].columns[key], root.columns[key]) for key in inputs]
        self._up = [(following.columns[key], theirs[1].columns[key]) for key in plan.next_spec.keys(True, True)]

    @property
    def advance(self) -> Callable[[int, int], None] | None:
        """See :attr:`~envkit.core.rows.RowPort.advance`."""
        return None if self._port.advance is None else self._advance

    def reset(self, row: int, masks: Masks | None = None, **kwargs: Any) -> None:
        """See :meth:`~envkit.core.rows.RowPort.reset`."""
        self._hand(self._down, row)
        self._port.reset(row, masks, **kwargs)
        self._hand([(root, theirs) for theirs, root in self._down], row)

    def step(self, row: int, masks: Masks | None = None) -> bool:
        """See :meth:`~envkit.core.rows.RowPort.step`."""
        self._hand(self._down, row)
        ended = self._port.step(row, masks)
        self._hand(self._up, row)
        return ended

    def _advance(self, start: int, stop: int) -> None:
        for row in range(start, stop):
            self._hand(self._down, row)
            self._port._advance(row, row + 1)
            self._hand(self._up, row)
            self._hand([(root, theirs) for theirs, root in self._down], row + 1)

    @staticmethod
    def _hand(pairs: list[tuple[Any, Any]], row: int) -> None:
        for destination, source in pairs:
            destination[row] = source[row]
