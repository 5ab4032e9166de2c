"""Many envs over several processes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase

from envkit.batched.base import makers, options_of_each, stacked
from envkit.batched.crew import Crew, Share
from envkit.batched.launch import check_start_method
from envkit.batched.parallel_rows import RESTARTED, CopiedRows, ParallelRows
from envkit.batched.told import ToldBatch
from envkit.core.env import EnvBase
from envkit.core.env_specs import ROLES
from envkit.core.masks import Masks, read_masks
from envkit.core.plan import Plan, path_of
from envkit.errors import SpecError, WorkerError
from envkit.specs import Categorical
from envkit.storage import Slab

__all__ = ["ParallelEnv"]

# What is known of the envs only once a worker has built them.
TOLD = ("_specs", "_batch_size", "_told", "allow_done_after_reset")
FAILURES = ("raise", "restart")


class ParallelEnv(ToldBatch):
    """Several envs of one kind in processes of their own, as a single env with one more batch dimension.

    It has the same data as a :class:`SerialEnv` of the same envs, byte for byte. Workers write rows of memory that all
    processes share; a step costs one wake-up for each worker. Envs with dynamic specs, or with data that is no tensor,
    are stacked step by step instead, and sent, which is slower (a warning says so once).

    Processes start when something is asked of the batch for the first time; specs are told by them, and this process
    builds no env. Functions may be lambdas, and the script that starts workers needs no guard around its main part.
    Attributes that the batch lacks are looked up in its envs and returned as a list; methods are called on all of them,
    and so is any function by :meth:`map`. ``reset(list_of_kwargs=[...])`` gives each env arguments of its own. An index
    gives a batch of some of the envs, on the same workers: to step it is to step those envs, and to close it is to
    close the whole. ``copy.deepcopy`` makes a batch with workers of its own, whose envs stand where these do; only a
    batch that has not started can be pickled.

    A worker computes in one thread: torch is told so, and OpenCV by ``OPENCV_FOR_THREADS_NUM``, unless that is set.

    Whatever goes wrong in a worker is raised here as a :class:`~envkit.WorkerError`: what its env raises, its death,
    and, with ``timeout``, its silence. All workers are gone by then; but the batch goes on after what methods raise, or
    functions given to :meth:`map`.

    Args:
        num_workers: number of processes.
        create_env_fn: makes an env; or a list of functions, one per env, whose envs have equal specs.
        num_envs: number of envs, each in the same process as its neighbours; one per process by default.
        create_env_kwargs: keyword arguments for ``create_env_fn``; one dict for all, or one for each.
        device: device of inputs and outputs.
        mp_start_method: ``"forkserver"`` (the default where there is one), ``"spawn"`` or ``"fork"``.
        timeout: seconds that a worker may take for a reset, a step, or to build its envs.
        on_worker_failure: ``"raise"``; or ``"restart"``, which builds the envs of a worker that fails anew. Their
            episodes are truncated: the step that was not made repeats the last observation, earns 0, and is marked by
            True under ``"worker_restarted"``.
        max_restarts: how often, over all workers, before the failure is raised after all.

    Raises:
        TypeError: ``create_env_fn`` is not callable (an env instance, say).
        ValueError: numbers that do not fit.
        SpecError: (at the start) the envs' specs differ, or a function cannot be sent to another process.
        WorkerError: (once started) a worker failed.
        SharedMemoryError: there is too little memory for the rows.

    Examples:
        >>> from envkit import GymEnv
        >>> env = ParallelEnv(2, lambda: GymEnv("CartPole-v1"), num_envs=4)
        >>> env.batch_size, env.gravity
        (torch.Size([4]), [9.8, 9.8, 9.8, 9.8])
        >>> env.rollout(10, break_when_any_done=False).batch_size
        torch.Size([4, 10])
        >>> env.close()
    """

    def __init__(
        self,
        num_workers: int,
        create_env_fn: Callable[..., EnvBase] | Sequence[Callable[..., EnvBase]],
        *,
        num_envs: int | None = None,
        create_env_kwargs: dict[str, Any] | Sequence[dict[str, Any]] | None = None,
        device: torch.device | str | int | None = None,
        mp_start_method: str | None = None,
        timeout: float | None = None,
        on_worker_failure: str = "raise",
        max_restarts: int = 10,
    ) -> None:
        name = "num_workers" if num_envs is None else "num_envs"
        count = num_workers if num_envs is None else num_envs
        made = makers(name, count, create_env_fn, create_env_kwargs)
        if not 1 <= num_workers <= count:
            raise ValueError(f"num_workers: expected 1 to {count}, the number of envs, found {num_workers}")
        if on_worker_failure not in FAILURES:
            raise ValueError(f"on_worker_failure: expected one of {FAILURES}, found {on_worker_failure!r}")
        if timeout is not None and not timeout > 0.0:
            raise ValueError(f"timeout: expected a positive number of seconds, or None, found {timeout}")
        if max_restarts < 0:
            raise ValueError(f"max_restarts: expected 0 or more, found {max_restarts}")
        super().__init__(device=device, batch_size=(count,), spec_locked=False)
        options = {"start_method": check_start_method(mp_start_method), "timeout": timeout}
        self._crew = Crew(made, num_workers, options, max_restarts if on_worker_failure == "restart" else None)
        self._await_start(list(range(count)))

    def _await_start(self, envs: list[int]) -> None:
        """Forgets what only the workers can tell; asking for it starts them."""
        self._envs, self._locked = envs, True
        for name in TOLD:
            self.__dict__.pop(name, None)

    # ------------------------------------------------------------- the start

    def start(self) -> None:
        """Starts the workers, if they are not running, and learns from them what their envs are like.

        Raises:
            ClosedEnvError: the batch was closed.
            WorkerError: a worker could not build its envs; all workers are gone.
        """
        self.assert_open()
        self._crew.start()
        if "_specs" in self.__dict__:
            return
        self._told = self._crew.told(self._envs)
        first = self._told[0]
        self._batch_size = torch.Size((len(self._envs), *first["batch_size"]))
        self._specs = {role: self._empty() for role in ROLES}
        self._believe()
        if self._crew.may_restart:
            if not self.fits_rows:
                self.close()
                raise SpecError(
                    f"on_worker_failure: expected 'raise' for envs whose data has no fixed layout (dynamic shapes, or "
                    f"no tensors), found 'restart' for {first['name']}"
                )
            self._mark_restarts()

    def _mark_restarts(self) -> None:
        """Adds to the specs what tells of a worker that was restarted."""
        flag = Categorical(2, shape=(*self._batch_size, 1), dtype=torch.bool, device=self._device)
        observations, done = self._specs["observation"].clone(), self._specs["done"].clone()
        observations[RESTARTED] = flag
        for key in list(done.keys(True, True)):
            done[(*path_of(key)[:-1], "truncated")] = done[key].clone()
        self.observation_spec, self.full_done_spec = observations, done

    def __getattr__(self, name: str) -> Any:
        if name in TOLD and "_envs" in self.__dict__:
            self.start()
            return self.__dict__[name]
        return super().__getattr__(name)

    def __getstate__(self) -> dict[str, Any]:
        if self._crew.started:
            raise TypeError(
                "ParallelEnv: expected one that has not started, to be pickled, found one with workers; pickle a "
                "function that makes it, or copy it by copy.deepcopy"
            )
        return dict(self.__dict__)

    def __deepcopy__(self, memo: dict[int, Any]) -> ParallelEnv:
        """A batch with workers of its own, whose envs stand where these do."""
        twin = memo[id(self)] = object.__new__(type(self))
        twin.__dict__.update(copy.deepcopy({k: v for k, v in self.__dict__.items() if k != "_crew"}, memo))
        twin._crew = self._crew.twin()
        if self._crew.started:
            twin.restore(self.snapshot())
        return twin

    # ----------------------------------------------------------- properties

    @property
    def keeps_state(self) -> bool:
        """See :attr:`~envkit.EnvBase.keeps_state`."""
        return self._trusted and self._all_say("keeps_state")

    def _read_by_steps(self, plan: Plan) -> list[NestedKey]:
        # A step that is not made repeats them.
        return plan.observation_keys if self._crew.may_restart else super()._read_by_steps(plan)

    def _set_nonfinite(self, mode: str) -> None:
        self._crew.set_nonfinite(self._envs, mode)

    def _describe_element(self, index: list[int]) -> str:
        (share,) = self._crew.shares([self._envs[index[0]]])
        return f"env {index[0]} of worker {share.worker}, index {index[1:]}"

    @property
    def num_workers(self) -> int:
        """Number of processes."""
        return self._crew.workers

    @property
    def restarts(self) -> int:
        """How many times a worker was restarted."""
        return self._crew.restarts

    def map(self, function: Callable[..., Any], *given: Sequence[Any]) -> list[Any]:
        """What ``function(env, ...)`` returns for each env, called in its process; all processes work at a time.

        Args:
            function: called with an env, and with its element of each sequence in ``given``; it may be a lambda.
            *given: sequences with one element for each env.

        Raises:
            WorkerError: it raised for one of the envs (its exception is the ``__cause__``, and the batch goes on), or
                a worker is gone.
        """
        rows = [own for _, *own in zip(self._envs, *given, strict=True)]

        def part_of(share: Share) -> tuple:
            return share.envs, function, [rows[i] for i in share.positions]

        return self._in_order(self._crew.ask(self._envs, "map", part_of, fatal=False))

    def _in_order(self, answers: list[list[Any]]) -> list[Any]:
        """What workers say of each of their envs, in the order of the envs."""
        out: list[Any] = [None] * len(self._envs)
        for share, values in zip(self._crew.shares(self._envs), answers, strict=True):
            for position, value in zip(share.positions, values, strict=True):
                out[position] = value
        return out

    def __getitem__(self, index: int | slice | Sequence[int]) -> ParallelEnv:
        self.start()
        part = object.__new__(ParallelEnv)
        EnvBase.__init__(part, device=self._device, batch_size=(1,), spec_locked=False)
        part._crew = self._crew
        part._await_start([self._envs[i] for i in self._positions(index)])
        part._runtime.started = self._runtime.started
        return part

    # ------------------------------------------------------------- the rows

    def _slabs(self, plan: Plan, rows: int, device: torch.device | None) -> tuple[Slab, Slab]:
        if device not in (None, torch.device("cpu")) or not self.fits_rows:
            return super()._slabs(plan, rows, device)
        return self._crew.slabs(plan, tuple(self._envs), rows)

    def _native_rows(self, root: Slab, following: Slab) -> ParallelRows | CopiedRows:
        if root.home is not None and root.home is following.home and root.home.envs == tuple(self._envs):
            return ParallelRows(self._crew, self.plan, root, following)
        return CopiedRows(self._crew, self.plan, tuple(self._envs), root, following)

    def _reset_apart(
        self, tensordict: TensorDictBase | None, list_of_kwargs: Sequence[dict] | None = None, **kwargs: Any
    ) -> TensorDictBase:
        self._crew.warn_of_sending(self)
        options = options_of_each(len(self), list_of_kwargs, kwargs)
        masks = None if tensordict is None else read_masks(tensordict, self.plan, "_reset")
        parts = None if tensordict is None else tensordict.exclude(*(masks or {})).unbind(0)

        def part_of(share: Share) -> tuple:
            own = None if parts is None else [parts[i] for i in share.positions]
            own_kwargs = {"list_of_kwargs": [options[i] for i in share.positions]}
            return share.envs, own, _rows_of(masks, share.positions), own_kwargs

        outs = self._crew.ask(self._envs, "reset_apart", part_of, phase="reset", again=True)
        self._crew.begun(self._envs, masks)
        return self._together(outs, masks)

    def _step_apart(self, tensordict: TensorDictBase, masks: Masks | None) -> TensorDictBase:
        self._crew.warn_of_sending(self)
        parts = tensordict.exclude(*(masks or {})).unbind(0)

        def part_of(share: Share) -> tuple:
            return share.envs, [parts[i] for i in share.positions], _rows_of(masks, share.positions)

        return self._together(self._crew.ask(self._envs, "step_apart", part_of, phase="step"))

    def _together(self, outs: list[list[TensorDictBase]], masks: Masks | None = None) -> TensorDictBase:
        out = stacked(self._in_order(outs), self.fits_rows)
        if self._crew.may_restart:
            out.set(RESTARTED, self.observation_spec[RESTARTED].zero())
            self._crew.last.keep(self._envs, self.plan, out.get, masks)
        return out

    def _drawn(self, parts: list[TensorDictBase | None]) -> list[TensorDictBase]:
        outs = self._crew.ask(
            self._envs, "rand_action", lambda share: (share.envs, [parts[i] for i in share.positions])
        )
        return self._in_order(outs)

    # ------------------------------------------------------- everything else

    def set_seed(self, seed: int | None, static_seed: bool = False) -> int | None:
        """Seeds the first env with ``seed``, each other with what its neighbour returned; returns the last one's."""
        super().set_seed(seed, static_seed)
        return self._crew.seed(self._envs, seed, static_seed)

    def snapshot(self) -> Any:
        """See :meth:`~envkit.EnvBase.snapshot`: those of all envs."""
        try:
            return super().snapshot()
        except WorkerError as error:
            if error.remote_type is None:  # it is gone
                raise
            first = str(error).splitlines()[0]
            raise TypeError(f"snapshot of ParallelEnv: expected envs that can be copied and sent; {first}") from error

    def _restore_each(self, snapshots: list[Any]) -> None:
        self._crew.last.forget(self._envs)
        self._crew.ask(self._envs, "restore", lambda share: (share.envs, [snapshots[i] for i in share.positions]))

    def close(self, seconds: float = 5.0) -> None:
        """Ends all workers within ``seconds``; never raises, may be called again."""
        self._crew.close(seconds)
        super().close()

    def __repr__(self) -> str:
        where = f"over {self._crew.workers} workers"
        if "_specs" not in self.__dict__:
            return f"ParallelEnv({len(self._envs)} envs {where}, not started)"
        return f"ParallelEnv({len(self._envs)} x {self._told[0]['name']} {where}, batch_size={list(self.batch_size)})"


def _rows_of(masks: Masks | None, positions: list[int]) -> Masks | None:
    return None if masks is None else {key: mask[positions] for key, mask in masks.items()}
