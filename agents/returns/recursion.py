"""The backward recursion that all returns share, and the layout of what it reads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["as_columns", "as_tensors", "carry_unless", "solve_recursion"]

# Rows at least this wide keep the processor busy: the recursion then runs step by step.
WIDE_ROW = 1536
NUMPY_DTYPES = (torch.float32, torch.float64)


def as_columns(owner: str, floats: Mapping[str, Tensor], flags: Mapping[str, Tensor]) -> tuple[Any, list[Any]]:
    """Check tensors of shape ``[*batch, T, 1]`` and hand them out as ``[*batch, T]`` arrays, without gradient.

    The floats are promoted to one dtype. An operation on small arrays costs numpy a third of what it costs torch,
    so arrays are those of numpy where it knows device and dtype.

    Returns:
        The module of the arrays, numpy or torch, and the arrays: floats first, in the order given. They share memory
        with the tensors.

    Raises:
        ValueError: if a shape differs from that of the first tensor or is not ``[*batch, T, 1]``, or a flag is not
            bool.
    """
    (first, leader), *_ = floats.items()
    shape = leader.shape
    if len(shape) < 2 or shape[-1] != 1:
        raise ValueError(f"{owner}: expected {first} of shape [*batch, T, 1], found {list(shape)}")
    for name, tensor in (*floats.items(), *flags.items()):
        if tensor.shape != shape:
            raise ValueError(f"{owner}: expected {name} of shape {list(shape)}, found {list(tensor.shape)}")
    for name, tensor in flags.items():
        if tensor.dtype is not torch.bool:
            raise ValueError(f"{owner}: expected {name} of dtype torch.bool, found {tensor.dtype}")
    dtype = leader.dtype
    for tensor in floats.values():
        if tensor.dtype != dtype:
            dtype = torch.promote_types(dtype, tensor.dtype)
    tensors = [tensor.detach().to(dtype) for tensor in floats.values()] + [tensor.detach() for tensor in flags.values()]
    if leader.device.type == "cpu" and dtype in NUMPY_DTYPES:
        return np, [tensor.numpy()[..., 0] for tensor in tensors]
    return torch, [tensor[..., 0] for tensor in tensors]


def as_tensors(*arrays: Any) -> tuple[Tensor, ...]:
    """Arrays ``[*batch, T]`` as tensors ``[*batch, T, 1]``, over the same memory."""
    return tuple(
        (torch.from_numpy(array) if isinstance(array, np.ndarray) else array).unsqueeze(-1) for array in arrays
    )


def carry_unless(xp: Any, flags: Any, value: float, like: Any) -> Any:
    """``value`` where a flag is not set, and 0 where it is; of the shape of the flags and the dtype of ``like``."""
    if xp is np:
        return np.multiply(~flags, like.dtype.type(value))  # half the time of filling and masking
    return (~flags).to(like.dtype) * value


def solve_recursion(xp: Any, delta: Any, carry: Any) -> None:
    """Turn ``delta`` into the solution of ``x_t = delta_t + carry_t * x_{t+1}``, ``x_T = 0``, in place.

    Args:
        xp: numpy or torch.
        delta: array ``[*batch, T]`` of ``xp``.
        carry: array of that shape; its content is lost.
    """
    if not math.prod(delta.shape):
        return
    time_first = xp.moveaxis(delta, -1, 0)
    # No copy if the memory is laid out by time, as that of a collector is.
    sums = _contiguous(xp, time_first)
    carries = _contiguous(xp, xp.moveaxis(carry, -1, 0))
    _solve_rows(xp, sums.reshape(len(sums), -1), carries.reshape(len(sums), -1))
    if sums is not time_first:
        time_first[:] = sums


def _solve_rows(xp: Any, delta: Any, carry: Any) -> None:
    """:func:`solve_recursion` on contiguous ``[T, rows]``.

    Short rows would leave the processor idle, so time is cut into ``C`` chunks of ``L`` steps. All chunks are
    solved side by side as if nothing followed them, and ``carry`` becomes the weight by which a step sees
    what does. Then the first steps of the chunks are put right, last chunk first, and from them all others.
    That is about ``3 L + 2 C`` operations on long rows, where the recursion has ``2 L C`` on short ones.
    """
    steps, rows = delta.shape
    if rows >= WIDE_ROW:
        _recur(list(delta), list(carry))
        return
    length = _chunk_length(steps)
    blocks = (steps // length, length, rows)
    # [L, C, rows]: what an operation touches is contiguous.
    local = _contiguous(xp, xp.swapaxes(delta.reshape(blocks), 0, 1))
    weight = _contiguous(xp, xp.swapaxes(carry.reshape(blocks), 0, 1))
    _recur(list(local), list(weight), accumulate=True)
    _recur(list(local[0]), list(weight[0]))
    local[1:, :-1] += weight[1:, :-1] * local[0, 1:]
    delta.reshape(blocks)[:] = xp.swapaxes(local, 0, 1)


def _recur(sums: list[Any], weights: list[Any], accumulate: bool = False) -> None:
    """Add to each row, last to first, its weight times the next row; multiply up the weights if asked."""
    for row in range(len(sums) - 2, -1, -1):
        sums[row] += weights[row] * sums[row + 1]
        if accumulate:
            weights[row] *= weights[row + 1]


def _contiguous(xp: Any, array: Any) -> Any:
    return np.ascontiguousarray(array) if xp is np else array.contiguous()


def _chunk_length(steps: int) -> int:
    """The divisor of ``steps`` next below the chunk length that costs the fewest operations."""
    length = max(1, math.isqrt(2 * steps // 3))
    while steps % length:
        length -= 1
    return length
