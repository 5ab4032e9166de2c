"""What agents share that learn from what they have just collected."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase
from tensordict.nn import TensorDictModule, TensorDictModuleBase, TensorDictSequential
from torch import Tensor, nn

from agents.algorithms.base import BaseAgent
from agents.algorithms.config import ACTIVATIONS, check_config
from agents.descent import Descent
from agents.nn import MLP, Categorical, IndependentNormal, ProbabilisticActor
from agents.nn.free_deviation import FreeDeviation
from agents.returns import gae
from agents.trainer.hook import Metrics
from envkit import Collector, EnvBase

__all__ = ["OnPolicyAgent", "OnPolicyConfig"]


@dataclass
class OnPolicyConfig:
    """Hyper-parameters of agents that learn from what they have just collected."""

    steps_per_env: int = 128
    """Steps of each env per iteration."""
    gamma: float = 0.99
    """Discount factor."""
    gae_lambda: float = 0.95
    """Weight of longer returns in the advantage estimate."""
    lr: float = 2.5e-4
    """Learning rate of Adam."""
    anneal_lr: bool = True
    """Lower the learning rate linearly to zero over the training."""
    entropy_coef: float = 0.01
    """Weight of the entropy bonus."""
    critic_coef: float = 0.5
    """Weight of the critic's loss."""
    max_grad_norm: float | None = 0.5
    """Largest norm of the gradient; None for any."""
    normalize_advantage: bool = True
    """Bring the advantages that an update learns from to mean 0 and standard deviation 1."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers of both networks."""
    activation: str = "tanh"
    """Activation: elu, gelu, relu, silu or tanh."""
    initial_log_std: float = 0.0
    """Logarithm of the first standard deviation, for continuous actions."""

    def __post_init__(self) -> None:
        check_config(self, self.ranges())

    @staticmethod
    def ranges() -> dict[str, tuple[float, float]]:
        """Lowest and highest value of the numbers."""
        return {
            "steps_per_env": (1, math.inf),
            "gamma": (0, 1),
            "gae_lambda": (0, 1),
            "lr": (0, math.inf),
            "entropy_coef": (0, math.inf),
            "critic_coef": (0, math.inf),
            "max_grad_norm": (0, math.inf),
        }


class OnPolicyAgent(BaseAgent):
    """An actor, a critic, and batches of steps of the present policy, with discrete or continuous actions.

    Discrete actions come from a :class:`~agents.nn.Categorical`. Continuous ones come from a normal distribution
    whose standard deviation does not depend on the state; the sample (``"raw_action"``) is clipped to the action's
    bounds on its way to the env.

    A subclass defines :meth:`update`, and its ``Config``.

    Args:
        env: where it learns; an env with a batch is stepped as one. Its observations are vectors.
        config: the hyper-parameters.
        seed: seeds the env, the networks and the sampling; None leaves them as they are.
        observation_keys: what the networks see, all observations by default.
        actor: a network from the observations, in the order of ``observation_keys``, to logits, or to mean and
            standard deviation; by default a multi-layer perceptron.
        critic: a network from the observations to a value of shape ``[*batch, 1]``.

    Raises:
        SpecError: the env's actions or observations are of a kind that the default networks cannot handle, or it has
            several rewards or done flags.
    """

    config: OnPolicyConfig

    def __init__(
        self,
        env: EnvBase,
        config: OnPolicyConfig | None = None,
        *,
        seed: int | None = 0,
        observation_keys: Sequence[NestedKey] | None = None,
        actor: nn.Module | None = None,
        critic: nn.Module | None = None,
    ) -> None:
        super().__init__(env, config, seed=seed, observation_keys=observation_keys)
        self.observation_keys = self.spaces.observation_keys
        width = self.spaces.observation_width() if actor is None or critic is None else 0
        self.actor = actor if actor is not None else self._default_actor(width)
        self.critic = critic if critic is not None else self._mlp(width, 1, 1.0)
        self.optimizer = Descent(
            [*self.actor.parameters(), *self.critic.parameters()],
            self.config.lr,
            eps=1e-5,
            max_grad_norm=self.config.max_grad_norm,
        )
        self.policy = self._policy()
        self.collector = Collector(env, self.policy, frames_per_batch=self.steps_per_iteration)

    # --------------------------------------------------------------- networks

    def _mlp(self, width: int, out: int, gain: float) -> MLP:
        """Orthogonal weights, zero biases; the last layer's ``gain`` sets the size of the first outputs."""
        cells = list(self.config.hidden_sizes)
        net = MLP(width, out, num_cells=cells, activation_class=ACTIVATIONS[self.config.activation])
        layers = [layer for layer in net if isinstance(layer, nn.Linear)]
        for layer in layers:
            nn.init.orthogonal_(layer.weight, gain if layer is layers[-1] else 2**0.5)
            nn.init.zeros_(layer.bias)
        return net

    def _default_actor(self, width: int) -> nn.Module:
        size = self.spaces.action_size
        if self.discrete:
            return self._mlp(width, size, 0.01)
        return FreeDeviation(self._mlp(width, size, 0.01), size, self.config.initial_log_std)

    @property
    def discrete(self) -> bool:
        """Whether actions are indices."""
        return self.spaces.discrete

    @property
    def taken_key(self) -> NestedKey:
        """Where the action is that the distribution is of: the one before it is clipped."""
        return self.spaces.action_key if self.discrete else "raw_action"

    def _policy(self) -> TensorDictModuleBase:
        """The actor as a module on TensorDicts: what collects, is evaluated and is handed to rollouts."""
        key = self.env.action_key
        if self.discrete:
            net = TensorDictModule(self.actor, in_keys=self.observation_keys, out_keys=["logits"])
            return ProbabilisticActor(net, ["logits"], [key], distribution_class=Categorical)
        net = TensorDictModule(self.actor, in_keys=self.observation_keys, out_keys=["loc", "scale"])
        gaussian = ProbabilisticActor(net, ["loc", "scale"], ["raw_action"], distribution_class=IndependentNormal)
        clip = TensorDictModule(_Clip(*self.spaces.action_bounds()), in_keys=["raw_action"], out_keys=[key])
        return TensorDictSequential(gaussian, clip)

    def distribution(self, *observation: Tensor) -> Categorical | IndependentNormal:
        """The distribution of actions at a batch of observations."""
        out = self.actor(*observation)
        return Categorical(out) if self.discrete else IndependentNormal(*out)

    def behaviour(self, batch: TensorDictBase) -> Categorical | IndependentNormal:
        """The distribution that the actions of a collected batch were drawn from, of batch shape ``[steps]``."""
        keys = ["logits"] if self.discrete else ["loc", "scale"]
        parameters = [batch[key].flatten(0, batch.ndim - 1) for key in keys]
        return Categorical(*parameters) if self.discrete else IndependentNormal(*parameters)

    # -------------------------------------------------------------- iteration

    @property
    def steps_per_iteration(self) -> int:
        """Env steps of one iteration."""
        return self.config.steps_per_env * self.spaces.count

    def step(self) -> Metrics:
        """Collects a batch, estimates advantages, updates both networks.

        Raises:
            ValueError: the batch has too few steps to learn from. An agent that only acts may have such an env.
        """
        self._check_batch()
        lr = self.config.lr * (self.remaining if self.config.anneal_lr else 1.0)
        self.optimizer.lr = lr
        self._before_batch()
        batch = self._after_batch(self.collector.next())
        losses = self.update(self.estimate(batch))
        self.iterations += 1
        self.steps += self.steps_per_iteration
        self._count_episodes(batch)
        return self._metrics(learning_rate=lr, **losses)

    @abstractmethod
    def update(self, data: dict[Any, Tensor]) -> Metrics:
        """Learns from one batch, of which :meth:`estimate` made the data; returns what there is to say about it."""

    def _check_batch(self) -> None:
        """One row has no standard deviation, which would turn all weights to NaN."""
        if self.config.normalize_advantage and self.steps_per_iteration < 2:
            name = type(self.config).__name__
            raise ValueError(f"{name}.steps_per_env: expected 2 or more steps to normalise, found 1")

    def normalized(self, advantage: Tensor) -> Tensor:
        """Advantages as an update reads them."""
        if not self.config.normalize_advantage:
            return advantage
        std, mean = torch.std_mean(advantage)
        return (advantage - mean) / (std + 1e-8)

    @torch.no_grad()
    def estimate(self, batch: TensorDictBase) -> dict[Any, Tensor]:
        """Advantages and value targets of a batch; returns what the update reads, one row per step."""
        following, shape = batch["next"], (self.spaces.count, self.config.steps_per_env, 1)
        done, terminated = (following[key].reshape(shape) for key in (self.spaces.done_key, self.spaces.terminated_key))
        observations = [batch[key].flatten(0, batch.ndim - 1) for key in self.observation_keys]
        value = self.critic(*observations).view(shape)
        # What follows a step is the next step's observation, save at the ends: of the batch and of episodes.
        next_value = torch.empty_like(value)
        next_value[:, :-1] = value[:, 1:]
        ends = done[..., 0].clone()
        ends[:, -1] = True
        ends = ends.flatten()
        last = [following[key].flatten(0, batch.ndim - 1)[ends] for key in self.observation_keys]
        next_value.view(-1, 1)[ends] = self.critic(*last)
        advantage, target = gae(
            following[self.env.reward_key].reshape(shape),
            value,
            next_value,
            done,
            terminated,
            gamma=self.config.gamma,
            lmbda=self.config.gae_lambda,
        )
        action = batch[self.taken_key].flatten(0, batch.ndim - 1)
        return {
            "action": action,
            "log_prob": self.behaviour(batch).log_prob(action),
            "advantage": advantage.flatten(),
            "target": target.flatten(),
            "value": value.flatten(),
            **{("observation", key): column for key, column in zip(self.observation_keys, observations, strict=True)},
        }

    def _parts(self) -> dict[str, Any]:
        return {"actor": self.actor, "critic": self.critic, "optimizer": self.optimizer}


class _Clip(nn.Module):
    """Clips a raw action to its bounds."""

    low: Tensor
    high: Tensor

    def __init__(self, low: Tensor, high: Tensor) -> None:
        super().__init__()
        self.register_buffer("low", low)
        self.register_buffer("high", high)

    def forward(self, raw: Tensor) -> Tensor:
        return torch.clamp(raw, self.low, self.high)
