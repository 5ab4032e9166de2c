"""What all batches of envs have in common, wherever their envs run."""

from __future__ import annotations

import functools
import inspect
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from tensordict import LazyStackedTensorDict, NestedKey, TensorDictBase

from envkit.batched.generators import generators_of
from envkit.core.env import EnvBase
from envkit.core.plan import Plan, path_of
from envkit.core.row_env import RowEnv
from envkit.core.values import MODES

__all__ = [
    "BatchedEnv",
    "makers",
    "most_lenient",
    "options_of_each",
    "restore_one",
    "seed_one",
    "set_nonfinite",
    "stacked",
    "together",
]


class BatchedEnv(RowEnv):
    """Base of batches of envs of one kind, which are seen as a single env with one more batch dimension.

    Attributes that the batch lacks are looked up in its envs and returned as a list; methods are called on each of
    them, and return a list of what they return. An assignment is to the batch; :meth:`map` reaches the envs.
    """

    @abstractmethod
    def map(self, function: Callable[..., Any], *given: Sequence[Any]) -> list[Any]:
        """What ``function(env, ...)`` returns for each env, called where the env lives.

        Args:
            function: called with an env, and with its element of each sequence in ``given``.
            *given: sequences with one element for each env.
        """

    @abstractmethod
    def __getitem__(self, index: int | slice | Sequence[int]) -> BatchedEnv:
        """Some of the envs, as a batch of their own: the same envs, not copies. An int gives a batch of one."""

    def __len__(self) -> int:
        return self.batch_size[0]

    @property
    def fits_rows(self) -> bool:
        """See :attr:`~envkit.EnvBase.fits_rows`; only data of one layout can be sliced by env."""
        return not self.has_dynamic_specs

    def _describe_element(self, index: list[int]) -> str:
        return f"env {index[0]}, index {index[1:]}"

    def _set_seed(self, seed: int | None) -> None:
        """The envs are seeded in :meth:`set_seed`, which chains them."""

    def rand_action(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        """See :meth:`~envkit.EnvBase.rand_action`; drawn by the envs if one of them has a way of its own."""
        if self.draws_from_spec:
            return super().rand_action(tensordict)
        drawn = self._drawn([None] * len(self) if tensordict is None else list(tensordict.unbind(0)))
        actions: TensorDictBase = torch.stack(drawn)  # type: ignore[assignment, arg-type]
        return actions if tensordict is None else tensordict.update(actions)

    @abstractmethod
    def _drawn(self, parts: list[TensorDictBase | None]) -> list[TensorDictBase]:
        """A random action of each env's own."""

    def set_seeds(self, seeds: Sequence[int | None]) -> None:
        """Seeds each env with its own number; those whose seed is None go on as they are."""
        self.map(_seed_if_told, seeds)

    def snapshot(self) -> Any:
        """See :meth:`~envkit.EnvBase.snapshot`: those of all envs."""
        return super().snapshot(), self.map(_snapshot)

    def restore(self, snapshot: Any) -> None:
        """See :meth:`~envkit.EnvBase.restore`."""
        own, inner = snapshot
        super().restore(own)
        self._restore_each(inner)

    def _restore_each(self, snapshots: list[Any]) -> None:
        self.map(restore_one, snapshots)

    def _simulation(self) -> dict[str, Any]:
        return {}

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("_"):
                raise
        found = self.map(functools.partial(_look_up, name=name))
        for kind, value in found:
            if kind == "missing":
                raise AttributeError(f"the envs of {self!r} have no {name!r}: {value}")
        if all(kind == "method" for kind, _ in found):
            return functools.partial(self._call_all, name)
        return [value for _, value in found]

    def _call_all(self, name: str, /, *args: Any, **kwargs: Any) -> list[Any]:
        return self.map(functools.partial(_call, name=name, args=args, kwargs=kwargs))

    def _positions(self, index: int | slice | Sequence[int]) -> list[int]:
        if self._runtime.auto_reset is not None:
            raise TypeError(
                f"{type(self).__name__}: expected a batch that leaves it to its envs whether they reset themselves, to "
                f"take some of them, found auto_reset=True; give it to the envs"
            )
        count = len(self)
        if isinstance(index, slice):
            chosen = list(range(count))[index]
        else:
            chosen = [range(count)[i] for i in ([index] if isinstance(index, int) else index)]
        if not chosen or len(set(chosen)) < len(chosen):
            raise IndexError(f"{type(self).__name__}: expected one or more of {count} envs, each once, found {index}")
        return chosen


def _look_up(env: EnvBase, name: str) -> tuple[str, Any]:
    """An attribute of an env, or the news that it is a method, which need not be sent, or missing."""
    try:
        value = getattr(env, name)
    except AttributeError as error:
        return "missing", str(error)
    if inspect.isroutine(value) or isinstance(value, functools.partial):
        return "method", None
    return "value", value


def _call(env: EnvBase, name: str, args: tuple, kwargs: dict[str, Any]) -> Any:
    return getattr(env, name)(*args, **kwargs)


def set_nonfinite(env: EnvBase, mode: str) -> None:
    """Sets the option of that name of an env."""
    env.nonfinite = mode


def most_lenient(modes: Iterable[str]) -> str:
    """That of some ways to deal with NaN which lets most through.

    Examples:
        >>> most_lenient(["error", "warn", "truncate"])
        'warn'
    """
    return max(modes, key=MODES.index)


def seed_one(env: EnvBase, seed: int | None, static_seed: bool = False) -> int | None:
    """Seeds an env of a batch, and the global generators as far as it sees them; returns the seed for the next."""
    return generators_of(env).seed(seed, functools.partial(env.set_seed, seed, static_seed))


def _seed_if_told(env: EnvBase, seed: int | None) -> None:
    if seed is not None:
        seed_one(env, seed)


def _snapshot(env: EnvBase) -> Any:
    return env.snapshot(), generators_of(env).snapshot()


def restore_one(env: EnvBase, snapshot: Any) -> None:
    """Puts an env of a batch back to where it was, and the global generators as far as it sees them."""
    own, generators = snapshot
    env.restore(own)
    generators_of(env).restore(generators)


def options_of_each(
    count: int, list_of_kwargs: Sequence[dict[str, Any]] | None, kwargs: dict[str, Any]
) -> list[dict[str, Any]]:
    """What the reset of each env is given by name: ``kwargs``, and on top its own.

    Raises:
        ValueError: ``list_of_kwargs`` has not one dict for each env.
    """
    if list_of_kwargs is None:
        return [kwargs] * count
    if len(list_of_kwargs) != count:
        raise ValueError(f"list_of_kwargs: expected one dict for each of {count} envs, found {len(list_of_kwargs)}")
    return [{**kwargs, **own} for own in list_of_kwargs]


def stacked(outs: list[TensorDictBase], one_layout: bool) -> TensorDictBase:
    """The data of the envs as that of the batch; lazily, where it has no layout in common."""
    return torch.stack(outs) if one_layout else LazyStackedTensorDict.lazy_stack(outs, 0)  # type: ignore[arg-type, return-value]


def together(outs: list[TensorDictBase], plan: Plan, keys: Sequence[NestedKey], one_layout: bool) -> TensorDictBase:
    """Entries of the envs' data as those of the batch.

    Groups of unequal elements are taken whole, with what only some of the elements have.
    """
    groups = [path_of(group) for group in plan.unequal]
    keys = [key for key in keys if not any(path_of(key)[: len(group)] == group for group in groups)]
    parts = [out.select(*keys, *[group for group in groups if out.get(group, None) is not None]) for out in outs]
    return stacked(parts, one_layout)


def makers(
    name: str,
    count: int,
    create: Callable[..., EnvBase] | Sequence[Callable[..., EnvBase]],
    kwargs: dict[str, Any] | Sequence[dict[str, Any]] | None,
) -> list[tuple[Callable[..., EnvBase], dict[str, Any]]]:
    """For each env of a batch, the function that makes it and its arguments.

    Raises:
        ValueError: not as many functions or arguments as envs.
        TypeError: an env, say, in the place of a function, or of a number.
    """
    if not isinstance(count, int):
        raise TypeError(f"{name}: expected a number of envs, found {type(count).__name__}")
    several = isinstance(create, Sequence) and not isinstance(create, str)
    functions: list[Any] = list(create) if several else [create] * count  # type: ignore[arg-type]
    options = [kwargs or {}] * count if kwargs is None or isinstance(kwargs, dict) else list(kwargs)
    if count < 1 or len(functions) != count or len(options) != count:
        raise ValueError(
            f"{name}: expected a positive number with as many functions and kwargs, found {count} for "
            f"{len(functions)} functions and {len(options)} kwargs"
        )
    for function in functions:
        if isinstance(function, EnvBase) or not callable(function):
            raise TypeError(f"create_env_fn: expected a function that makes an env, found {type(function).__name__}")
    return list(zip(functions, options, strict=True))
