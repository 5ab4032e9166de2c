"""How delayed copies follow the networks that learn."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch

from agents.objectives.loss_module import LossModule

__all__ = ["HardUpdate", "SoftUpdate", "TargetNetUpdater"]


class TargetNetUpdater(ABC):
    """Base of what moves the delayed networks of a loss.

    Args:
        loss_module: the loss.

    Raises:
        ValueError: if it delays no network.
    """

    def __init__(self, loss_module: LossModule) -> None:
        if not list(loss_module.delayed_networks()):
            raise ValueError(
                f"{type(self).__name__}: expected a loss with delayed networks, found none in "
                f"{type(loss_module).__name__}; it makes them where a delay_* argument is set"
            )
        self.loss_module = loss_module

    @abstractmethod
    def step(self) -> None:
        """Move the delayed networks, after a step of the optimizer."""

    def init_(self) -> None:
        """Make the delayed networks equal to those that learn, as they are from the start."""
        self._move(1.0)

    @torch.no_grad()
    def _move(self, share: float) -> None:
        """Bring weights that share closer to those that learn; buffers, such as running means, are copied."""
        for network, twin in self.loss_module.delayed_networks():
            found = dict(twin.named_buffers(remove_duplicate=False))
            weights = dict(network.named_parameters())
            torch._foreach_lerp_([found[name] for name in weights], list(weights.values()), share)
            for name, buffer in network.named_buffers():
                found[name].copy_(buffer)


class SoftUpdate(TargetNetUpdater):
    """Moves delayed networks a little at each step: ``target = eps * target + (1 - eps) * network``.

    Lillicrap et al. 2016 (https://arxiv.org/abs/1509.02971, algorithm 1), whose ``tau`` is ``1 - eps``. Buffers, such
    as running means, are copied.

    Args:
        loss_module: the loss.
        eps: share of the old weights that stays, from 0 to 1.
        tau: share of the new weights that comes in; give one of the two.

    Raises:
        ValueError: if not exactly one of ``eps`` and ``tau`` is given, or it is not between 0 and 1, or the loss delays
            no network.

    Example:
        >>> from tensordict.nn import TensorDictModule
        >>> from torch import nn
        >>> from agents import DQNLoss
        >>> net = nn.Linear(1, 2)
        >>> loss = DQNLoss(TensorDictModule(net, ["observation"], ["action_value"]))
        >>> updater = SoftUpdate(loss, tau=0.5)
        >>> _ = nn.init.constant_(net.bias, 1.0), nn.init.constant_(loss.target_value_network.module.bias, 0.0)
        >>> updater.step()
        >>> loss.target_value_network.module.bias
        tensor([0.5000, 0.5000])
    """

    def __init__(self, loss_module: LossModule, *, eps: float | None = None, tau: float | None = None) -> None:
        if (eps is None) == (tau is None):
            raise ValueError(f"SoftUpdate: expected exactly one of eps and tau, found eps={eps} and tau={tau}")
        share = 1.0 - eps if tau is None else tau  # type: ignore[operator]
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"SoftUpdate: expected eps or tau from 0 to 1, found {tau if eps is None else eps}")
        super().__init__(loss_module)
        self.tau = share

    def step(self) -> None:
        """Move the delayed networks, after a step of the optimizer."""
        self._move(self.tau)


class HardUpdate(TargetNetUpdater):
    """Copies the networks into the delayed ones every so many steps (Mnih et al. 2015, doi:10.1038/nature14236).

    Args:
        loss_module: the loss.
        value_network_update_interval: number of steps from copy to copy.

    Raises:
        ValueError: if the interval is not positive, or the loss delays no network.

    Example:
        >>> from tensordict.nn import TensorDictModule
        >>> from torch import nn
        >>> from agents import DQNLoss
        >>> loss = DQNLoss(TensorDictModule(nn.Linear(1, 2), ["observation"], ["action_value"]))
        >>> updater = HardUpdate(loss, value_network_update_interval=100)
        >>> updater.step()
        >>> updater.state_dict()
        {'steps': 1}
    """

    def __init__(self, loss_module: LossModule, *, value_network_update_interval: int = 1000) -> None:
        if value_network_update_interval < 1:
            raise ValueError(
                "HardUpdate: expected value_network_update_interval of at least 1, "
                f"found {value_network_update_interval}"
            )
        super().__init__(loss_module)
        self.interval = value_network_update_interval
        self.steps = 0

    def step(self) -> None:
        """Count a step of the optimizer, and copy if it is the last one of an interval."""
        self.steps += 1
        if self.steps % self.interval == 0:
            self.init_()

    def state_dict(self) -> dict[str, int]:
        """The number of steps so far."""
        return {"steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on from the number of steps in ``state_dict``."""
        self.steps = int(state_dict["steps"])
