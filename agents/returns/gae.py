"""Generalised advantage estimation on tensors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["gae"]

# Rows at least this wide keep the processor busy: the recursion then runs step by step.
WIDE_ROW = 1536
NUMPY_DTYPES = (torch.float32, torch.float64)


def gae(
    reward: Tensor,
    value: Tensor,
    next_value: Tensor,
    done: Tensor,
    terminated: Tensor,
    *,
    gamma: float,
    lmbda: float,
) -> tuple[Tensor, Tensor]:
    """Return advantages and value targets of Schulman et al. 2016 (https://arxiv.org/abs/1506.02438, eq. 16).

    For each trajectory, from its last step backwards::

        delta_t     = reward_t + gamma * (1 - terminated_t) * next_value_t - value_t
        advantage_t = delta_t + gamma * lmbda * (1 - done_t) * advantage_{t+1}
        target_t    = advantage_t + value_t

    A terminated step has no future; a truncated one (done but not terminated) has, so its next value counts,
    but the recursion never crosses the end of an episode. Past the last step the advantage is 0.

    Args:
        reward: rewards ``r_t``, floating point, shape ``[*batch, T, 1]``: time is the last dimension but one.
        value: values of the observations before the steps, same shape.
        next_value: values of the true observations after the steps (before any reset), same shape.
        done: whether the episode ended with the step, bool, same shape.
        terminated: whether it ended by the rules of the environment, bool, same shape.
        gamma: discount factor.
        lmbda: weight of longer returns, from 0 (one step) to 1 (Monte Carlo).

    Returns:
        Advantage and value target, of the shape of ``reward``, without gradient.

    Raises:
        ValueError: if the shapes differ or are not ``[*batch, T, 1]``, or a flag is not bool.

    Example:
        >>> import torch
        >>> ones, zeros = torch.ones(3, 1), torch.zeros(3, 1)
        >>> done = torch.tensor([[False], [False], [True]])
        >>> advantage, target = gae(ones, zeros, zeros, done, done, gamma=0.5, lmbda=1.0)
        >>> advantage.squeeze(-1)
        tensor([1.7500, 1.5000, 1.0000])
    """
    _check_inputs(reward, value, next_value, done, terminated)
    dtype = reward.dtype
    if not dtype == value.dtype == next_value.dtype:
        dtype = torch.promote_types(torch.promote_types(dtype, value.dtype), next_value.dtype)
        reward, value, next_value = reward.to(dtype), value.to(dtype), next_value.to(dtype)
    tensors = [tensor.detach() for tensor in (reward, value, next_value, done, terminated)]
    if reward.device.type == "cpu" and dtype in NUMPY_DTYPES:
        arrays = (tensor.numpy()[..., 0] for tensor in tensors)
        advantage, target = map(torch.from_numpy, _gae(np, gamma, gamma * lmbda, *arrays))
    else:
        columns = (tensor[..., 0] for tensor in tensors)
        advantage, target = _gae(torch, gamma, gamma * lmbda, *columns)
    return advantage.unsqueeze(-1), target.unsqueeze(-1)


def _gae(
    xp: Any, gamma: float, decay: float, reward: Any, value: Any, next_value: Any, done: Any, terminated: Any
) -> tuple[Any, Any]:
    """Advantages and targets of ``[*batch, T]`` arrays of ``xp``, which is numpy or torch.

    An operation on small arrays costs numpy a third of what it costs torch.
    """
    delta = next_value * gamma
    delta[terminated] = 0.0
    delta += reward
    delta -= value
    carry = xp.full_like(delta, decay)
    carry[done] = 0.0
    if math.prod(delta.shape):
        time_first = xp.moveaxis(delta, -1, 0)
        # No copy if the memory is laid out by time, as that of a collector is.
        sums = _contiguous(xp, time_first)
        carries = _contiguous(xp, xp.moveaxis(carry, -1, 0))
        _sum_discounted(xp, sums.reshape(len(sums), -1), carries.reshape(len(sums), -1))
        if sums is not time_first:
            time_first[:] = sums
    # Both results reuse memory: fresh pages cost more than the arithmetic on them.
    return delta, xp.add(delta, value, out=carry)


def _sum_discounted(xp: Any, delta: Any, carry: Any) -> None:
    """Turn ``delta`` into the solution of ``x_t = delta_t + carry_t * x_{t+1}``, ``x_T = 0``; ``[T, rows]``.

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


def _check_inputs(reward: Tensor, value: Tensor, next_value: Tensor, done: Tensor, terminated: Tensor) -> None:
    shape = reward.shape
    if len(shape) < 2 or shape[-1] != 1:
        raise ValueError(f"gae: expected a reward of shape [*batch, T, 1], found {list(shape)}")
    others = {"value": value, "next_value": next_value, "done": done, "terminated": terminated}
    for name, tensor in others.items():
        if tensor.shape != shape:
            raise ValueError(f"gae: expected {name} of shape {list(shape)}, found {list(tensor.shape)}")
    for name in ("done", "terminated"):
        if others[name].dtype is not torch.bool:
            raise ValueError(f"gae: expected {name} of dtype torch.bool, found {others[name].dtype}")
