"""Returns of another policy's steps."""

from __future__ import annotations

from torch import Tensor

from agents.returns.recursion import as_columns, as_tensors, solve_recursion

__all__ = ["vtrace"]


def vtrace(
    reward: Tensor,
    value: Tensor,
    next_value: Tensor,
    done: Tensor,
    terminated: Tensor,
    log_prob: Tensor,
    old_log_prob: Tensor,
    *,
    gamma: float,
    rho_thresh: float = 1.0,
    c_thresh: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Return advantages and value targets of Espeholt et al. 2018 (https://arxiv.org/abs/1802.01561, eq. 1).

    With ``ratio = exp(log_prob - old_log_prob)``, ``rho = min(rho_thresh, ratio)`` and ``c = min(c_thresh, ratio)``,
    for each trajectory, from its last step backwards::

        delta_t      = rho_t * (reward_t + gamma * (1 - terminated_t) * next_value_t - value_t)
        correction_t = delta_t + gamma * c_t * (1 - done_t) * correction_{t+1}
        target_t     = value_t + correction_t
        advantage_t  = rho_t * (reward_t + gamma * (1 - terminated_t) * target_{t+1} - value_t)

    where the last step and those that are done put ``next_value_t`` in place of ``target_{t+1}``.

    Args:
        reward: rewards, floating point, shape ``[*batch, T, 1]``: time is the last dimension but one.
        value: values of the observations before the steps, same shape.
        next_value: values of the true observations after the steps (before any reset), same shape.
        done: whether the episode ended with the step, bool, same shape.
        terminated: whether it ended by the rules of the env, bool, same shape.
        log_prob: log-probabilities of the actions under the policy that learns, same shape.
        old_log_prob: those under the policy that acted, same shape.
        gamma: discount factor.
        rho_thresh: upper bound of the weight of a step.
        c_thresh: upper bound of the weight by which a step sees what follows.

    Returns:
        Advantage and value target, of the shape of ``reward``, without gradient.

    Raises:
        ValueError: if the shapes differ or are not ``[*batch, T, 1]``, or a flag is not bool.

    Example:
        >>> import torch
        >>> one, zero, over = torch.ones(1, 1), torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool)
        >>> half = one * torch.log(torch.tensor(0.5))
        >>> vtrace(one, zero, zero, over, over, half, zero, gamma=0.9)
        (tensor([[0.5000]]), tensor([[0.5000]]))
    """
    xp, (reward, value, next_value, log_prob, old_log_prob, done, terminated) = as_columns(
        "vtrace",
        {
            "reward": reward,
            "value": value,
            "next_value": next_value,
            "log_prob": log_prob,
            "old_log_prob": old_log_prob,
        },
        {"done": done, "terminated": terminated},
    )
    ratio = xp.exp(log_prob - old_log_prob)
    rho = ratio.clip(None, rho_thresh)
    carry = ratio.clip(None, c_thresh) * gamma
    carry[done] = 0.0
    following = next_value * gamma
    following[terminated] = 0.0
    target = rho * (reward + following - value)
    solve_recursion(xp, target, carry)
    target += value
    within = ~done[..., :-1]
    following[..., :-1][within] = gamma * target[..., 1:][within]
    advantage, target = as_tensors(rho * (reward + following - value), target)
    return advantage, target
