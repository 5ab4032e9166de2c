"""Transitions of several steps, of a collector's batch or of single steps in a replay buffer."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase
from torch import Tensor

from agents.replay.storage import Storage
from envkit.core.plan import path_of
from envkit.transforms.functional.windows import n_step_returns, window_return
from envkit.transforms.keys import Keys, listed

__all__ = ["MultiStep"]


class MultiStep:
    r"""Makes n-step transitions: rewards become discounted sums of the next ones, up to the end of an episode.

    The reward of step :math:`t` is replaced by :math:`\sum_{k<m} \gamma^k r_{t+k}`, and its ``"next"`` by that of the
    last of these :math:`m \le n` steps, which may be the true last one of an episode, terminated or truncated, or the
    newest there is. ``"steps_to_next_obs"``, int64 ``[..., 1]``, says how many they were: what follows is worth
    :math:`\gamma^m V`.

    Called, it makes them of a collector's batch, whose last batch dimension is time. Given to a
    :class:`~agents.ReplayBuffer` as ``multi_step``, it makes them of single steps as they are sampled, so that each
    step is stored once.

    Args:
        gamma: the discount.
        n_steps: how many steps at most.
        reward_keys: rewards, below ``"next"``; ``["reward"]`` by default.
        done_key: the flag that ends episodes, below ``"next"``, one for each step.
        mask_key: where padded sequences are told from the padding, bool of the batch size, if it is there.

    Raises:
        ValueError: ``n_steps`` is not positive, or ``gamma`` is not in [0, 1].

    References:
        Sutton and Barto, "Reinforcement Learning: An Introduction", 2nd edition, 2018, equation (7.1).

    Example:
        >>> from tensordict import TensorDict
        >>> done = torch.tensor([False, False, True, False]).unsqueeze(-1)
        >>> after = {"x": torch.arange(1, 5), "done": done, "reward": torch.tensor([[1.0], [2.0], [4.0], [8.0]])}
        >>> made = MultiStep(gamma=0.5, n_steps=2)(TensorDict({"x": torch.arange(4), "next": after}, [4]))
        >>> made["next", "reward"].flatten().tolist(), made["next", "x"].tolist()
        ([2.0, 4.0, 4.0, 8.0], [2, 3, 3, 4])
    """

    def __init__(
        self,
        gamma: float,
        n_steps: int,
        reward_keys: Keys = None,
        done_key: NestedKey = "done",
        mask_key: NestedKey = ("collector", "mask"),
    ) -> None:
        if n_steps < 1:
            raise ValueError(f"MultiStep: n_steps: expected at least 1, found {n_steps}")
        if not 0 <= gamma <= 1:
            raise ValueError(f"MultiStep: gamma: expected a number in [0, 1], found {gamma}")
        self.gamma, self.n_steps = gamma, n_steps
        rewards = ["reward"] if reward_keys is None else listed(reward_keys)
        self.reward_keys: list[NestedKey] = [("next", *path_of(key)) for key in rewards]
        self.done_key: NestedKey = ("next", *path_of(done_key))
        self.mask_key = mask_key

    def __call__(self, tensordict: TensorDictBase) -> TensorDictBase:
        """The transitions of a batch ``[*batch, time]``, in a TensorDict of the same size."""
        size = tensordict.batch_size
        ends = self._ends(tensordict[self.done_key], size)
        mask = tensordict.get(self.mask_key, None)
        if mask is not None:
            last = mask.reshape(size).clone()
            last[..., :-1] &= ~mask.reshape(size)[..., 1:]
            ends = ends | last
        sums: dict[NestedKey, Tensor] = {}
        count = torch.ones_like(ends, dtype=torch.int64)
        for key in self.reward_keys:
            sums[key], count = n_step_returns(tensordict[key], ends, self.n_steps, self.gamma)
        time = size[-1]
        last_step = torch.arange(time, device=ends.device) + count - 1
        following = tensordict["next"].reshape(-1, time)
        series = torch.arange(len(following), device=ends.device).unsqueeze(-1)
        after = following[series, last_step.reshape(-1, time)].reshape(size)
        return self._joined(tensordict.copy(), after, sums, count)

    def read(self, storage: Storage, index: Tensor) -> TensorDictBase:
        """The transitions from the items at ``index`` of a storage of single steps, ``[n]``.

        Raises:
            ValueError: the storage returns no TensorDict.
        """
        items = self._read(storage, index)
        newer = storage.newer(index).unsqueeze(-1)
        ahead = torch.arange(self.n_steps)
        places = (index.unsqueeze(-1) + storage.streams * ahead) % storage.max_size
        # What comes after the newest step of a sequence is another sequence, or nothing.
        places = torch.where(ahead <= newer, places, index.unsqueeze(-1))
        window = (len(index), self.n_steps)
        flat = places.reshape(-1)
        ends = self._ends(storage.column(self.done_key, flat), torch.Size(window)).cpu() | (ahead >= newer)
        sums: dict[NestedKey, Tensor] = {}
        count = torch.ones(len(index), dtype=torch.int64)
        for key in self.reward_keys:
            reward = storage.column(key, flat).unflatten(0, window)
            sums[key], count = window_return(reward, ends.to(reward.device), self.gamma)
        last = places.gather(1, count.cpu().unsqueeze(-1) - 1).squeeze(-1)
        return self._joined(items, self._read(storage, last)["next"], sums, count)

    def _joined(
        self, items: TensorDictBase, after: TensorDictBase, sums: dict[NestedKey, Tensor], count: Tensor
    ) -> TensorDictBase:
        items.set("next", after)
        for key, value in sums.items():
            items.set(key, value)
        return items.set("steps_to_next_obs", count.unsqueeze(-1))

    def _ends(self, done: Tensor, size: torch.Size) -> Tensor:
        if not size or done.numel() != size.numel():
            raise ValueError(
                f"MultiStep: {self.done_key!r}: expected one flag for each step of {list(size)}, found shape "
                f"{list(done.shape)}"
            )
        return done.reshape(size)

    @staticmethod
    def _read(storage: Storage, index: Tensor) -> Any:
        items = storage.get(index)
        if isinstance(items, list):
            items = torch.stack(items)
        if not isinstance(items, TensorDictBase):
            raise ValueError(f"MultiStep: expected a storage of TensorDicts, found {type(items).__name__}")
        return items
