"""Telling trajectories apart."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["TrajectoryCounter"]


class TrajectoryCounter:
    """Issues a number to every trajectory, in the order in which they begin.

    Examples:
        >>> counter = TrajectoryCounter(2)
        >>> counter(torch.tensor([[False, True, False], [False, False, True]]))
        tensor([[0, 0, 2],
                [1, 1, 1]])
        >>> counter(torch.tensor([[False], [False]]))
        tensor([[2],
                [3]])
    """

    def __init__(self, envs: int) -> None:
        self._current = torch.arange(envs)
        self._issued = envs

    def __call__(self, done: torch.Tensor) -> torch.Tensor:
        """Numbers for a batch of steps.

        Args:
            done: whether each step ended its trajectory; bool ``[envs, time]``.

        Returns:
            int64 ``[envs, time]``.
        """
        begins = torch.zeros((done.shape[1] + 1, done.shape[0]), dtype=torch.int64)
        ended = done.T
        count = int(ended.sum())
        # Row-major over time: trajectories that begin earlier get lower numbers.
        begins[1:][ended] = torch.arange(self._issued, self._issued + count)
        begins[0] = self._current
        numbers = begins.cummax(0).values
        self._current = numbers[-1]
        self._issued += count
        return numbers[:-1].T

    def restart(self) -> None:
        """Begins a trajectory in every env."""
        envs = len(self._current)
        self._current = torch.arange(self._issued, self._issued + envs)
        self._issued += envs

    def state_dict(self) -> dict[str, Any]:
        """The numbers of the current trajectories, int64 ``[envs]``, and how many were issued."""
        return {"current": self._current.clone(), "issued": self._issued}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what :meth:`state_dict` returned.

        Raises:
            ValueError: it is that of another number of envs.
        """
        current = state["current"]
        if current.shape != self._current.shape:
            raise ValueError(
                f"numbers of trajectories: expected those of {len(self._current)} envs, found {list(current.shape)}"
            )
        self._current, self._issued = current.clone(), state["issued"]
