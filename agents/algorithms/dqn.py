"""Deep Q-learning (Mnih et al. 2015, doi:10.1038/nature14236), with the parts of Rainbow as options
(Hessel et al. 2018, https://arxiv.org/abs/1710.02298).

Reads from top to bottom: configuration, networks, then one update.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import Tensor, nn

from agents.algorithms.config import ACTIVATIONS, OffPolicyConfig
from agents.algorithms.off_policy import OffPolicyAgent
from agents.descent import Descent
from agents.exploration import EGreedyModule
from agents.nn import MLP, NoisyLinear, reset_noise
from agents.nn.target import TargetNetwork
from agents.objectives import (
    categorical_target,
    chosen_value,
    distributional_dqn_loss,
    dqn_loss,
    greedy_value,
    quantile_huber_loss,
)
from agents.objectives.distributional import chosen_distribution, greedy_distribution
from agents.replay import PrioritizedSampler, ReplayBuffer, TensorDictPrioritizedReplayBuffer
from agents.returns import td0_target
from envkit import EnvBase, ExplorationType, exploration_type
from envkit.core.inlined import Entries, of_sequence, on_entries
from envkit.core.inlined_layers import on_tensors

__all__ = ["DQN", "DQNConfig"]


@dataclass
class DQNConfig(OffPolicyConfig):
    """Hyper-parameters of :class:`DQN`."""

    buffer_size: int = 100_000
    """Steps that the replay buffer holds."""
    batch_size: int = 64
    """Steps that an update learns from."""
    train_freq: int = 4
    """Steps of each env between updates."""
    lr: float = 1e-3
    """Learning rate of Adam."""
    max_grad_norm: float | None = 10.0
    """Largest norm of the gradient; None for any."""
    target_update_interval: int = 250
    """Env steps between copies of the network into the target."""
    tau: float = 1.0
    """How far the target moves towards the network then."""
    eps_init: float = 1.0
    """First share of random actions."""
    eps_end: float = 0.05
    """Last share of random actions."""
    eps_fraction: float = 0.1
    """Share of the training in which the share of random actions falls."""
    double: bool = False
    """The network chooses the action whose value the target tells (van Hasselt et al. 2016)."""
    dueling: bool = False
    """The network tells the value of the state from the advantages of actions (Wang et al. 2016)."""
    prioritized: bool = False
    """Steps that were predicted badly are replayed more often (Schaul et al. 2016)."""
    priority_alpha: float = 0.6
    """How much more often."""
    priority_beta: float = 0.4
    """How much of that the weights of the loss make up for at first; in the end all of it."""
    noisy: bool = False
    """Weights are noisy, and no action is random by other means (NoisyNet, Fortunato et al. 2018)."""
    distribution: str | None = None
    """What is learnt of returns: their mean, or their distribution, categorical (C51) or by quantiles (QR-DQN)."""
    num_atoms: int = 51
    """Numbers by which a distribution is told: returns with probabilities, or quantiles."""
    v_min: float = 0.0
    """Lowest return of a categorical distribution."""
    v_max: float = 500.0
    """Highest return of a categorical distribution."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.distribution not in (None, "categorical", "quantile"):
            raise ValueError(
                f"DQNConfig.distribution: expected 'categorical', 'quantile' or None, found {self.distribution!r}"
            )
        if self.v_min >= self.v_max:
            raise ValueError(f"DQNConfig.v_min: expected less than v_max {self.v_max}, found {self.v_min}")

    @staticmethod
    def ranges() -> dict[str, tuple[float, float]]:
        """Lowest and highest value of the numbers."""
        shares = ("tau", "eps_init", "eps_end", "eps_fraction", "priority_alpha", "priority_beta")
        return {
            **OffPolicyConfig.ranges(),
            **dict.fromkeys(shares, (0, 1)),
            "target_update_interval": (1, math.inf),
            "num_atoms": (2, math.inf),
            "gamma": (-1, 1),
        }


class DQN(OffPolicyAgent):
    """An agent that learns the values of discrete actions.

    Where the env says which actions are possible, in an observation ``"action_mask"`` or ``"mask"``, only those are
    taken, explored and reckoned with. With a negative ``gamma`` what follows a step is another's gain: so one agent
    learns to play both sides of a game whose players take turns, see :class:`~envkit.TicTacToeEnv`.

    Args:
        env: where it learns; an env with a batch is stepped as one. Its observations are vectors.
        config: the hyper-parameters.
        seed: seeds the env, the network and the exploration; None leaves them as they are.
        observation_keys: what the network sees, all observations by default.
        network: from the observations, in the order of ``observation_keys``, to the values of actions, ``[batch, n]``;
            with a distribution to logits or quantiles, ``[batch, num_atoms, n]``.

    Raises:
        SpecError: the env's actions, rewards or observations are of a kind that it cannot handle.

    Examples:
        >>> from agents import DQN, DQNConfig
        >>> from envkit import GymEnv
        >>> config = DQNConfig(hidden_sizes=(8,), learning_starts=20, batch_size=8, steps_per_iteration=24)
        >>> agent = DQN(GymEnv("CartPole-v1"), config)
        >>> agent.train(max_steps=48)["updates"]
        7.0
    """

    Config = DQNConfig
    actions = ("discrete",)
    config: DQNConfig

    def __init__(
        self,
        env: EnvBase,
        config: DQNConfig | None = None,
        *,
        seed: int | None = 0,
        observation_keys: Sequence[NestedKey] | None = None,
        network: nn.Module | None = None,
    ) -> None:
        super().__init__(env, config, seed=seed, observation_keys=observation_keys)
        config = self.config
        self.support = torch.linspace(config.v_min, config.v_max, config.num_atoms)
        self.network = network if network is not None else self._default_network()
        self.target = TargetNetwork(self.network)
        self.optimizer = Descent(self.network.parameters(), self.config.lr, max_grad_norm=self.config.max_grad_norm)
        key, mask = self.spaces.action_key, self.spaces.mask_key
        inputs = [*self.spaces.observation_keys, *self.spaces.mask_keys]
        acting = TensorDictModule(_Greedy(self), in_keys=inputs, out_keys=[key])
        eps = (0.0, 0.0) if config.noisy else (config.eps_init, config.eps_end)
        self.exploration = EGreedyModule(env.action_spec, *eps, action_key=key, action_mask_key=mask)
        self.policy = (
            TensorDictSequential(acting, self.exploration) if config.noisy else _EpsilonGreedy(acting, self.exploration)
        )
        self._begin()

    # --------------------------------------------------------------- networks

    def _default_network(self) -> nn.Module:
        config, width, actions = self.config, self.spaces.observation_width(), self.spaces.action_size
        cells = list(config.hidden_sizes)
        options: dict[str, Any] = {
            "activation_class": ACTIVATIONS[config.activation],
            "layer_class": NoisyLinear if config.noisy else nn.Linear,
        }
        if not config.dueling and config.distribution is None:
            return MLP(width, actions, num_cells=cells, **options)
        atoms = None if config.distribution is None else config.num_atoms
        return _Network(width, cells, actions, atoms, dueling=config.dueling, **options)

    def means(self, out: Tensor) -> Tensor:
        """Values of actions, ``[batch, n]``, of what the network puts out."""
        if self.config.distribution is None:
            return out
        if self.config.distribution == "quantile":
            return out.mean(-2)
        return torch.einsum("...an,a->...n", out.softmax(-2), self.support)

    def _make_buffer(self) -> ReplayBuffer:
        config = self.config
        if not config.prioritized:
            return super()._make_buffer()
        return TensorDictPrioritizedReplayBuffer(
            self._storage(),
            alpha=config.priority_alpha,
            beta=config.priority_beta,
            **self._buffer_options(),
        )

    # ----------------------------------------------------------------- update

    def update(self, rows: TensorDictBase) -> dict[str, Tensor]:
        """One update of the network on rows of the buffer."""
        if self.config.noisy:
            reset_noise(self.network)
            reset_noise(self.target.module)
        out = self.network(*self.observations(rows))
        losses, errors = self.losses(out, rows)
        weighted = losses * rows["_weight"] if self.config.prioritized else losses
        loss = weighted.mean()
        self.optimizer.step(loss)
        if self.config.prioritized:
            self.buffer.update_priority(rows["index"], errors)
        value = chosen_value(self.means(out.detach()), rows[self.spaces.action_key])
        return {"loss": loss.detach(), "value": value.mean()}

    def losses(self, out: Tensor, rows: TensorDictBase) -> tuple[Tensor, Tensor]:
        """The loss of each row, and how badly it was predicted, ``[batch]`` each."""
        action, (reward, terminated, gamma) = rows[self.spaces.action_key], self.outcome(rows)
        with torch.no_grad():
            observation = self.observations(rows["next"])
            following = self.target.module(*observation)
            means = self.means(self.network(*observation) if self.config.double else following)
            if self.spaces.mask_key is not None:
                means = means.masked_fill(~rows["next"].get(self.spaces.mask_key), -torch.inf)
        if self.config.distribution is None:
            target = td0_target(reward, greedy_value(following, means), terminated, gamma)
            losses, errors = dqn_loss(out, action, target, "smooth_l1")
            return losses, errors.abs()
        best = greedy_distribution(following, means)
        if self.config.distribution == "quantile":
            discount = torch.where(terminated, 0.0, gamma).unsqueeze(-1)
            losses = quantile_huber_loss(chosen_distribution(out, action), reward.unsqueeze(-1) + discount * best)
        else:
            probs = categorical_target(reward, best.softmax(-1), terminated, gamma, self.support)
            losses = distributional_dqn_loss(out.log_softmax(-2), action, probs)
        return losses, losses.detach()

    def _schedule(self) -> None:
        if self.horizon is not None:
            self.exploration.annealing.num_steps = max(1, round(self.config.eps_fraction * self.horizon))

    def _collected(self, steps: int) -> None:
        config = self.config
        self.exploration.step(steps)
        if self.steps // config.target_update_interval > (self.steps - steps) // config.target_update_interval:
            self.target.follow(config.tau)
        if isinstance(self.buffer.sampler, PrioritizedSampler):
            self.buffer.sampler.beta = config.priority_beta + (1 - config.priority_beta) * (1 - self.remaining)

    def _further(self) -> dict[str, float]:
        return {"eps": self.exploration.eps}

    def _parts(self) -> dict[str, Any]:
        return {
            "network": self.network,
            "target": self.target,
            "optimizer": self.optimizer,
            "exploration": self.exploration,
        }


class _Network(nn.Module):
    """A perceptron of values ``[*batch, n]``, or of ``[*batch, atoms, n]``, dueling or not."""

    def __init__(
        self, width: int, cells: list[int], actions: int, atoms: int | None, *, dueling: bool, **options: Any
    ) -> None:
        super().__init__()
        self.shape = (actions,) if atoms is None else (atoms, actions)
        size = actions * (atoms or 1)
        self.advantage = MLP(width if not dueling else cells[-1], size, num_cells=[] if dueling else cells, **options)
        self.features = self.value = None
        if dueling:
            self.features = MLP(width, cells[-1], num_cells=cells[:-1], activate_last_layer=True, **options)
            self.value = MLP(cells[-1], atoms or 1, num_cells=[], **options)

    def forward(self, *observation: Tensor) -> Tensor:
        if self.features is None or self.value is None:
            return self.advantage(*observation).unflatten(-1, self.shape)
        features = self.features(*observation)
        advantage = self.advantage(features).unflatten(-1, self.shape)
        value = self.value(features).unflatten(-1, (*self.shape[:-1], 1))
        return value + advantage - advantage.mean(-1, keepdim=True)


class _Greedy(nn.Module):
    """The possible action of the highest value; noisy weights are noisy where the policy explores."""

    def __init__(self, agent: DQN) -> None:
        super().__init__()
        self.network, self._means, self._noisy = agent.network, agent.means, agent.config.noisy
        self._masked = agent.spaces.mask_key is not None

    def forward(self, *inputs: Tensor) -> Tensor:
        if not self._noisy:
            return self._best(self.network, inputs)
        # This looks at what a rollout or a collector asks for.
        explores = exploration_type() is ExplorationType.RANDOM
        self.network.train(explores)
        if explores:
            reset_noise(self.network)
        action = self._best(self.network, inputs)
        self.network.train()
        return action

    def _best(self, network: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> Tensor:
        if not self._masked:
            return self._means(network(*inputs)).argmax(-1)
        *observation, mask = inputs
        return self._means(network(*observation)).masked_fill(~mask, -torch.inf).argmax(-1)

    def on_tensors(self) -> Callable[..., Tensor]:
        """The same without the price of calling modules; see ``on_tensors`` in ``envkit/core/inlined_layers.py``."""
        if self._noisy:
            return self.forward
        network, means = on_tensors(self.network), self._means
        if self._masked:
            return lambda *inputs: self._best(network, inputs)
        return lambda *observation: means(network(*observation)).argmax(-1)


class _EpsilonGreedy(TensorDictSequential):
    """The greedy action, or a random one now and then, for which a loop does not ask the network."""

    def on_entries(self, given: Collection[NestedKey]) -> Callable[[Entries], None] | None:
        """The same on a dict of entries; see ``on_entries`` in ``envkit/core/inlined.py``."""
        exploration: Any = self[1]
        whole, greedy = of_sequence(self, given), on_entries(self[0], given)
        if whole is None or greedy is None:
            return None
        key, *others = exploration.in_keys
        like: Tensor | None = None  # an action of the shape that all of them have

        def run(entries: Entries) -> None:
            nonlocal like
            if like is None or exploration_type() is not ExplorationType.RANDOM:
                whole(entries)
                like = entries[key]
                return
            chosen, drawn = exploration.draw(like, *[entries[other] for other in others])
            if drawn is None or chosen is not None:
                greedy(entries)
            if drawn is not None:
                entries[key] = drawn if chosen is None else torch.where(chosen, drawn, entries[key])

        return run
