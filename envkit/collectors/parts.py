"""Collectors that make up one: what each is told, and how their batches are put together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from tensordict import LazyStackedTensorDict, TensorDictBase

from envkit.collectors.options import CollectorOptions
from envkit.collectors.shared_batch import named
from envkit.core.env import EnvBase

__all__ = ["joined", "part_functions", "part_options", "with_rows"]


def part_functions(name: str, create_env_fn: Any, count: int | None, *, envs: bool = False) -> list[Any]:
    """A function that makes an env for each of several collectors.

    Args:
        name: what the number of collectors is called.
        create_env_fn: one function for all, or a list of them.
        count: the number; by default that of the functions.
        envs: whether envs may stand for functions, for their copies to be used.

    Raises:
        ValueError: as many functions as collectors are needed, or none are.
        TypeError: something else.
    """
    functions = (
        list(create_env_fn)
        if isinstance(create_env_fn, (list, tuple))
        else [create_env_fn] * (1 if count is None else count)
    )
    if not functions or (count is not None and len(functions) != count):
        raise ValueError(
            f"{name}: expected a positive number with as many functions, found {count} for {len(functions)} functions"
        )
    for function in functions:
        if isinstance(function, EnvBase) and envs:
            continue
        if isinstance(function, EnvBase) or not callable(function):
            raise TypeError(f"create_env_fn: expected a function that makes an env, found {type(function).__name__}")
    return functions


def part_options(options: CollectorOptions, parts: int, *, together: bool) -> CollectorOptions:
    """The options of one of several collectors; what is done to a batch once it is whole is left to whoever has it.

    Args:
        options: those of all collectors together.
        parts: the number of collectors.
        together: whether a batch is of all of them, each with its share, rather than of one.

    Raises:
        ValueError: a batch cannot be shared out.

    Examples:
        >>> options = CollectorOptions(frames_per_batch=60, total_frames=600, init_random_frames=100, split_trajs=True)
        >>> part = part_options(options, 3, together=True)
        >>> part.frames_per_batch, part.total_frames, part.init_random_frames, part.split_trajs
        (20, -1, 34, False)
    """
    if together and options.frames_per_batch % parts:
        raise ValueError(
            f"frames_per_batch: expected a multiple of the {parts} collectors, found {options.frames_per_batch}"
        )
    return replace(
        options,
        frames_per_batch=options.frames_per_batch // parts if together else options.frames_per_batch,
        total_frames=-1,
        init_random_frames=-(-options.random_frames // parts),
        storing_device=None,
        return_same_td=False,
        split_trajs=False,
        postproc=None,
        replay_buffer=None,
        extend_buffer=True,
    )


def with_rows(batch: TensorDictBase) -> TensorDictBase:
    """A collector's batch, ``[*envs, time]``, with a first dimension of 1 if it is of a single env."""
    return named(batch.unsqueeze(0)) if batch.ndim == 1 else batch


def joined(batches: list[TensorDictBase]) -> TensorDictBase:
    """Batches with the same sizes but the first, ``[rows, ..., time]``, one after the other.

    Examples:
        >>> from tensordict import TensorDict
        >>> batches = [TensorDict({"x": torch.full((1, 2), i)}, [1, 2]) for i in range(3)]
        >>> joined(batches)["x"].tolist()
        [[0, 0], [1, 1], [2, 2]]
    """
    if any(isinstance(batch, LazyStackedTensorDict) for batch in batches):
        return named(LazyStackedTensorDict.lazy_stack([row for batch in batches for row in batch.unbind(0)], 0))
    return named(torch.cat(batches, 0))  # type: ignore[arg-type]
