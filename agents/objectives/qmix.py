"""Q-learning of a team whose agents' values are mixed, as a module over TensorDicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from tensordict import NestedKey, TensorDict, TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from agents.objectives.action_value import chosen_value, greedy_value
from agents.objectives.loss_module import below_next, distinct
from agents.objectives.off_policy import OffPolicyKeys, OffPolicyLoss
from agents.objectives.value_loss import value_loss

__all__ = ["QMixerLoss"]


@dataclass(frozen=True)
class _Keys(OffPolicyKeys):
    """Entries that are read; reward, flags and mask of actions are those under ``"next"``. ``priority`` is written."""

    action: NestedKey = ("agents", "action")
    action_value: NestedKey = ("agents", "action_value")
    action_mask: NestedKey = ("agents", "action_mask")
    local_value: NestedKey = ("agents", "chosen_action_value")
    global_value: NestedKey = "chosen_action_value"


class QMixerLoss(OffPolicyLoss):
    """The loss of value decomposition: QMIX (Rashid et al. 2018, https://arxiv.org/abs/1803.11485, eq. 6) and VDN.

    The values of the actions that the agents took are mixed to that of the joint action, which learns from the reward
    of the team: ``reward + gamma * (1 - terminated) * mixed(best next values)``. A call reads what both networks read
    before and after the steps, actions (indices or one-hot) ``[*batch, agents]``, and reward and flags of the team, one
    for each step, at ``"reward"``, ``"done"`` and ``"terminated"`` by default. If there is a mask of actions at
    ``("next", "agents", "action_mask")``, only possible ones are taken for the best.

    A call returns a TensorDict of ``loss``, and without gradient ``td_error`` (absolute), ``pred_value`` and
    ``target_value``, each of the shape of the batch. What it writes is told at :class:`OffPolicyLoss`.

    Args:
        local_value_network: TensorDict module that writes ``("agents", "action_value")``, ``[*batch, agents, n]``.
        mixer_network: TensorDict module that reads ``("agents", "chosen_action_value")``, ``[*batch, agents, 1]``, and
            whatever it needs of the state, and writes ``"chosen_action_value"``, ``[*batch, 1]``; see :class:`Mixer`.
        loss_function: ``"smooth_l1"``, ``"l1"`` or ``"l2"``, see :func:`value_loss`.
        delay_value: whether targets come from delayed copies of both networks.
        double_dqn: whether the network that learns chooses the best next actions, and the delayed ones only say their
            value.
        gamma: discount factor.

    Raises:
        ValueError: if ``double_dqn`` comes without ``delay_value`` or ``loss_function`` is unknown; on a call, if an
            entry has a wrong shape.
        KeyError: on a call, if an entry is missing.

    Example:
        >>> from tensordict.nn import TensorDictModule
        >>> from agents.nn.mixers import QMixer
        >>> from agents.nn.multi_agent import MultiAgentMLP
        >>> net = MultiAgentMLP(4, 2, n_agents=3, centralized=False, share_params=True)
        >>> values = TensorDictModule(net, [("agents", "observation")], [("agents", "action_value")])
        >>> keys = [("agents", "chosen_action_value"), "state"]
        >>> mixer = TensorDictModule(QMixer((5,), 8, n_agents=3), keys, ["chosen_action_value"])
        >>> loss = QMixerLoss(values, mixer, gamma=0.9)
        >>> observed = {"agents": {"observation": torch.randn(8, 3, 4)}, "state": torch.randn(8, 5)}
        >>> after = {**observed, "reward": torch.ones(8, 1), "done": torch.zeros(8, 1, dtype=torch.bool)}
        >>> steps = TensorDict({**observed, "next": after}, [8])
        >>> steps["agents", "action"] = torch.zeros(8, 3, dtype=torch.int64)
        >>> results = loss(steps)
        >>> results["loss"].backward()
        >>> results["td_error"].shape
        torch.Size([8])
    """

    default_keys: ClassVar[Any] = _Keys()

    def __init__(
        self,
        local_value_network: TensorDictModuleBase,
        mixer_network: TensorDictModuleBase,
        *,
        loss_function: str = "l2",
        delay_value: bool = True,
        double_dqn: bool = False,
        gamma: float = 0.99,
    ) -> None:
        super().__init__(loss_function, gamma)
        if double_dqn and not delay_value:
            raise ValueError(f"{type(self).__name__}: expected delay_value=True with double_dqn=True, found False")
        self.local_value_network = local_value_network
        self.mixer_network = mixer_network
        self.double_dqn = double_dqn
        self._delay("local_value_network", delay_value)
        self._delay("mixer_network", delay_value)

    @property
    def in_keys(self) -> list[NestedKey]:
        """The entries that a call needs."""
        keys = distinct(self._step_keys(self.local_value_network, self.mixer_network), [self.keys.action])
        local = self.keys.local_value
        return [key for key in keys if key not in (local, *below_next([local]))]

    @property
    def optional_in_keys(self) -> list[NestedKey]:
        """The entries that a call reads where there are any."""
        return [*super().optional_in_keys, *below_next([self.keys.action_mask])]

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Return the loss, a scalar, and numbers per step, of a TensorDict with at least one batch dimension."""
        target = self.value_target(tensordict)
        values = self._local(self.local_value_network, tensordict)
        value = self._mixed(self.mixer_network, tensordict, chosen_value(values, tensordict[self.keys.action]))
        self._check_target(value, target)
        error = (target - value.detach()).abs()
        self._write_priority(tensordict, error)
        return TensorDict(
            {
                "loss": self._weighted_mean(tensordict, value_loss(value, target, self.loss_function)),
                "td_error": error,
                "pred_value": value.detach(),
                "target_value": target,
            },
            [],
        )

    @torch.no_grad()
    def value_target(self, tensordict: TensorDictBase) -> Tensor:
        """Value targets of the team, shape ``[*batch]``."""
        after = tensordict["next"]
        values = self._local(self._target("local_value_network"), after)
        selector = self._local(self.local_value_network, after) if self.double_dqn else values
        best = greedy_value(values, selector, after.get(self.keys.action_mask, None))
        return self._value_target(tensordict, self._mixed(self._target("mixer_network"), after, best))

    def _local(self, network: TensorDictModuleBase, tensordict: TensorDictBase) -> Tensor:
        """Values of all actions of the agents, ``[*batch, agents, n]``."""
        return network(tensordict.select(*network.in_keys))[self.keys.action_value]

    def _mixed(self, mixer: TensorDictModuleBase, tensordict: TensorDictBase, local: Tensor) -> Tensor:
        """The value of the team, ``[*batch]``, of values of the agents' actions, ``[*batch, agents]``."""
        given = tensordict.copy().set(self.keys.local_value, local.unsqueeze(-1))
        return self._value(mixer, given, self.keys.global_value)
