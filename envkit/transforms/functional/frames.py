"""Stacks of the last frames, of steps as they come and of stored ones."""

from __future__ import annotations

import torch

__all__ = ["last_frames", "shift"]


def shift(stack: torch.Tensor, frame: torch.Tensor, dim: int) -> torch.Tensor:
    """A stack without its oldest frame, and with ``frame`` at its end.

    Args:
        stack: frames joined along ``dim``, the oldest first.
        frame: the newest.
        dim: negative.

    Examples:
        >>> shift(torch.tensor([1, 2, 3]), torch.tensor([4]), -1).tolist()
        [2, 3, 4]
    """
    size = frame.shape[dim]
    return torch.cat([stack.narrow(dim, size, stack.shape[dim] - size), frame], dim)


def last_frames(
    frames: torch.Tensor, ends: torch.Tensor | None, count: int, dim: int, fill: float | None = None
) -> torch.Tensor:
    """The stack of the last frames at each step of stored episodes: one gather, by index arithmetic.

    Args:
        frames: ``[*batch, time, *frame]``.
        ends: whether an episode ends with each step, bool ``[*batch, time]``; None if nothing ends.
        count: frames in a stack.
        dim: the dimension of a frame along which they are joined, negative.
        fill: what stands for frames from before an episode; None for its first one.

    Returns:
        ``[*batch, time, *frame]`` with ``count`` times the size in ``dim``, the newest last.

    Examples:
        >>> ends = torch.tensor([False, True, False, False])
        >>> last_frames(torch.arange(4).unsqueeze(-1), ends, 2, -1).tolist()
        [[0, 0], [0, 1], [2, 2], [2, 3]]
    """
    batch = frames.shape[:1] if ends is None else ends.shape
    time, lead = batch[-1], len(batch)
    now = torch.arange(time, device=frames.device)
    begins = torch.zeros(batch, dtype=torch.bool, device=frames.device)
    if ends is not None:
        begins[..., 1:] = ends[..., :-1]
    start = torch.where(begins, now, 0).cummax(-1).values
    wanted = now.unsqueeze(-1) + torch.arange(1 - count, 1, device=frames.device)
    first = start.unsqueeze(-1)
    series = torch.arange(batch[:-1].numel(), device=frames.device).reshape(*batch[:-1], 1, 1) * time
    gathered = frames.flatten(0, lead - 1)[torch.maximum(wanted, first) + series]
    if fill is not None:
        gathered[wanted < first] = fill
    return gathered.movedim(lead, dim - 1).flatten(dim - 1, dim)
