"""Independent proximal policy optimisation (de Witt et al. 2020, https://arxiv.org/abs/2011.09533).

:class:`~agents.PPO` for a group of agents, each of which learns from what it sees and earns itself. What this adds is
that there may be a network for all agents or one each.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from agents.algorithms.ppo import PPO, PPOConfig
from agents.nn.free_deviation import FreeDeviation
from agents.nn.multi_agent import MultiAgentNetwork

__all__ = ["IPPO", "IPPOConfig"]


@dataclass
class IPPOConfig(PPOConfig):
    """Hyper-parameters of :class:`IPPO`; steps and batch sizes count steps of the env."""

    share_params: bool = True
    """One policy and one critic for all agents, rather than one each."""


class IPPO(PPO):
    """An agent that learns by independent PPO: the policy of a group whose members act at once.

    The env has one group, with entries ``(group, "observation")``, ``(group, "action")`` and so on of shape
    ``[*batch, agents, ...]``; a reward or done flag at the root counts for all agents. Returns are reported as the mean
    over the agents. Agents whose done flag goes up before that of the episode are not learnt from after it.

    Args:
        env: where it learns; an env with a batch is stepped as one. Its observations are vectors.
        config: the hyper-parameters.
        seed: seeds the env, the networks and the sampling; None leaves them as they are.
        observation_keys: what the networks see, all observations of the group by default.
        actor: a network from the observations, ``[*batch, agents, n]`` each, to logits, or to mean and standard
            deviation, of the same leading shape.
        critic: a network from the observations to values, ``[*batch, agents, 1]``.

    Raises:
        SpecError: the env has no group of agents or several, or agents of different kinds; or actions or observations
            that the default networks cannot handle.

    Examples:
        >>> from envkit import VmasEnv  # doctest: +SKIP
        >>> agent = IPPO(VmasEnv("balance", num_envs=4, n_agents=3), IPPOConfig(steps_per_env=32))  # doctest: +SKIP
        >>> agent.train(max_steps=256)["iteration"]  # doctest: +SKIP
        2.0
    """

    Config = IPPOConfig
    team = True
    config: IPPOConfig

    def _mlp(self, width: int, out: int, gain: float) -> nn.Module:
        """A perceptron for the agents' own inputs."""

        def make() -> nn.Module:
            return PPO._mlp(self, width, out, gain)

        return MultiAgentNetwork(make, self.spaces.team.numel(), share_params=self.config.share_params)

    def _default_actor(self, width: int) -> nn.Module:
        size = self.spaces.action_size
        net = self._mlp(width, size, 0.01)
        if self.discrete:
            return net
        deviations = size if self.config.share_params else (*self.spaces.team, size)
        return FreeDeviation(net, deviations, self.config.initial_log_std)
