"""What the estimators of values have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from tensordict import NestedKey, TensorDict, TensorDictBase, unravel_key
from tensordict.nn import TensorDictModuleBase
from torch import Tensor, nn

from agents.returns.outcome import read_outcome
from agents.returns.shapes import per_step
from agents.returns.standardize import standardize

__all__ = ["Steps", "ValueEstimator"]


@dataclass(frozen=True)
class _Keys:
    """Entries that estimators read and write; reward and flags are those under ``"next"``."""

    advantage: NestedKey = "advantage"
    value_target: NestedKey = "value_target"
    value: NestedKey = "state_value"
    reward: NestedKey = "reward"
    done: NestedKey = "done"
    terminated: NestedKey = "terminated"
    action: NestedKey = "action"
    sample_log_prob: NestedKey = "sample_log_prob"
    steps_to_next_obs: NestedKey = "steps_to_next_obs"
    gamma: NestedKey = "gamma"
    mask: NestedKey = ("collector", "mask")


@dataclass(frozen=True)
class Steps:
    """Consecutive steps of a TensorDict as tensors of shape ``[*rest, T, 1]``.

    ``done`` is also set where the next row is padding: nothing of it may reach a step.
    """

    reward: Tensor
    next_value: Tensor
    done: Tensor
    terminated: Tensor
    shape: torch.Size
    """Shape of one number per step in the TensorDict, ``[*batch, *extra]``."""
    column: Callable[[Tensor], Tensor]
    """Brings numbers of that shape to ``[*rest, T, 1]``."""
    entry: Callable[[Tensor], Tensor]
    """The way back."""


class ValueEstimator(nn.Module, ABC):
    """Base of the modules that write ``"advantage"`` and ``"value_target"`` into a TensorDict of consecutive steps.

    Time is the batch dimension named ``"time"``, or the last one. The value network runs once, over the observations
    before and after the steps together, and its values are written as ``"state_value"`` and
    ``("next", "state_value")``. Nothing written carries a gradient. Values may have dimensions beyond the batch, such
    as that of agents, ``[*batch, agents, 1]``; a reward or a flag of shape ``[*batch, 1]`` is then shared by all.

    Rows that a mask at ``("collector", "mask")`` (see :func:`envkit.split_trajectories`) calls padding are not read,
    and get 0. Data without ``"terminated"`` is taken to have no truncations.

    Args:
        gamma: discount factor.
        value_network: TensorDict module that writes the value entry, shape ``[*batch, 1]``; ``None`` uses the
            values which the TensorDict has under both keys already.
        time_dim: batch dimension of time, if it is neither named so nor the last one.

    Raises:
        KeyError: on a call, if an entry is missing.
        ValueError: on a call, if there is no time dimension or shapes differ.
    """

    average_gae = False

    def __init__(
        self, gamma: float, value_network: TensorDictModuleBase | None = None, *, time_dim: int | None = None
    ) -> None:
        super().__init__()
        self.gamma = float(gamma)
        self.value_network = value_network
        self.time_dim = time_dim
        self.keys = _Keys()

    def set_keys(self, **keys: NestedKey) -> None:
        """Rename entries: any of advantage, value_target, value, reward, done, terminated, action, sample_log_prob.

        Also steps_to_next_obs and gamma, which :class:`TD0Estimator` reads, and mask.

        Raises:
            TypeError: for another name.
        """
        self.keys = replace(self.keys, **{name: unravel_key(key) for name, key in keys.items()})

    @torch.no_grad()
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write values, advantages and value targets into ``tensordict`` and return it."""
        keys, following = self.keys, tensordict["next"]
        if self.value_network is not None:
            value, next_value = self._values(self.value_network, tensordict, following, self._time(tensordict))
            tensordict.set(keys.value, value)
            following.set(keys.value, next_value)
        value, next_value = self._value_of(tensordict), self._value_of(following)
        steps = self._steps(tensordict, next_value)
        if value.shape != next_value.shape:
            raise ValueError(
                f"{type(self).__name__}: expected {keys.value!r} of the shape of that under 'next', "
                f"{list(next_value.shape)}, found {list(value.shape)}"
            )
        results = self._estimate(tensordict, steps, steps.column(value))
        advantage, target = (steps.entry(result) for result in results)
        mask = tensordict.get(keys.mask, None)
        if mask is not None:
            valid = per_step(type(self).__name__, tensordict, keys.mask, advantage.shape)
            advantage, target = advantage.masked_fill(~valid, 0.0), target.masked_fill(~valid, 0.0)
        if self.average_gae:
            scaled = standardize(advantage if mask is None else advantage[valid])
            advantage = scaled if mask is None else advantage.masked_scatter(valid, scaled)
        tensordict.set(keys.advantage, advantage.unsqueeze(-1))
        tensordict.set(keys.value_target, target.unsqueeze(-1))
        return tensordict

    @torch.no_grad()
    def value_target(self, tensordict: TensorDictBase, next_value: Tensor) -> Tensor:
        """Value targets, given the values after the steps; both of shape ``[*batch, *extra]``.

        Nothing is written. Losses call this with values of their own making.

        Raises:
            ValueError: if targets of this estimator depend on more than the values after the steps.
        """
        steps = self._steps(tensordict, next_value)
        return steps.entry(self._target(tensordict, steps))

    @abstractmethod
    def _estimate(self, tensordict: TensorDictBase, steps: Steps, value: Tensor) -> tuple[Tensor, Tensor]:
        """Advantages and targets, of the shape of the columns of ``steps`` and of ``value``."""

    def _target(self, tensordict: TensorDictBase, steps: Steps) -> Tensor:
        raise ValueError(
            f"{type(self).__name__}: its targets need the values before the steps as well; expected an estimator of "
            "kind td0, td1 or td_lambda here"
        )

    def _time(self, tensordict: TensorDictBase) -> int:
        if not tensordict.ndim:
            raise ValueError(f"{type(self).__name__}: expected a batch dimension for time, found batch_size []")
        if self.time_dim is not None:
            return range(tensordict.ndim)[self.time_dim]
        names = tensordict.names
        return names.index("time") if "time" in names else tensordict.ndim - 1

    def _value_of(self, tensordict: TensorDictBase) -> Tensor:
        value = tensordict[self.keys.value]
        if value.ndim <= tensordict.ndim or value.shape[-1] != 1:
            raise ValueError(
                f"{type(self).__name__}: expected {self.keys.value!r} of shape [*batch, ..., 1] with batch "
                f"{list(tensordict.batch_size)}, found {list(value.shape)}"
            )
        return value.squeeze(-1)

    def _steps(self, tensordict: TensorDictBase, next_value: Tensor) -> Steps:
        """The steps of ``tensordict`` in the shape of ``next_value``, ``[*batch, *extra]``."""
        keys, shape, owner = self.keys, next_value.shape, type(self).__name__
        time = self._time(tensordict)
        reward, done, terminated = read_outcome(owner, tensordict, keys, shape)
        if tensordict.get(keys.mask, None) is not None:
            valid = per_step(owner, tensordict, keys.mask, shape).movedim(time, 0)
            alone = torch.cat([~valid[1:], torch.zeros_like(valid[:1])])
            done = done | (alone | ~valid).movedim(0, time)

        def column(entry: Tensor) -> Tensor:
            return entry.movedim(time, -1).unsqueeze(-1)

        def entry(column: Tensor) -> Tensor:
            return column.squeeze(-1).movedim(-1, time)

        return Steps(column(reward), column(next_value), column(done), column(terminated), shape, column, entry)

    def _values(
        self, network: TensorDictModuleBase, before: TensorDictBase, following: TensorDictBase, time: int
    ) -> list[Tensor]:
        """Values of the observations before and after the steps, from one call of the network.

        Observations are joined time first: so they lie in the memory of a collector.
        """
        entries: Any = {
            key: torch.cat([part[key].movedim(time, 0).flatten(0, before.ndim - 1) for part in (before, following)])
            for key in network.in_keys
        }
        steps = before.batch_size.numel()
        values = network(TensorDict(entries, [2 * steps]))[self.keys.value]
        batch = list(before.batch_size)
        batch.insert(0, batch.pop(time))
        return [half.view(*batch, *half.shape[1:]).movedim(0, time) for half in values.split(steps)]
