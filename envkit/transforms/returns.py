"""Returns as entries of the data: what is left to a target, and the rest of a recorded episode."""

from __future__ import annotations

from typing import Literal

import torch
from tensordict import NestedKey, TensorDictBase

from envkit.core.masks import Masks
from envkit.core.plan import path_of
from envkit.errors import SpecError
from envkit.specs import Composite, Unbounded
from envkit.transforms.base import Transform
from envkit.transforms.functional import reward_to_go
from envkit.transforms.keys import Keys, sibling
from envkit.transforms.leaves import refuse_unknown
from envkit.transforms.rows import Columns, RowForm

__all__ = ["Reward2GoTransform", "TargetReturn"]


class TargetReturn(Transform):
    """Writes the return that is still to be reached, for policies that are told of it (decision transformers).

    It stands among the observations: ``target_return`` at the beginning of each episode, less each reward since.

    Args:
        target_return: what an episode begins with.
        mode: ``"reduce"``, or ``"constant"`` to keep it as it is.
        in_keys: rewards, ``["reward"]`` by default.
        out_keys: where it goes; ``"target_return"`` beside the reward by default.

    Raises:
        ValueError: there is no such mode.
        SpecError: the env has no such reward, or has an observation of that name already.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> env = TransformedEnv(GymEnv("CartPole-v1"), TargetReturn(10.0))
        >>> env.rollout(3)["target_return"].squeeze(-1)
        tensor([10.,  9.,  8.])
    """

    env_only = "TargetReturn tells the policy of an env of its target; stored data already has its target_return"

    def __init__(
        self,
        target_return: float,
        mode: Literal["reduce", "constant"] = "reduce",
        in_keys: Keys = None,
        out_keys: Keys = None,
    ) -> None:
        if mode not in ("reduce", "constant"):
            raise ValueError(f"TargetReturn: mode: expected 'reduce' or 'constant', found {mode!r}")
        rewards = Transform(["reward"] if in_keys is None else in_keys).in_keys
        super().__init__(rewards, [sibling(key, "target_return") for key in rewards] if out_keys is None else out_keys)
        self.target_return, self.mode = target_return, mode
        self._leaves: list[Unbounded] = []
        self._batch_dims = 0

    @property
    def memory_keys(self) -> list[NestedKey]:
        """What is left of each target."""
        return self.out_keys

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        for in_key, out_key in zip(self.in_keys, self.out_keys, strict=True):
            before = self._take(tensordict, out_key)
            reduced = before - next_tensordict.get(in_key) if self.mode == "reduce" else before
            next_tensordict.set(out_key, reduced)
        return next_tensordict

    def _reset(self, tensordict: TensorDictBase | None, tensordict_reset: TensorDictBase) -> TensorDictBase:
        for out_key, leaf in zip(self.out_keys, self._leaves, strict=True):
            size = (*tensordict_reset.batch_size, *leaf.shape[self._batch_dims :])
            tensordict_reset.set(out_key, torch.full(size, self.target_return, dtype=leaf.dtype, device=leaf.device))
        return tensordict_reset

    def _bind_rows(self, columns: Columns) -> RowForm:
        rewards, targets = columns.following
        triples = [
            (columns.stepped[out_key], rewards[in_key], targets[out_key])
            for in_key, out_key in zip(self.in_keys, self.out_keys, strict=True)
        ]
        first = [columns.root.outer[key] for key in self.out_keys]
        reduces = self.mode == "reduce"

        def step(row: int) -> None:
            for before, reward, after in triples:
                after[row] = before[row] - reward[row] if reduces else before[row]

        def reset(row: int, masks: Masks | None) -> None:
            for target in first:
                target[row] = self.target_return

        return RowForm(step, reset)

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Adds what is left of each target."""
        reward, observation = specs["reward"], specs["observation"].clone()
        refuse_unknown(self, self.in_keys, [reward], "in_keys")
        self._batch_dims = len(reward.shape)
        leaves = [reward[key] for key in self.in_keys]
        self._leaves = [Unbounded(leaf.shape, leaf.device, leaf.dtype) for leaf in leaves]
        for key, leaf in zip(self.out_keys, self._leaves, strict=True):
            _refuse_present(self, key, observation)
            observation[key] = leaf
        return {**specs, "observation": observation}


class Reward2GoTransform(Transform):
    """Writes the return from each step on, when data is put into a replay buffer (or by :meth:`inv`).

    It is what the rewards from there to the end of the episode sum up to, discounted; see
    :func:`~envkit.transforms.functional.reward_to_go`. Time is the last batch dimension.

    Args:
        gamma: the discount, in [0, 1].
        in_keys: rewards, ``[("next", "reward")]`` by default.
        out_keys: where the returns go; ``"reward_to_go"`` at the root by default.
        done_key: the flag under ``"next"`` that ends an episode.

    Raises:
        ValueError: ``gamma`` is out of range.

    Examples:
        >>> from envkit import GymEnv
        >>> data = Reward2GoTransform(gamma=0.5).inv(GymEnv("Pendulum-v1").rollout(3).fill_(("next", "reward"), 1.0))
        >>> data["reward_to_go"].squeeze(-1)
        tensor([1.7500, 1.5000, 1.0000])
    """

    data_only = "Reward2GoTransform needs what comes later: it belongs on a replay buffer, not on an env"

    def __init__(
        self, gamma: float = 1.0, in_keys: Keys = None, out_keys: Keys = None, done_key: NestedKey = "done"
    ) -> None:
        if not 0 <= gamma <= 1:
            raise ValueError(f"Reward2GoTransform: expected gamma in [0, 1], found {gamma}")
        given = [("next", "reward")] if in_keys is None else in_keys
        super().__init__(
            in_keys_inv=given, out_keys_inv="reward_to_go" if in_keys is None and out_keys is None else out_keys
        )
        self.gamma, self.done_key = gamma, done_key

    def _inv_call(self, tensordict: TensorDictBase) -> TensorDictBase:
        done = self._take(tensordict, ("next", *path_of(self.done_key)))
        for in_key, out_key in zip(self.in_keys_inv, self.out_keys_inv, strict=True):
            reward = self._take(tensordict, in_key)
            if reward.ndim < 2:
                raise ValueError(
                    f"Reward2GoTransform: {in_key!r}: expected shape [*batch, time, 1], found {list(reward.shape)}"
                )
            ended = done.reshape(done.shape + (1,) * (reward.ndim - done.ndim)).expand_as(reward)
            tensordict.set(out_key, reward_to_go(reward, ended, self.gamma))
        return tensordict

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Nothing: what is read from a buffer has its returns already."""
        return tensordict


def _refuse_present(transform: Transform, key: NestedKey, observation: Composite) -> None:
    if observation.get(key, None) is not None:
        raise SpecError(f"{type(transform).__name__}: {key!r}: expected a new observation, found one of the env's")
