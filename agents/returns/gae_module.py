"""Generalised advantage estimation on TensorDicts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from tensordict import NestedKey, TensorDict, TensorDictBase, unravel_key
from tensordict.nn import TensorDictModuleBase
from torch import Tensor, nn

from agents.returns.gae import gae
from agents.returns.standardize import standardize

__all__ = ["GAE"]


@dataclass(frozen=True)
class _Keys:
    """Entries that :class:`GAE` reads and writes; reward and flags are those under ``"next"``."""

    advantage: NestedKey = "advantage"
    value_target: NestedKey = "value_target"
    value: NestedKey = "state_value"
    reward: NestedKey = "reward"
    done: NestedKey = "done"
    terminated: NestedKey = "terminated"


class GAE(nn.Module):
    """Write ``"advantage"`` and ``"value_target"`` into a TensorDict of consecutive steps; see :func:`gae`.

    Time is the batch dimension named ``"time"``, or the last one. The value network runs once, over the
    observations before and after the steps together, and its values are written as ``"state_value"`` and
    ``("next", "state_value")``. Nothing written carries a gradient.

    Args:
        gamma: discount factor.
        lmbda: weight of longer returns, from 0 (one step) to 1 (Monte Carlo).
        value_network: TensorDict module that writes the value entry, shape ``[*batch, 1]``; ``None`` uses the
            values which the TensorDict has under both keys already.
        average_gae: whether advantages are brought to mean 0 and standard deviation 1 over the whole batch.

    Raises:
        KeyError: on a call, if an entry is missing.
        ValueError: on a call, if there is no time dimension or shapes differ (see :func:`gae`).

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> from agents.nn import MLP, ValueOperator
        >>> flags = torch.zeros(2, 5, 1, dtype=torch.bool)
        >>> after = {"observation": torch.randn(2, 5, 3), "reward": torch.ones(2, 5, 1)}
        >>> after |= {"done": flags, "terminated": flags}
        >>> steps = TensorDict({"observation": torch.randn(2, 5, 3), "next": after}, [2, 5])
        >>> estimate = GAE(gamma=0.99, lmbda=0.95, value_network=ValueOperator(MLP(3, 1)))
        >>> estimate(steps)["advantage"].shape
        torch.Size([2, 5, 1])
    """

    def __init__(
        self,
        gamma: float,
        lmbda: float,
        value_network: TensorDictModuleBase | None = None,
        average_gae: bool = False,
    ) -> None:
        super().__init__()
        self.gamma = float(gamma)
        self.lmbda = float(lmbda)
        self.value_network = value_network
        self.average_gae = average_gae
        self.keys = _Keys()

    def set_keys(self, **keys: NestedKey) -> None:
        """Rename entries: any of advantage, value_target, value, reward, done and terminated.

        Raises:
            TypeError: for another name.
        """
        self.keys = replace(self.keys, **{name: unravel_key(key) for name, key in keys.items()})

    @torch.no_grad()
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write values, advantages and value targets into ``tensordict`` and return it."""
        keys = self.keys
        time = _time_dim(tensordict)
        after = tensordict["next"]
        if self.value_network is not None:
            value, next_value = self._values(self.value_network, tensordict, after, time)
            tensordict.set(keys.value, value)
            after.set(keys.value, next_value)
        columns = (tensordict[keys.value], after[keys.value], after[keys.done], after[keys.terminated])
        advantage, target = gae(
            *(column.movedim(time, -2) for column in (after[keys.reward], *columns)),
            gamma=self.gamma,
            lmbda=self.lmbda,
        )
        if self.average_gae:
            advantage = standardize(advantage)
        tensordict.set(keys.advantage, advantage.movedim(-2, time))
        tensordict.set(keys.value_target, target.movedim(-2, time))
        return tensordict

    def _values(
        self, network: TensorDictModuleBase, before: TensorDictBase, after: TensorDictBase, time: int
    ) -> list[Tensor]:
        """Values of the observations before and after the steps, from one call of the network.

        Observations are joined time first: so they lie in the memory of a collector.
        """
        entries = {
            key: torch.cat([part[key].movedim(time, 0).flatten(0, before.ndim - 1) for part in (before, after)])
            for key in network.in_keys
        }
        steps = before.batch_size.numel()
        values = network(TensorDict(entries, [2 * steps]))[self.keys.value]
        batch = list(before.batch_size)
        batch.insert(0, batch.pop(time))
        return [half.view(*batch, *half.shape[1:]).movedim(0, time) for half in values.split(steps)]


def _time_dim(tensordict: TensorDictBase) -> int:
    if not tensordict.ndim:
        raise ValueError("GAE: expected a batch dimension for time, found batch_size []")
    names = tensordict.names
    return names.index("time") if "time" in names else tensordict.ndim - 1
