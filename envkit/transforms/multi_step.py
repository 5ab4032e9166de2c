"""Transitions of several steps."""

from __future__ import annotations

import torch
from tensordict import NestedKey, TensorDictBase

from envkit.core.plan import path_of
from envkit.transforms.base import Transform
from envkit.transforms.functional.windows import n_step_returns
from envkit.transforms.keys import Keys, listed
from envkit.transforms.stored import ends_of

__all__ = ["MultiStepTransform"]


class MultiStepTransform(Transform):
    """Makes n-step transitions of what is written to a replay buffer.

    Each step's ``"next"`` is replaced by that of the step ``n_steps - 1`` later, or of the last one of its episode; the
    reward by the discounted sum of the rewards on the way; ``"steps_to_next_obs"`` says how many those were.

    The last batch dimension is time. Steps whose future is not written yet wait for the next :meth:`inv`: at first
    there are ``n_steps - 1`` transitions fewer than steps, and what is written has to go on where it stopped (or see
    :meth:`flush`). What has more batch dimensions than time comes flattened, one transition a row.

    Args:
        n_steps: how many steps.
        gamma: the discount.
        reward_keys: rewards, below ``"next"``.
        done_key: the flag that ends episodes.

    References:
        Sutton, "Learning to predict by the methods of temporal differences", Machine Learning 3, 1988.

    Examples:
        >>> from tensordict import TensorDict
        >>> done = torch.zeros(4, 1, dtype=torch.bool)
        >>> steps = TensorDict({"x": torch.arange(4), "next": {"x": torch.arange(1, 5), "done": done}}, [4])
        >>> steps["next", "reward"] = torch.ones(4, 1)
        >>> MultiStepTransform(n_steps=3, gamma=0.5).inv(steps)["next", "x"]
        tensor([3, 4])
    """

    data_only = "MultiStepTransform looks ahead: give it to a replay buffer"

    def __init__(self, n_steps: int, gamma: float, reward_keys: Keys = None, done_key: NestedKey = "done") -> None:
        super().__init__()
        if n_steps < 1:
            raise ValueError(f"MultiStepTransform: n_steps: expected at least 1, found {n_steps}")
        self.n_steps, self.gamma, self.done_key = n_steps, gamma, done_key
        self.reward_keys = ["reward"] if reward_keys is None else listed(reward_keys)
        self._waiting: TensorDictBase | None = None

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Nothing: what is read was made when it was written."""
        return tensordict

    def _inv_call(self, tensordict: TensorDictBase) -> TensorDictBase:
        if self._waiting is not None:
            if self._waiting.batch_size[:-1] != tensordict.batch_size[:-1]:
                raise ValueError(
                    f"MultiStepTransform: expected data that goes on from batch size "
                    f"{list(self._waiting.batch_size)}, found {list(tensordict.batch_size)}"
                )
            tensordict = torch.cat([self._waiting, tensordict], -1)  # type: ignore[assignment]
        made = self._made(tensordict)
        whole = max(0, tensordict.batch_size[-1] - self.n_steps + 1)
        self._waiting = tensordict[..., whole:].clone() if self.n_steps > 1 else None
        return made[..., :whole].reshape(-1)

    def flush(self) -> TensorDictBase | None:
        """The transitions that wait for more data, as if it ended here; None if there are none.

        What is written next does not have to go on from there.
        """
        waiting, self._waiting = self._waiting, None
        return None if waiting is None else self._made(waiting).reshape(-1)

    def _made(self, tensordict: TensorDictBase) -> TensorDictBase:
        done = ends_of(self, tensordict, self.done_key)
        out, counts = tensordict.copy(), torch.ones_like(done, dtype=torch.int64)
        sums = {}
        for key in self.reward_keys:
            reward = self._take(tensordict, ("next", *path_of(key)))
            sums[key], counts = n_step_returns(reward, done, self.n_steps, self.gamma)
        last = torch.arange(done.shape[-1], device=done.device) + counts - 1
        following = tensordict.get("next")
        rows = following.reshape(-1, done.shape[-1])
        which = torch.arange(len(rows), device=done.device).unsqueeze(-1)
        after = rows[which, last.reshape(len(rows), -1)].reshape(done.shape)
        for key, value in sums.items():
            after.set(key, value)
        out.set("next", after)
        return out.set("steps_to_next_obs", counts.unsqueeze(-1))
