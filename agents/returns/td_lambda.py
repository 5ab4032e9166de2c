"""Returns of many steps, mixed by lambda."""

from __future__ import annotations

from torch import Tensor

from agents.returns.recursion import as_columns, as_tensors, carry_unless, solve_recursion
from agents.returns.shapes import check_same_shape

__all__ = ["td_lambda", "td_lambda_target"]


def td_lambda_target(
    reward: Tensor, next_value: Tensor, done: Tensor, terminated: Tensor, *, gamma: float, lmbda: float
) -> Tensor:
    """Return the lambda-returns of Sutton and Barto 2018, eq. 12.2, in their recursive form.

    For each trajectory, from its last step backwards::

        G_t = reward_t + gamma * (1 - terminated_t) * ((1 - lmbda) * next_value_t + lmbda * G_{t+1})

    where the last step and those that are done put ``next_value_t`` in place of ``G_{t+1}``: a truncated episode goes
    on by its value, and the recursion never crosses the end of one.

    Args:
        reward: rewards, floating point, shape ``[*batch, T, 1]``: time is the last dimension but one.
        next_value: values of the true observations after the steps (before any reset), same shape.
        done: whether the episode ended with the step, bool, same shape.
        terminated: whether it ended by the rules of the env, bool, same shape.
        gamma: discount factor.
        lmbda: weight of longer returns, from 0 (:func:`td0_target`) to 1 (:func:`td1_target`).

    Returns:
        Targets of the shape of ``reward``, without gradient.

    Raises:
        ValueError: if the shapes differ or are not ``[*batch, T, 1]``, or a flag is not bool.

    Example:
        >>> import torch
        >>> reward, value = torch.ones(2, 1), torch.full((2, 1), 4.0)
        >>> done = torch.tensor([[False], [True]])
        >>> td_lambda_target(reward, value, done, done, gamma=0.5, lmbda=0.5).squeeze(-1)
        tensor([2.2500, 1.0000])
    """
    xp, (reward, next_value, done, terminated) = as_columns(
        "td_lambda", {"reward": reward, "next_value": next_value}, {"done": done, "terminated": terminated}
    )
    carry = carry_unless(xp, done, gamma * lmbda, reward)
    carry[..., -1:] = 0.0
    delta = (gamma - carry) * next_value
    delta[terminated] = 0.0
    delta += reward
    carry[terminated] = 0.0
    solve_recursion(xp, delta, carry)
    (target,) = as_tensors(delta)
    return target


def td_lambda(
    reward: Tensor,
    value: Tensor,
    next_value: Tensor,
    done: Tensor,
    terminated: Tensor,
    *,
    gamma: float,
    lmbda: float,
) -> tuple[Tensor, Tensor]:
    """Return advantages ``target - value`` and the targets of :func:`td_lambda_target`, shape ``[*batch, T, 1]``.

    Where the value of each next observation is that of the following step, they are those of :func:`gae`.

    Raises:
        ValueError: see :func:`td_lambda_target`.
    """
    check_same_shape("td_lambda", reward=reward, value=value)
    target = td_lambda_target(reward, next_value, done, terminated, gamma=gamma, lmbda=lmbda)
    return target - value.detach(), target
