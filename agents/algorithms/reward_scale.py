"""The scale of rewards: how much discounted returns vary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from envkit.transforms.moments import RunningMoments

__all__ = ["RewardScale"]


class RewardScale:
    """Divides rewards by the running standard deviation of discounted returns.

    The return of each stream so far, ``g = gamma * g + r``, begins at 0 with each episode. How much it varies is learnt
    from every reward. Engstrom et al., 2020, "Implementation Matters in Deep Policy Gradients", describe this as reward
    scaling. :class:`~envkit.RewardNorm` does the same inside an env, where nobody sees the env's own rewards any more;
    here they stay what they are in all that is collected and reported.

    Args:
        streams: shape of the rewards of one step, ``[envs, *team]``.
        gamma: the discount.

    Examples:
        >>> scale = RewardScale((1,), gamma=0.5)
        >>> scale(torch.tensor([[0.0, 4.0]]), torch.tensor([[False, True]]))
        tensor([[0., 2.]])
    """

    def __init__(self, streams: Sequence[int], gamma: float) -> None:
        self.gamma = gamma
        self.moments = RunningMoments(torch.Size(), decay=1.0, eps=1e-4)
        self._return = np.zeros(tuple(streams))

    def __call__(self, reward: Tensor, done: Tensor, alive: Tensor | None = None) -> Tensor:
        """Learns from the next steps, or those of agents that are alive in them, and returns their rewards, scaled.

        All are of shape ``[envs, time, *team]``. Steps with a reward that is not finite come back as they are, and
        nothing is learnt from them.
        """
        if not reward.isfinite().all():
            # The update that is to follow fails, and is reported; what is known of returns has to survive it.
            return reward
        rewards, ends = reward.cpu().numpy().astype(np.float64), done.cpu().numpy()
        returns = np.empty_like(rewards)
        for time in range(rewards.shape[1]):
            self._return *= self.gamma
            self._return += rewards[:, time]
            returns[:, time] = self._return
            self._return[ends[:, time]] = 0
        self.moments.update(torch.from_numpy(returns), None if alive is None else alive.cpu())
        return reward / self.moments.loc_scale(reward.dtype)[1].to(reward.device)

    def restart(self) -> None:
        """Forgets the returns so far: the envs begin new episodes."""
        self._return[:] = 0

    def state_dict(self) -> dict[str, Any]:
        """What is known of returns, and those so far."""
        return {"moments": self.moments.state_dict(), "open_returns": self._return.tolist()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what :meth:`state_dict` returned; episodes that go on are forgotten if the envs are others.

        Raises:
            KeyError, RuntimeError: something is missing, or of another shape.
        """
        self.moments.load_state_dict(state["moments"])
        found = np.asarray(state["open_returns"])
        if found.shape == self._return.shape:
            self._return[:] = found
        else:
            self.restart()
