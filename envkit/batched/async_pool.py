"""Envs of a batch that are stepped each at its own pace."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from tensordict import LazyStackedTensorDict, TensorDictBase

from envkit.batched.async_batch import Known, SlotBatch
from envkit.batched.async_processes import ProcessSlots
from envkit.batched.async_slots import CLOSING, Answer, Desk, Order, Slots
from envkit.batched.async_threads import ThreadSlots
from envkit.batched.base import makers, stacked
from envkit.batched.equal_specs import refuse_unequal
from envkit.core.env import EnvBase
from envkit.errors import EnvDataError, PolicyError, SpecError

__all__ = ["AsyncEnvPool"]

INDEX = "env_index"
BACKENDS = ("threading", "multiprocessing")
STACKS: dict[str, Callable[[list[TensorDictBase]], TensorDictBase]] = {
    "dense": torch.stack,  # type: ignore[dict-item]
    "maybe_dense": LazyStackedTensorDict.maybe_dense_stack,
    "lazy": lambda parts: LazyStackedTensorDict.lazy_stack(parts, 0),
}


class AsyncEnvPool(SlotBatch):
    """Several envs of one kind, each at its own pace: whoever is ready is answered, and nobody waits for the slowest.

    Envs are sent data, and work on it beside the caller: in threads, or in processes. What they answer is called for,
    the first that are ready first::

        pool.async_reset_send()
        data = pool.async_reset_recv(min_get=2)  # two envs at least, and all others that are ready
        while ...:
            pool.async_step_and_maybe_reset_send(policy(data))
            done, data = pool.async_step_and_maybe_reset_recv(min_get=2)

    Which envs a TensorDict is of stands in it: answers carry the entry ``"env_index"``, int64 of their batch size, the
    number of each element's env, and what is sent goes to the envs that are named there, or else by the argument
    ``env_index``. Data that names none must be of all envs, in order. An env does one thing at a time: the next is sent
    when its answer was received. What is sent is copied, and answers are the caller's own.

    It is an ordinary env of batch size ``[n]``, too, whose ``reset``, ``step`` and ``rollout`` have the data of a
    :class:`~envkit.SerialEnv` of the same envs, byte for byte; the envs then work at the same time, and all are waited
    for. (Envs that draw from a random generator they have in common are an exception in threads: who draws first is
    open.)

    Whatever goes wrong in an env is raised here as a :class:`~envkit.WorkerError` with its traceback, and its own
    exception as the cause. Answers of the others are not lost, and the env may be reset, unless its process is gone.

    A pool is used by one thread at a time. Attributes that it lacks are looked up in its envs and returned as a list;
    methods are called on all of them. An index gives a pool of some of the envs, which are the same envs.

    Args:
        env_makers: functions that make the envs, whose specs are equal.
        backend: ``"threading"``: in threads of this process, for envs that wait (for a server, say), or work outside
            of Python. ``"multiprocessing"``: in processes of their own; all data is sent over.
        stack: how answers are put together: ``"dense"`` wants data of one layout, ``"lazy"`` keeps the parts,
            ``"maybe_dense"`` does what is possible.
        create_env_kwargs: keyword arguments for the functions; one dict for all, or one for each.
        device: device of inputs and outputs.
        timeout: seconds that an env may take to be made, for a reset or a step. A process that takes longer is ended; a
            thread is left alone, and its env is of no use until it comes back.
        mp_start_method: of processes: ``"forkserver"`` (the default where there is one), ``"spawn"`` or ``"fork"``.

    Raises:
        TypeError: a maker is not callable (an env instance, say).
        ValueError: an unknown backend or stack; no makers; a timeout that is no positive number.
        SpecError: the envs' specs differ, or a maker cannot be sent to another process.
        WorkerError: an env could not be made, or (when run) has failed.

    Examples:
        >>> from envkit import GymEnv
        >>> pool = AsyncEnvPool([lambda: GymEnv("CartPole-v1")] * 3)
        >>> pool.async_reset_send()
        >>> data = pool.async_reset_recv(min_get=3)
        >>> sorted(data["env_index"].tolist())
        [0, 1, 2]
        >>> pool.async_step_send(pool.rand_action(data)[:2])
        >>> pool.async_step_recv(min_get=2)["next", "observation"].shape
        torch.Size([2, 4])
        >>> pool.rollout(5).batch_size
        torch.Size([3, 5])
        >>> pool.close()
    """

    def __init__(
        self,
        env_makers: Sequence[Callable[..., EnvBase]],
        *,
        backend: str = "threading",
        stack: str = "dense",
        create_env_kwargs: dict[str, Any] | Sequence[dict[str, Any]] | None = None,
        device: torch.device | str | int | None = None,
        timeout: float = 600.0,
        mp_start_method: str | None = None,
    ) -> None:
        functions = list(env_makers)
        made = makers("env_makers", len(functions), functions, create_env_kwargs)
        _choose("backend", backend, BACKENDS)
        _choose("stack", stack, STACKS)
        if not 0 < timeout < float("inf"):
            raise ValueError(f"timeout: expected a positive number of seconds, found {timeout}")
        self.__dict__["_known"] = Known([getattr(function, "__name__", repr(function)) for function in functions])
        if backend == "threading":
            slots: Slots = ThreadSlots(made, timeout, self._known.of)
        else:
            slots = ProcessSlots(made, timeout, self._known.of, mp_start_method)
        self._known.names = [told["name"] for told in slots.descriptions]
        super().__init__(device=device, batch_size=(len(made), *slots.descriptions[0]["batch_size"]))
        self.backend, self._stack = backend, stack
        try:
            refuse_unequal("AsyncEnvPool", {i: told["specs"] for i, told in enumerate(slots.descriptions)})
        except SpecError:
            slots.close(CLOSING)
            raise
        self._take_seats(Desk(slots, timeout), list(range(len(made))))
        self._known.action_keys = self.action_keys

    def __getitem__(self, index: int | slice | Sequence[int]) -> AsyncEnvPool:
        chosen = self._positions(index)
        part = object.__new__(AsyncEnvPool)
        EnvBase.__init__(part, device=self._device, batch_size=(len(chosen), *self.batch_size[1:]))
        part._known, part.backend, part._stack = self._known, self.backend, self.stack
        part._take_seats(self._desk, [self._slots[position] for position in chosen])
        part.set_spec_lock_(True)
        return part

    @property
    def stack(self) -> str:
        """How answers are put together: ``"dense"``, ``"maybe_dense"`` or ``"lazy"``."""
        return self._stack

    @stack.setter
    def stack(self, value: str) -> None:
        _choose("stack", value, STACKS)
        self._stack = value

    # -------------------------------------------------------- at their own pace

    @property
    def pending(self) -> list[int]:
        """Numbers of the envs that were sent something and whose answers were not received yet."""
        busy = self._desk.outstanding()
        return [position for position, slot in enumerate(self._slots) if slot in busy]

    def async_reset_send(
        self, tensordict: TensorDictBase | None = None, env_index: int | Sequence[int] | None = None
    ) -> None:
        """Has envs start new episodes, and returns at once.

        Args:
            tensordict: what the envs' ``reset`` is given, for the envs it names; None gives them nothing.
            env_index: numbers of the envs, if ``tensordict`` does not name them. Without both it is all envs.

        Raises:
            RuntimeError: an answer of one of the envs was not received yet.
            ValueError: numbers that are no envs, or not as many as elements.
            EnvDataError: nothing says which envs are meant.
        """
        self._send("reset", *self._addressed(tensordict, env_index))

    def async_reset_recv(self, min_get: int = 1) -> TensorDictBase:
        """The first data of new episodes, of ``min_get`` envs at least and of all that are ready.

        Raises:
            ValueError: fewer answers are to come.
            WorkerError: an env failed; the answers of the others are still there.
        """
        return self._received("reset", min_get)[0]

    def async_step_send(self, tensordict: TensorDictBase, env_index: int | Sequence[int] | None = None) -> None:
        """Has envs execute the actions in ``tensordict``, and returns at once; see :meth:`async_reset_send`.

        Raises:
            PolicyError: an action is missing, or misshapen.
        """
        self._send("step", *self._addressed(tensordict, env_index))

    def async_step_recv(self, min_get: int = 1) -> TensorDictBase:
        """What was sent to envs, with what came of it under ``"next"``; see :meth:`async_reset_recv`."""
        return self._received("step", min_get)[0]

    def async_step_and_maybe_reset_send(
        self, tensordict: TensorDictBase, env_index: int | Sequence[int] | None = None
    ) -> None:
        """Has envs execute actions, and start a new episode where one is over; see :meth:`async_step_send`."""
        self._send("step_and_maybe_reset", *self._addressed(tensordict, env_index))

    def async_step_and_maybe_reset_recv(self, min_get: int = 1) -> tuple[TensorDictBase, TensorDictBase]:
        """What was sent, with ``"next"``, and the data to step from next; see :meth:`async_reset_recv`."""
        step, following = self._received("step_and_maybe_reset", min_get)
        return step, following

    def _addressed(
        self, tensordict: TensorDictBase | None, env_index: int | Sequence[int] | None
    ) -> tuple[list[int], TensorDictBase | None]:
        """Numbers of the envs that are meant, and the data of these."""
        self.assert_open()
        chosen = list(range(len(self)))
        if isinstance(env_index, int):
            chosen, tensordict = [env_index], None if tensordict is None else tensordict.unsqueeze(0)
        elif env_index is not None:
            chosen = [int(number) for number in env_index]
        elif tensordict is not None:
            named = tensordict.get(INDEX, None)
            if named is not None:
                chosen = named.reshape(len(named), -1)[:, 0].tolist()
            elif tensordict.batch_size != self.batch_size:
                raise EnvDataError(
                    f"{INDEX!r} is missing: expected it in the TensorDict, or as an argument, or data of all envs, of "
                    f"batch size {list(self.batch_size)}; found {list(tensordict.batch_size)}"
                )
        if len(set(chosen)) != len(chosen) or not set(chosen) <= set(range(len(self))) or not chosen:
            raise ValueError(f"{INDEX}: expected different numbers from 0 to {len(self) - 1}, found {chosen}")
        size = torch.Size((len(chosen), *self.batch_size[1:]))
        if tensordict is None:
            return chosen, None
        if tensordict.batch_size != size:
            raise ValueError(
                f"{INDEX}: expected data of batch size {list(size)} for {len(chosen)} envs, found "
                f"{list(tensordict.batch_size)}"
            )
        return chosen, tensordict

    def _send(self, kind: str, chosen: list[int], tensordict: TensorDictBase | None) -> None:
        if tensordict is not None:
            tensordict = tensordict.exclude(INDEX).clone()
        if kind != "reset":
            self._check_actions(tensordict)  # type: ignore[arg-type]
        parts = [None] * len(chosen) if tensordict is None else tensordict.unbind(0)
        function = functools.partial(_answer, kind)
        phase = "reset" if kind == "reset" else "step"
        orders = {self._slots[i]: Order(kind, function, (part,), phase) for i, part in zip(chosen, parts, strict=True)}
        self._desk.send(orders)
        self._known.sent.update(zip(orders, [None] * len(parts) if kind == "reset" else parts, strict=True))

    def _check_actions(self, tensordict: TensorDictBase) -> None:
        """Looks for the actions before envs are sent what they cannot use.

        Raises:
            PolicyError: one is missing, or misshapen.
        """
        for key in self.action_keys:
            leaf, value = self.full_action_spec[key], tensordict.get(key, None)
            shape = [len(tensordict), *leaf.shape[1:]]
            if value is None:
                keys = sorted(map(str, tensordict.keys(True, True)))
                raise PolicyError(f"{key!r} is missing: expected {leaf.dtype} of shape {shape}, found {keys}")
            if isinstance(value, torch.Tensor) and not leaf.has_dynamic_shape and list(value.shape) != shape:
                raise PolicyError(f"{key!r}: expected {leaf.dtype} of shape {shape}, found {list(value.shape)}")

    def _received(self, kind: str, count: int) -> list[TensorDictBase]:
        self.assert_open()
        answers = self._desk.receive(kind, self._slots, count)
        try:
            return self._put_together(answers)
        except RuntimeError as error:
            self._desk.put_back(answers)
            raise EnvDataError(
                f"answers of the envs {[self._slots.index(answer.slot) for answer in answers]}: expected data of one "
                f"layout for stack={self.stack!r}, found {error}; stack='maybe_dense' or 'lazy' puts up with others"
            ) from error

    def _put_together(self, answers: list[Answer]) -> list[TensorDictBase]:
        """The TensorDicts that envs answered with, as those of a batch, with the numbers of the envs."""
        for answer in answers:
            number = self._slots.index(answer.slot)
            for part in answer.value:
                part.set(INDEX, torch.full(part.batch_size, number, dtype=torch.int64, device=part.device))
        columns = zip(*(answer.value for answer in answers), strict=True)
        return [self._at_home(STACKS[self.stack](list(column))) for column in columns]

    # ------------------------------------------------------- everything else

    def rand_action(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        """See :meth:`~envkit.EnvBase.rand_action`; for the envs that ``tensordict`` is of, be it only some.

        Raises:
            ValueError: numbers that are no envs, or not as many as elements.
            EnvDataError: nothing says which envs are meant.
        """
        if tensordict is None:
            return super().rand_action()
        chosen, _ = self._addressed(tensordict, None)
        if self.draws_from_spec:
            drawn = self.full_action_spec[0].rand((len(chosen),), generator=self._runtime.generator)
        else:
            drawn = stacked(self._drawn_by(chosen, list(tensordict.unbind(0))), self.fits_rows)
        return tensordict.update(drawn)

    shutdown = SlotBatch.close

    def __repr__(self) -> str:
        name = self._told[0]["name"]
        return f"AsyncEnvPool({len(self)} x {name}, backend={self.backend!r}, batch_size={list(self.batch_size)})"


def _answer(kind: str, env: EnvBase, part: TensorDictBase | None) -> tuple[TensorDictBase, ...]:
    """What an env returns when it is sent a TensorDict."""
    if kind == "reset":
        return (env.reset(part),)
    return (env.step(part),) if kind == "step" else env.step_and_maybe_reset(part)  # type: ignore[arg-type]


def _choose(name: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise ValueError(f"{name}: expected one of {list(known)}, found {value!r}")
