"""Value decomposition networks (Sunehag et al. 2018, https://arxiv.org/abs/1706.05296).

:class:`~agents.algorithms.independent_dqn.IndependentDQN` for a team that has one reward: the values of the agents'
actions are mixed to that of all of them together, which is what learns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase
from torch import Tensor, nn

from agents.algorithms.independent_dqn import IndependentDQN, IndependentDQNConfig
from agents.algorithms.team_spaces import TeamSpaces
from agents.nn.mixers import Mixer, VDNMixer
from agents.objectives import chosen_value, greedy_value, value_loss
from agents.returns import td0_target
from envkit import EnvBase, SpecError
from envkit.core.inlined_layers import on_tensors

__all__ = ["VDN", "VDNConfig"]


@dataclass
class VDNConfig(IndependentDQNConfig):
    """Hyper-parameters of :class:`VDN`; steps and batch sizes count steps of the env."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.distribution is not None:
            raise ValueError(
                f"{type(self).__name__}.distribution: expected None, for values that are mixed are means, "
                f"found {self.distribution!r}"
            )


class VDN(IndependentDQN):
    """An agent that learns the values of a team's joint actions as the sum of values of its agents' actions.

    The reward is that of the team: where agents have rewards of their own, their mean. The done flag is that of the
    episode. The value of an agent that has left the episode is 0. What else the env has to be like is told at
    :class:`~agents.algorithms.ippo.IPPO`; actions are discrete.

    Args:
        env: where it learns; an env with a batch is stepped as one. Its observations are vectors.
        config: the hyper-parameters.
        seed: seeds the env, the networks and the exploration; None leaves them as they are.
        observation_keys: what the network sees, all observations of the group by default.
        network: from the observations, ``[*batch, agents, n]`` each, to the values of actions, of the same leading
            shape.
        mixer: from the values of the chosen actions, and the state if it needs one, to that of all together. The state
            is an observation ``"state"`` at the root, or else all that the agents see; as a vector.

    Raises:
        SpecError: the env has no group of agents or several, or agents of different kinds; actions or observations that
            it cannot handle; or no done flag at the root.

    Examples:
        >>> from envkit import VmasEnv  # doctest: +SKIP
        >>> env = VmasEnv("balance", num_envs=4, continuous_actions=False)  # doctest: +SKIP
        >>> VDN(env).train(max_steps=2_000)["iteration"]  # doctest: +SKIP
        2.0
    """

    Config = VDNConfig
    config: VDNConfig
    spaces: TeamSpaces

    def __init__(
        self,
        env: EnvBase,
        config: VDNConfig | None = None,
        *,
        seed: int | None = 0,
        observation_keys: Sequence[NestedKey] | None = None,
        network: nn.Module | None = None,
        mixer: Mixer | None = None,
    ) -> None:
        self._given = network, mixer
        super().__init__(env, config, seed=seed, observation_keys=observation_keys)
        if self.spaces.streams > self.spaces.count:
            raise SpecError(
                f"{type(self).__name__}: expected a done flag at the root, found one of each agent at "
                f"{self.spaces.done_key!r}"
            )

    # --------------------------------------------------------------- networks

    def _default_network(self) -> nn.Module:
        network, mixer = self._given
        return _Mixed(
            super()._default_network() if network is None else network,
            self._default_mixer() if mixer is None else mixer,
        )

    def _default_mixer(self) -> Mixer:
        return VDNMixer(self.spaces.team.numel())

    def _seen_keys(self) -> list[NestedKey]:
        return list(dict.fromkeys([*self.spaces.observation_keys, *self.spaces.state_keys]))

    # ----------------------------------------------------------------- update

    def losses(self, out: Tensor, rows: TensorDictBase) -> tuple[Tensor, Tensor]:
        """See :meth:`DQN.losses`."""
        spaces, following = self.spaces, rows["next"]
        chosen, alive = chosen_value(out, rows[spaces.action_key]), spaces.alive(rows)
        value = self._joint(self.network, chosen if alive is None else chosen * alive, rows)
        with torch.no_grad():
            observation = self.observations(following)
            values = self.target.module(*observation)
            selector = self.network(*observation) if self.config.double else values
            best = greedy_value(values, selector, None if spaces.mask_key is None else following[spaces.mask_key])
            if alive is not None:
                best = best.masked_fill(spaces.terminated(following), 0.0)
            reward, terminated = spaces.team_reward(following), following[spaces.terminated_key].squeeze(-1)
            next_value = self._joint(self.target.module, best, following)
            target = td0_target(reward, next_value, terminated, self._discount(rows, reward))
        return value_loss(value, target, "smooth_l1"), (target - value.detach()).abs()

    def _joint(self, network: nn.Module, chosen: Tensor, rows: TensorDictBase) -> Tensor:
        """The value, ``[batch]``, of the agents' actions together, whose own values are ``[batch, agents]``."""
        mixer: Any = network.mixer
        state = self.spaces.state(rows) if mixer.needs_state else None
        return mixer(chosen.unsqueeze(-1), state).squeeze(-1)


class _Mixed(nn.Module):
    """The network of the agents' values, which a call is one of, and the mixer that learns and is delayed with it."""

    def __init__(self, agents: nn.Module, mixer: Mixer) -> None:
        super().__init__()
        self.agents, self.mixer = agents, mixer

    def forward(self, *observation: Tensor) -> Tensor:
        return self.agents(*observation)

    def on_tensors(self) -> Callable[..., Tensor]:
        """See ``on_tensors`` in ``envkit/core/inlined_layers.py``."""
        return on_tensors(self.agents)
