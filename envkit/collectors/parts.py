"""Collectors that make up one: what each is told, and how their batches are put together."""

from __future__ import annotations

from dataclasses import replace

import torch
from tensordict import LazyStackedTensorDict, TensorDictBase

from envkit.collectors.options import CollectorOptions
from envkit.collectors.shared_batch import named

__all__ = ["joined", "part_options", "with_rows"]


def part_options(options: CollectorOptions, parts: int, frames_per_batch: int) -> CollectorOptions:
    """The options of one of several collectors; what is done to a batch once it is whole is left to whoever has it.

    Args:
        options: those of all collectors together.
        parts: the number of collectors.
        frames_per_batch: steps of one of them.

    Examples:
        >>> options = CollectorOptions(frames_per_batch=60, total_frames=600, init_random_frames=100, split_trajs=True)
        >>> part = part_options(options, 3, 20)
        >>> part.frames_per_batch, part.total_frames, part.init_random_frames, part.split_trajs
        (20, -1, 34, False)
    """
    return replace(
        options,
        frames_per_batch=frames_per_batch,
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
