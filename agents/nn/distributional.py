"""Policies that take the action whose distribution of returns has the highest mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from tensordict import NestedKey
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import Tensor, nn

from agents.nn.q_value import QValueModule, value_network

__all__ = ["DistributionalDQNnet", "DistributionalQValueActor", "DistributionalQValueModule"]


class DistributionalQValueModule(QValueModule):
    """Reads log-probabilities of returns, and writes the action of the highest mean.

    This is the policy of Bellemare et al. 2017 (C51, https://arxiv.org/abs/1707.06887).

    Args:
        action_space: how actions are written, as in :class:`QValueModule`.
        support: the returns that the probabilities are for, ``[atoms]``.
        action_value_key: the log-probabilities to read, ``[*batch, atoms, n]``.
        action_mask_key: boolean entry that says which actions are allowed, ``[*batch, n]``.
        out_keys: where action, log-probabilities and those of the chosen action (``[*batch, atoms]``) go.
        var_nums: not available: one variable only.
        spec: spec of the action.
        safe: whether the action is projected into ``spec``.

    Raises:
        ValueError: as :class:`QValueModule`, or if ``support`` is missing or no vector, or there are several variables;
            on a call, if the number of atoms is not that of the support.

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> log_probs = torch.tensor([[0.9, 0.5], [0.1, 0.5]]).log()
        >>> module = DistributionalQValueModule("categorical", torch.tensor([0.0, 10.0]))
        >>> module(TensorDict(action_value=log_probs))["action"]
        tensor(1)
    """

    support: Tensor

    def __init__(
        self,
        action_space: str | None = None,
        support: Tensor | None = None,
        action_value_key: NestedKey = "action_value",
        action_mask_key: NestedKey | None = None,
        out_keys: Sequence[NestedKey] | None = None,
        var_nums: Sequence[int] | None = None,
        spec: Any = None,
        safe: bool = False,
    ) -> None:
        super().__init__(action_space, action_value_key, action_mask_key, out_keys, var_nums, spec, safe)
        if support is None or support.ndim != 1:
            raise ValueError(f"support: expected a vector of returns, found {support}")
        if self.action_space.var_nums is not None:
            raise ValueError(f"{type(self).__name__}: expected actions of one variable, found {self.action_space}")
        self.register_buffer("support", support)

    def _choose(self, values: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        atoms, found = len(self.support), list(values.shape)
        if len(found) < 2 or found[-2] != atoms:
            raise ValueError(f"{self.action_value_key!r}: expected shape [*batch, {atoms}, n], found {found}")
        action, place = self._best(torch.einsum("...an,a->...n", values.exp(), self.support), mask)
        place = place.unsqueeze(-2).expand(*values.shape[:-1], 1)
        return action, values.gather(-1, place).squeeze(-1)


class DistributionalQValueActor(TensorDictSequential):
    """A network of logits ``[*batch, atoms, n]``, normalised over atoms, and a :class:`DistributionalQValueModule`.

    Args:
        module: callable from the entries at ``in_keys`` to logits, or a TensorDict module that writes them at
            ``action_value_key``.
        in_keys: entries to read, ``["observation"]`` by default.
        spec: spec of the action.
        safe: whether the action is projected into ``spec``.
        support: the returns that the probabilities are for, ``[atoms]``.
        action_space: how actions are written, where there is no ``spec``.
        action_value_key: where the log-probabilities go.
        action_mask_key: boolean entry that says which actions are allowed.
        make_log_softmax: whether the module's output is yet to be normalised.

    Example:
        >>> import torch
        >>> from agents import MLP
        >>> from envkit import Categorical
        >>> from tensordict import TensorDict
        >>> net = torch.nn.Sequential(MLP(3, 4 * 51), torch.nn.Unflatten(-1, (51, 4)))
        >>> actor = DistributionalQValueActor(net, spec=Categorical(4), support=torch.linspace(-1, 1, 51))
        >>> td = actor(TensorDict({"observation": torch.randn(5, 3)}, [5]))
        >>> td["action"].shape, td["chosen_action_value"].shape
        (torch.Size([5]), torch.Size([5, 51]))
    """

    def __init__(
        self,
        module: Callable[..., Any],
        in_keys: Sequence[NestedKey] | None = None,
        *,
        spec: Any = None,
        safe: bool = False,
        support: Tensor,
        action_space: str | None = None,
        action_value_key: NestedKey = "action_value",
        action_mask_key: NestedKey | None = None,
        make_log_softmax: bool = True,
    ) -> None:
        q_value = DistributionalQValueModule(
            action_space, support, action_value_key, action_mask_key, spec=spec, safe=safe
        )
        modules = [value_network(module, in_keys, action_value_key)]
        if make_log_softmax:
            modules.append(TensorDictModule(nn.LogSoftmax(-2), [action_value_key], [action_value_key]))
        super().__init__(*modules, q_value)

    @property
    def spec(self) -> Any:
        """The spec of the action, if it was given."""
        return self.module[-1].spec


class DistributionalDQNnet(nn.Module):
    """A network of logits ``[*batch, atoms, n]``, normalised over atoms: the output is log-probabilities.

    Args:
        net: the network.

    Raises:
        ValueError: on a call, if the output has fewer than two dimensions.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(3, 8), nn.Unflatten(-1, (4, 2)))
        >>> DistributionalDQNnet(net)(torch.randn(5, 3)).exp().sum(-2).shape
        torch.Size([5, 2])
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: Tensor) -> Tensor:
        """Log-probabilities, ``[*batch, atoms, n]``."""
        logits = self.net(*inputs)
        if logits.ndim < 2:
            raise ValueError(f"DistributionalDQNnet: expected logits [*batch, atoms, n], found {list(logits.shape)}")
        return logits.log_softmax(-2)
