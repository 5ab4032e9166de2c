"""Independent Q-learning (Tan 1993, doi:10.1016/B978-1-55860-307-3.50049-6) with deep networks.

:class:`~agents.DQN` for a group of agents, each of which learns from what it sees and earns itself. What this adds is
that there may be a network for all agents or one each.
"""

from __future__ import annotations

from dataclasses import dataclass

from tensordict import TensorDictBase
from torch import Tensor, nn

from agents.algorithms.dqn import DQN, DQNConfig
from agents.nn.multi_agent import MultiAgentNetwork

__all__ = ["IndependentDQN", "IndependentDQNConfig"]


@dataclass
class IndependentDQNConfig(DQNConfig):
    """Hyper-parameters of :class:`IndependentDQN`; steps and batch sizes count steps of the env."""

    share_params: bool = True
    """One network for all agents, rather than one each."""


class IndependentDQN(DQN):
    """An agent that learns by independent Q-learning: the policy of a group whose members act at once.

    In the field that is IQL, which here is the name of a loss, implicit Q-learning. What the env has to be like is told
    at :class:`~agents.algorithms.ippo.IPPO`; actions are discrete.

    Args:
        env: where it learns; an env with a batch is stepped as one. Its observations are vectors.
        config: the hyper-parameters.
        seed: seeds the env, the network and the exploration; None leaves them as they are.
        observation_keys: what the network sees, all observations of the group by default.
        network: from the observations, ``[*batch, agents, n]`` each, to the values of actions, of the same leading
            shape; see :class:`~agents.DQN`.

    Raises:
        SpecError: the env has no group of agents or several, or agents of different kinds; or actions or observations
            that it cannot handle.

    Examples:
        >>> from envkit import VmasEnv  # doctest: +SKIP
        >>> env = VmasEnv("balance", num_envs=4, continuous_actions=False)  # doctest: +SKIP
        >>> IndependentDQN(env).train(max_steps=2_000)["iteration"]  # doctest: +SKIP
        2.0
    """

    Config = IndependentDQNConfig
    team = True
    config: IndependentDQNConfig

    def _default_network(self) -> nn.Module:
        def make() -> nn.Module:
            return DQN._default_network(self)

        return MultiAgentNetwork(make, self.spaces.team.numel(), share_params=self.config.share_params)

    def losses(self, out: Tensor, rows: TensorDictBase) -> tuple[Tensor, Tensor]:
        """See :meth:`DQN.losses`; a mean over the agents that took part in the step."""
        alive = self.spaces.alive(rows)
        losses, errors = super().losses(out, rows)
        if alive is None:
            return losses.mean(-1), errors.mean(-1)
        count = alive.sum(-1).clamp(min=1)
        return (losses * alive).sum(-1) / count, (errors * alive).sum(-1) / count
