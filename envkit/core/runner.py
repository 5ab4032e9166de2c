"""The loop that rollouts and collectors share."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from tensordict import LazyStackedTensorDict, NestedKey, TensorDictBase, is_leaf_nontensor

from envkit.core.inlined import Entries, on_entries
from envkit.core.loop import Loop
from envkit.core.masks import Masks, any_true
from envkit.core.plan import path_of
from envkit.core.rows import RowPort
from envkit.core.values import check_rows, check_values
from envkit.errors import PolicyError
from envkit.storage import peek, put_row

__all__ = ["Runner"]

# Random actions are drawn for so many rows at once, or fewer where they would not stay in the processor's cache.
RANDOM_BLOCK, RANDOM_NUMBERS = 256, 1 << 16


class Runner(Loop):
    """Steps one env with one policy, row after row, into a pair of slabs.

    The root slab has one row more than the following one: the row from which the next step would start.
    """

    def __init__(self, *arguments: Any) -> None:
        self._memory: list[NestedKey] = []
        self._extras: dict[NestedKey, Any] = {}
        self._forget()
        super().__init__(*arguments)

    def _forget(self) -> None:
        # Keys the policy writes, found at its first call; those it also reads pass from row to row.
        self._written: list[NestedKey] | None = None
        self._read: Callable[[int], TensorDictBase] | None = None
        self._inlined: Callable[[Entries], None] | None = None

    def follow(self, policy: Any) -> None:
        """See :meth:`Loop.follow <envkit.core.loop.Loop.follow>`."""
        super().follow(policy)
        self._forget()

    # ------------------------------------------------------------------- rows

    def open(self, rows: int) -> None:
        """Takes fresh slabs of ``rows`` rows, of which the first starts where the last run ended."""
        self.env.assert_open()
        last = (self.root, self.rows) if self.rows else None
        self._allocate(rows)
        if last is not None:
            root, row = last
            for key, column in self.root.columns.items():
                column[0] = root.columns[key][row]
        self._bind()

    def grow(self, rows: int) -> None:
        """Makes room for ``rows`` rows, keeping what is recorded."""
        old_root, old_following, used = self.root, self.following, self.rows
        self._allocate(rows)
        for new, old, count in ((self.root, old_root, used + 1), (self.following, old_following, used)):
            for key, column in new.columns.items():
                column[:count] = old.columns[key][:count]  # type: ignore[assignment]
        self._bind()

    def _allocate(self, rows: int) -> None:
        self.root, self.following = self.env._slabs(self.plan, rows, self.env.device)
        self.rows = rows
        for key, value in self._extras.items():
            self._add_column(key, value)

    def _bind(self) -> None:
        """Works out everything that depends on where the rows are."""
        plan, root, following = self.plan, self.root, self.following
        self._port: RowPort = self.env._row_port(plan, root, following)
        answers = [path_of(key)[1:] for key in self._extras if path_of(key)[0] == "next"]
        kept = [path[0] if len(path) == 1 else path for path in answers]
        shared = [following.arrays[key] for key in kept if key in plan.observation_keys]
        if shared:
            self._port = _KeepsAnswers(self._port, shared)
        # Destination and source of what a step hands on. Done flags are not among it: rows start out as zeros, and a
        # row from which a step is taken is not done - unless a group above, still going on, keeps a done one from its
        # reset.
        carried = plan.carried if plan.groups_apart else [*plan.carried, *plan.done_keys]
        self._carry = [(root.arrays[key], following.arrays[key]) for key in carried]
        self._carry_done = [(root.arrays[key], following.arrays[key]) for key in plan.done_keys]
        ours = [(root.arrays[key], root.arrays[key]) for key in (*plan.kept, *self._memory)]
        ours += [
            (root.arrays[path[0] if len(path) == 1 else path], following.arrays[path[0] if len(path) == 1 else path])
            for path in (path_of(key)[1:] for key in self._extras if path_of(key)[0] == "next")
        ]
        self._carry += ours
        flags: list[tuple[NestedKey, Any]] = [
            (group.reset, following.columns[group.done]) for group in plan.done_groups
        ]
        self._done = flags
        self._resets_whole = self.env.keeps_state and plan.batch_size.numel() == 1 and len(self._done) == 1 and not ours
        # What the port carries over by itself is all there is, unless states or a policy's memory are added to it.
        self._advance = None if ours else self._port.advance
        self._read = None
        self._drawn = 0  # rows before this one have their random actions; a policy is asked at every row
        if self._written is not None:
            self._slots = [self._slot(key) for key in self._written]
            self._inlined = self._inline(self._written)

    def _slot(self, key: NestedKey) -> tuple[NestedKey, Any, tuple[int, ...] | None]:
        """Where the policy's entry goes: the column's array, and the shape of one row of it, if all have one."""
        path = path_of(key)
        slab, path = (self.following, path[1:]) if path[0] == "next" else (self.root, path)
        array = slab.arrays[path[0] if len(path) == 1 else path]
        return key, array, None if isinstance(array, list) else tuple(array.shape[1:])

    def _add_column(self, key: NestedKey, value: Any) -> None:
        """A column for something only the policy knows of; under ``"next"``, one in each slab."""
        path = path_of(key)
        slabs = [(self.root, self.rows + 1)]
        if path[0] == "next":
            path, slabs = path[1:], [*slabs, (self.following, self.rows)]
        name = path[0] if len(path) == 1 else path
        for slab, rows in slabs:
            if name in slab.columns:
                continue  # the env has such an entry, too
            if isinstance(value, torch.Tensor):
                slab.add(name, torch.zeros((rows, *value.shape), dtype=value.dtype, device=slab.device or value.device))
            else:
                slab.add(name, [None] * rows)

    # -------------------------------------------------------------- beginning

    def reset(self) -> None:
        """Resets the env into row 0."""
        self._port.reset(0)
        self._check_reset(0)

    def start_from(self, tensordict: TensorDictBase) -> None:
        """Takes the content of ``tensordict`` for row 0."""
        for key in (*self.plan.observation_keys, *self.plan.done_keys, *self.plan.state_keys):
            if tensordict.get(key, None) is None:
                raise KeyError(
                    f"{key!r} is missing from the TensorDict to start from: found {sorted(map(str, tensordict.keys()))}"
                )
            self.root.writer([key])(0, tensordict)
        memory = {key: tensordict.get(key, None) for key in self.reads or () if key not in self.root.columns}
        for key, value in memory.items():
            if value is not None:
                self._extras[key] = value
                self._memory.append(key)
                self._add_column(key, value)
                self.root.writer([key])(0, tensordict)
        if self._memory:
            self._bind()

    def _check_reset(self, row: int) -> None:
        runtime = self.env._runtime
        runtime.started = True
        if not runtime.checked_reset:
            keys = self.plan.observation_keys
            check_values(self.env, self.root.reader(keys)(row), keys, "_reset")
            runtime.checked_reset = True

    # ------------------------------------------------------------------- loop

    def run(
        self,
        start: int,
        stop: int,
        *,
        until_done: bool = False,
        last: bool = True,
        each: Callable[[int], None] | None = None,
    ) -> int:
        """Steps rows ``start`` to ``stop``, resetting what is done in between.

        Args:
            start: the first row; its root must hold an episode's data.
            stop: one past the last row.
            until_done: return after the first step at which anything is done.
            last: whether the row after the last one is prepared, so that another run can go on from there.
            each: called with the index of every row after which the run goes on.

        Returns:
            One past the last row that was stepped.
        """
        act = self._draw if self.policy is None else self._ask
        step, reset, whole = self._port.step, self._port.reset, self._resets_whole
        unchecked, between = not self.env._runtime.checked_step, until_done or each is not None
        advance = None if unchecked or between else self._advance
        with torch.no_grad():
            following = start
            while following < stop:
                row = following
                if row >= self._drawn:
                    act(row, stop)
                    step, reset, whole = self._port.step, self._port.reset, self._resets_whole
                    advance = None if unchecked or between else self._advance
                if advance is not None and (last or row + 1 < stop):
                    # Actions that are drawn beforehand are handed over together.
                    following = min(max(row + 1, self._drawn), stop if last else stop - 1)
                    advance(row, following)
                    continue
                ended = step(row)
                if unchecked:
                    self._check_step(row)
                    unchecked = False
                    advance = None if between else self._advance
                following = row + 1
                if ended and until_done:
                    return following
                if following == stop and not last:
                    return following
                if each is not None:
                    each(row)
                if ended and whole:
                    reset(following)
                    continue
                for destination, source in self._carry:
                    destination[following] = source[row]
                if ended:
                    reset(following, {key: column[row] for key, column in self._done})
        return stop

    def run_all(self, start: int, stop: int, *, last: bool = True, each: Callable[[int], None] | None = None) -> int:
        """Steps rows ``start`` to ``stop`` without resets: what is done is skipped, and its last data stands.

        Returns:
            One past the last row that was stepped; fewer than ``stop`` once everything is done.
        """
        act = self._draw if self.policy is None else self._ask
        with torch.no_grad():
            for row in range(start, stop):
                if row >= self._drawn:
                    act(row, stop)
                masks = {} if row == 0 else self._undone(row - 1)
                if any(not bool(mask.all()) for mask in masks.values()):
                    self._port.step(row, masks)
                else:
                    self._port.step(row)
                self._check_step(row)
                following = row + 1
                if not any_true(self._undone(row)) or (following == stop and not last):
                    return following
                if each is not None:
                    each(row)
                for destination, source in (*self._carry, *self._carry_done):
                    destination[following] = source[row]
        return stop

    def proceed(self, row: int) -> None:
        """See :meth:`Loop.proceed <envkit.core.loop.Loop.proceed>`."""
        with torch.no_grad():
            for destination, source in self._carry:
                destination[row + 1] = source[row]
            if self.ended(row):
                self._port.reset(row + 1, self._flags(row))

    def _flags(self, row: int) -> dict[NestedKey, torch.Tensor]:
        return {key: column[row] for key, column in self._done}

    def _check_step(self, row: int) -> None:
        runtime = self.env._runtime
        if not runtime.checked_step:
            keys = [*self.plan.observation_keys, *self.plan.reward_keys]
            check_values(self.env, self.following.reader(keys)(row), keys, "_step")
            runtime.checked_step = True

    def _draw(self, row: int, stop: int) -> None:
        """Random actions for many rows at once."""
        leaves = {key: self.plan.root_spec[key] for key in self.plan.action_keys}
        largest = max((leaf.shape.numel() for leaf in leaves.values()), default=1)
        count = max(1, min(RANDOM_BLOCK, stop - row, RANDOM_NUMBERS // max(1, largest)))
        for key, leaf in leaves.items():
            drawn = leaf.rand((count,), generator=self.env._runtime.generator)
            column: Any = self.root.columns[key]
            column[row : row + count] = drawn.unbind(0) if isinstance(column, list) else drawn
        self._drawn = row + count

    def _ask(self, row: int, stop: int) -> None:
        """The policy's action, and what else it writes, for one row."""
        if self._read is None:
            self._seen = self._visible()
            self._read = self.root.viewer(self._seen)
        given = self._read(row)
        if self._inlined is not None:
            out: Any = {key: peek(given, key) for key in self._seen}
            self._inlined(out)
        else:
            out = self._answer(given)
        for key, array, shape in self._slots:
            value = out.get(key, None)
            if value is None:
                raise PolicyError(f"the policy wrote no {key!r} this time; it did at its first call")
            if shape is None or not isinstance(value, torch.Tensor):
                put_row(array, row, value)
                continue
            if value.shape != shape:
                raise PolicyError(
                    f"{key!r} written by the policy: expected shape {list(shape)}, found {list(value.shape)}"
                )
            try:
                array[row] = value.numpy()
            except (RuntimeError, TypeError):  # not on the CPU, or part of a graph
                put_row(array, row, value)

    def _answer(self, given: TensorDictBase) -> Any:
        """What the policy returns; the first time it is looked at closely."""
        if self.policy_device is not None:
            given = given.to(self.policy_device)
        known: dict[Any, Any] | None = None if self._written is not None else dict(_leaves(given))
        out = self.policy(given)  # type: ignore[misc]
        if out is None:
            out = given
        if known is not None:
            self._first_answer(out, known)
        return out

    def _inline(self, written: list[NestedKey]) -> Callable[[Entries], None] | None:
        """The policy without TensorDicts, if it is one that can do so and all is tensors on the CPU.

        It is asked for whenever rows are bound, and so for each batch: its parts may have been exchanged.
        """
        seen, devices = self._visible(), (self.root.device, self.policy_device)
        flat = all(isinstance(self.root.columns[key], torch.Tensor) for key in seen)
        flat = flat and not any(shape is None for _, _, shape in self._slots)
        if not flat or any(device is not None and device.type != "cpu" for device in devices):
            return None
        run = on_entries(self.policy, seen)
        return run if set(written).issubset(getattr(self.policy, "out_keys", ())) else None

    def _visible(self) -> list[NestedKey]:
        """The entries of a row that the policy is shown: what it says it reads, or all that is no answer of its own."""
        hidden = (set(self.plan.action_keys) | set(self._extras)) - set(self._memory)
        keys = [key for key in self.root.columns if key not in hidden]
        if self.reads is not None:
            keys = [key for key in keys if key in self.reads] or keys
        return keys

    def _first_answer(self, out: TensorDictBase, known: dict[NestedKey, Any]) -> None:
        """Finds out what the policy writes, checks the action, and makes columns for the rest."""
        written: dict[Any, Any] = {key: value for key, value in _leaves(out) if value is not known.get(key)}
        for key in self.plan.action_keys:
            leaf, value = self.plan.root_spec[key], written.get(key)
            if value is None:
                raise PolicyError(
                    f"the policy wrote no {key!r}: expected {_layout(leaf)}, found only {sorted(map(str, written))}"
                )
            if not isinstance(value, torch.Tensor) or leaf.has_dynamic_shape:
                continue
            if value.shape != leaf.shape or not torch.can_cast(value.dtype, leaf.dtype):
                raise PolicyError(f"{key!r} written by the policy: expected {_layout(leaf)}, found {_layout(value)}")
        self._written = list(written)
        new = {key: value for key, value in written.items() if key not in self.root.columns}
        self._extras |= new
        self._memory = [key for key in self._extras if key in (self.reads or ())]
        for key, value in new.items():
            self._add_column(key, value)
        self._bind()

    # ---------------------------------------------------------------- results

    def step_at(self, row: int) -> TensorDictBase:
        """The data of the step of ``row``, over the rows' memory."""
        step = self.root.reader(self.root.columns)(row)
        return step.set("next", self.following.reader(self.following.columns)(row))

    def done(self, start: int, stop: int) -> list[torch.Tensor]:
        """See :meth:`Loop.done <envkit.core.loop.Loop.done>`; over the rows' memory."""
        return [column[start:stop] for _, column in self._done]

    def truncate(self, row: int, masks: Masks | None = None) -> None:
        """See :meth:`Loop.truncate <envkit.core.loop.Loop.truncate>`."""
        for group in self.plan.done_groups:
            if group.truncated is not None:
                truncated, done = (self.following.columns[key][row] for key in (group.truncated, group.done))
                over = ~done if masks is None else ~done & masks[group.reset]
                truncated |= over
                done |= over

    def onward(self) -> TensorDictBase:
        """See :meth:`Loop.onward <envkit.core.loop.Loop.onward>`; over the row's memory."""
        plan = self.plan
        keys = dict.fromkeys((*plan.observation_keys, *plan.done_keys, *plan.state_keys, *self._memory))
        return self.root.reader(keys)(self.rows)

    def tensordict(self, stop: int) -> TensorDictBase:
        """Rows up to ``stop``, of batch size ``(*env.batch_size, stop)`` with the last dimension named ``"time"``.

        Raises:
            NonFiniteError: the env returned NaN, or an infinity where its bounds are finite.
        """
        check_rows(self.env, self.root, self.following, stop)
        return self.view(stop)

    def view(self, stop: int) -> TensorDictBase:
        """As :meth:`tensordict`, whether there are steps in the rows yet or not; nothing is looked at."""
        dim = self.plan.batch_dims
        if self.root.loose or self.following.loose:
            before, after = self.root.reader(self.root.columns), self.following.reader(self.following.columns)
            rows = [before(row).set("next", after(row)) for row in range(stop)]
            out: TensorDictBase = LazyStackedTensorDict.lazy_stack(rows, dim)
        else:
            out = self.root.tensordict(stop, time_dim=dim)
            out.set("next", self.following.tensordict(stop, time_dim=dim))
        out.names = [*[None] * dim, "time"]
        return out


class _KeepsAnswers:
    """A row port whose steps leave alone what the policy has written under ``"next"``, where the env has an entry too.

    So a recurrent policy's memory goes on where the env (a primer, say) only starts it.
    """

    advance = None

    def __init__(self, port: RowPort, columns: Sequence[Any]) -> None:
        self._port, self._columns, self.reset = port, columns, port.reset

    def step(self, row: int, masks: Masks | None = None) -> bool:
        answers = [copy.copy(column[row]) for column in self._columns]
        ended = self._port.step(row) if masks is None else self._port.step(row, masks)
        for column, answer in zip(self._columns, answers, strict=True):
            column[row] = answer
        return ended


def _leaves(tensordict: TensorDictBase) -> Iterable[tuple[Any, Any]]:
    """All entries, strings and other objects among them."""
    return tensordict.items(True, True, is_leaf=is_leaf_nontensor)


def _layout(like: Any) -> str:
    return f"{like.dtype} of shape {list(like.shape)}"
