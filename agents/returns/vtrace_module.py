"""Returns of another policy's steps, on TensorDicts."""

from __future__ import annotations

from typing import Any

from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from agents.returns.estimator import Steps, ValueEstimator
from agents.returns.shapes import per_step
from agents.returns.vtrace import vtrace

__all__ = ["VTrace"]


class VTrace(ValueEstimator):
    """Writes ``"advantage"`` and ``"value_target"`` by :func:`vtrace`; see :class:`ValueEstimator`.

    It reads the ``"action"`` and ``"sample_log_prob"`` of the policy that acted.

    Args:
        gamma: discount factor.
        actor_network: the policy that learns, with a ``get_dist(tensordict)`` method.
        value_network: TensorDict module that writes the value entry, shape ``[*batch, 1]``; ``None`` uses the
            values which the TensorDict has under both keys already.
        rho_thresh: upper bound of the weight of a step.
        c_thresh: upper bound of the weight by which a step sees what follows.
        time_dim: batch dimension of time, if it is neither named so nor the last one.

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> from agents.nn import MLP, Categorical, ProbabilisticActor, TensorDictModule
        >>> net = TensorDictModule(MLP(3, 2), in_keys=["observation"], out_keys=["logits"])
        >>> actor = ProbabilisticActor(net, ["logits"], distribution_class=Categorical, return_log_prob=True)
        >>> flags, zeros = torch.zeros(5, 1, dtype=torch.bool), torch.zeros(5, 1)
        >>> after = {"state_value": zeros, "reward": zeros + 1, "done": flags, "terminated": flags}
        >>> data = TensorDict({"observation": torch.randn(5, 3), "state_value": zeros, "next": after}, [5])
        >>> VTrace(1.0, actor)(actor(data).detach())["value_target"].squeeze(-1)
        tensor([5., 4., 3., 2., 1.])
    """

    def __init__(
        self,
        gamma: float,
        actor_network: Any,
        value_network: TensorDictModuleBase | None = None,
        *,
        rho_thresh: float = 1.0,
        c_thresh: float = 1.0,
        time_dim: int | None = None,
    ) -> None:
        super().__init__(gamma, value_network, time_dim=time_dim)
        self.actor_network = actor_network
        self.rho_thresh = float(rho_thresh)
        self.c_thresh = float(c_thresh)

    def _estimate(self, tensordict: TensorDictBase, steps: Steps, value: Tensor) -> tuple[Tensor, Tensor]:
        keys = self.keys
        log_prob = self.actor_network.get_dist(tensordict).log_prob(tensordict[keys.action])
        return vtrace(
            steps.reward,
            value,
            steps.next_value,
            steps.done,
            steps.terminated,
            steps.column(log_prob),
            steps.column(per_step("VTrace", tensordict, keys.sample_log_prob, steps.shape)),
            gamma=self.gamma,
            rho_thresh=self.rho_thresh,
            c_thresh=self.c_thresh,
        )
