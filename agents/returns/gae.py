"""Generalised advantage estimation on tensors."""

from __future__ import annotations

from torch import Tensor

from agents.returns.recursion import as_columns, as_tensors, carry_unless, solve_recursion

__all__ = ["gae"]


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
    xp, (reward, value, next_value, done, terminated) = as_columns(
        "gae",
        {"reward": reward, "value": value, "next_value": next_value},
        {"done": done, "terminated": terminated},
    )
    delta = next_value * gamma
    delta[terminated] = 0.0
    delta += reward
    delta -= value
    carry = carry_unless(xp, done, gamma * lmbda, delta)
    solve_recursion(xp, delta, carry)
    # Both results reuse memory: fresh pages cost more than the arithmetic on them.
    advantage, target = as_tensors(delta, xp.add(delta, value, out=carry))
    return advantage, target
