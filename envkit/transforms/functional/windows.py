"""What lies ahead of each step of stored sequences."""

from __future__ import annotations

import torch

__all__ = ["chunks_ahead", "n_step_returns", "window_return"]


def n_step_returns(
    reward: torch.Tensor, done: torch.Tensor, n_steps: int, gamma: float
) -> tuple[torch.Tensor, torch.Tensor]:
    r"""Discounted sums of the next ``n_steps`` rewards, up to the end of an episode: :math:`\sum_k \gamma^k r_{t+k}`.

    Args:
        reward: floating point, ``[*batch, time, *rest]``.
        done: bool ``[*batch, time]``, whether an episode ends with a step.
        n_steps: how many rewards there are at most; fewer where the sequence ends.
        gamma: the discount.

    Returns:
        The sums, shaped like ``reward``, and how many rewards each has, int64 ``[*batch, time]``.

    Raises:
        TypeError: the rewards are no floating-point numbers.

    References:
        Sutton and Barto, "Reinforcement Learning: An Introduction", 2nd edition, 2018, equation (7.1).

    Examples:
        >>> done = torch.tensor([False, False, True, False])
        >>> n_step_returns(torch.tensor([1.0, 2.0, 4.0, 8.0]), done, 2, 0.5)
        (tensor([2., 4., 4., 8.]), tensor([2, 2, 1, 1]))
    """
    dim, steps = done.ndim - 1, done.shape[-1]
    n_steps = max(1, min(n_steps, steps))
    ahead = torch.arange(steps, device=done.device).unsqueeze(-1) + torch.arange(n_steps, device=done.device)
    # The last step ends its sequence whether or not an episode ends there, and is repeated where none is left.
    ends = done.clone()
    ends[..., -1:] = True
    place, window = ahead.clamp(max=steps - 1).flatten(), (steps, n_steps)
    rewards = reward.index_select(dim, place).unflatten(dim, window)
    return window_return(rewards, ends.index_select(dim, place).unflatten(dim, window), gamma)


def window_return(reward: torch.Tensor, done: torch.Tensor, gamma: float) -> tuple[torch.Tensor, torch.Tensor]:
    r"""Discounted sum of the rewards of a window, up to the end of an episode: :math:`\sum_k \gamma^k r_k`.

    Args:
        reward: floating point, ``[*batch, time, *rest]``.
        done: bool ``[*batch, time]``, whether an episode ends with a step.
        gamma: the discount.

    Returns:
        The sum, ``[*batch, *rest]``, and how many rewards it has, int64 ``[*batch]``.

    Raises:
        TypeError: the rewards are no floating-point numbers.

    Examples:
        >>> window_return(torch.tensor([1.0, 2.0, 4.0, 8.0]), torch.tensor([False, False, True, False]), 0.5)
        (tensor(3.), tensor(3))
    """
    if not reward.is_floating_point():
        raise TypeError(f"reward: expected floating-point numbers to discount, found {reward.dtype}")
    dim, rest = done.ndim - 1, (1,) * (reward.ndim - done.ndim)
    going = done.cumsum(dim) == done
    weight = torch.tensor([gamma**k for k in range(done.shape[dim])], dtype=reward.dtype, device=reward.device)
    counted = going.reshape(*going.shape, *rest)
    first, *others = torch.where(counted, reward * weight.reshape(-1, *rest), 0).unbind(dim)
    # One after the other: a sum by torch may add in another order, which differs in the last bit.
    for further in others:
        first = first + further
    return first, going.sum(dim)


def chunks_ahead(value: torch.Tensor, ends: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The values of each step and of those after it, up to the end of an episode, whose last value fills up the rest.

    Args:
        value: ``[*batch, time, *rest]``.
        ends: bool ``[*batch, time]``, whether an episode ends with a step.
        size: how many there are.

    Returns:
        ``[*batch, time, size, *rest]``, and a bool ``[*batch, time, size]`` that is True where there was none left.

    Examples:
        >>> ahead, padded = chunks_ahead(torch.arange(4), torch.tensor([False, True, False, False]), 3)
        >>> ahead.tolist()
        [[0, 1, 1], [1, 1, 1], [2, 3, 3], [3, 3, 3]]
    """
    dim, steps = ends.ndim - 1, ends.shape[-1]
    place = torch.arange(steps, device=ends.device)
    stops = torch.where(ends, place, steps - 1)
    last = stops.flip(-1).cummin(-1).values.flip(-1)
    wanted = place.unsqueeze(-1) + torch.arange(size, device=ends.device)
    found = torch.minimum(wanted.expand(*ends.shape, size), last.unsqueeze(-1))
    index = found.reshape(*ends.shape[:-1], -1)
    rest = value.shape[ends.ndim :]
    index = index.reshape(*index.shape, *(1,) * len(rest)).expand(*index.shape, *rest)
    return value.gather(dim, index).reshape(*ends.shape, size, *rest), wanted > last.unsqueeze(-1)
