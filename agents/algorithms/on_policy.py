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
from agents.algorithms.reward_scale import RewardScale
from agents.descent import Descent, NonFiniteUpdateError
from agents.nn import MLP, Categorical, IndependentNormal, ProbabilisticActor
from agents.nn.free_deviation import FreeDeviation
from agents.returns import gae
from agents.trainer.hook import Metrics
from envkit import Collector, EnvBase
from envkit.transforms.keys import sibling

__all__ = ["OnPolicyAgent", "OnPolicyConfig"]


@dataclass
class OnPolicyConfig:
    """Hyper-parameters of agents that learn from what they have just collected."""

    steps_per_env: int = 128
    """Steps of each env per iteration."""
    gamma: float = 0.99
    """Discount factor; negative where players take turns, and what follows a step is the other one's gain."""
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
    normalize_reward: bool = False
    """Divide the rewards that advantages are of by the running standard deviation of discounted returns."""
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
            "gamma": (-1, 1),
            "gae_lambda": (0, 1),
            "lr": (0, math.inf),
            "entropy_coef": (0, math.inf),
            "critic_coef": (0, math.inf),
            "max_grad_norm": (0, math.inf),
        }


class OnPolicyAgent(BaseAgent):
    """An actor, a critic, and batches of steps of the present policy, with discrete or continuous actions.

    Discrete actions come from a :class:`~agents.nn.Categorical`, of those that are possible where the env says which
    are, in an observation ``"action_mask"`` or ``"mask"``. Continuous ones come from a normal distribution
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
        self.critic = critic if critic is not None else self._default_critic(width)
        self.optimizer = Descent(
            [*self.actor.parameters(), *self.critic.parameters()],
            self.config.lr,
            eps=1e-5,
            max_grad_norm=self.config.max_grad_norm,
        )
        self.reward_scale = RewardScale((self.spaces.count, *self.spaces.team), self.config.gamma)
        self.policy = self._policy()
        self.collector = Collector(env, self.policy, frames_per_batch=self.steps_per_iteration)

    # --------------------------------------------------------------- networks

    def _mlp(self, width: int, out: int, gain: float) -> nn.Module:
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

    def _default_critic(self, width: int) -> nn.Module:
        return self._mlp(width, 1, 1.0)

    @property
    def discrete(self) -> bool:
        """Whether actions are indices."""
        return self.spaces.discrete

    @property
    def taken_key(self) -> NestedKey:
        """Where the action is that the distribution is of: the one before it is clipped."""
        return self.spaces.action_key if self.discrete else sibling(self.spaces.action_key, "raw_action")

    @property
    def parameter_keys(self) -> list[NestedKey]:
        """Where the parameters of the distribution stand."""
        names = ["logits"] if self.discrete else ["loc", "scale"]
        return [sibling(self.spaces.action_key, name) for name in names]

    def _policy(self) -> TensorDictModuleBase:
        """The actor as a module on TensorDicts: what collects, is evaluated and is handed to rollouts."""
        key, parameters, taken = self.spaces.action_key, self.parameter_keys, self.taken_key
        net = TensorDictModule(self.actor, in_keys=self.observation_keys, out_keys=parameters)
        if self.discrete:
            allow = [
                TensorDictModule(_allowed, in_keys=[*parameters, mask], out_keys=parameters)
                for mask in self.spaces.mask_keys
            ]
            logits = TensorDictSequential(net, *allow) if allow else net
            return ProbabilisticActor(logits, parameters, [key], distribution_class=Categorical)
        gaussian = ProbabilisticActor(net, parameters, [taken], distribution_class=IndependentNormal)
        clip = TensorDictModule(_Clip(*self.spaces.action_bounds()), in_keys=[taken], out_keys=[key])
        return TensorDictSequential(gaussian, clip)

    def distribution(self, *observation: Tensor, mask: Tensor | None = None) -> Categorical | IndependentNormal:
        """The distribution of actions at a batch of observations; a mask says which of them are possible."""
        out = self.actor(*observation)
        if not self.discrete:
            return IndependentNormal(*out)
        return Categorical(out if mask is None else _allowed(out, mask))

    def behaviour(self, batch: TensorDictBase) -> Categorical | IndependentNormal:
        """The distribution that the actions of a collected batch were drawn from, of batch shape ``[steps, *team]``."""
        parameters = [batch[key].flatten(0, batch.ndim - 1) for key in self.parameter_keys]
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
            NonFiniteUpdateError: an update had a gradient that is not finite; the batch is in the error.
        """
        self._check_batch()
        lr = self.config.lr * (self.remaining if self.config.anneal_lr else 1.0)
        self.optimizer.lr = lr
        self._before_batch()
        batch = self._after_batch(self.collector.next())
        try:
            losses = self.update(self.estimate(batch))
        except NonFiniteUpdateError as error:
            error.rows = batch
            raise
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

    def of_living(self, data: dict[Any, Tensor], *numbers: Tensor) -> Sequence[Tensor]:
        """Of numbers for each row of an update's data, ``[steps, *team]``, those of agents that took part in the step.

        Only where agents leave a team before its episode ends is that less than all.
        """
        alive = data.get("alive")
        return numbers if alive is None else [number[alive] for number in numbers]

    def rewards(self, batch: TensorDictBase) -> Tensor:
        """The rewards of a batch as advantages see them, ``[envs, time, *team]``; learns their scale, if asked to."""
        following, spaces = batch["next"], self.spaces
        shape = (spaces.count, self.config.steps_per_env, *spaces.team)
        reward, alive = spaces.reward(following).reshape(shape), spaces.alive(batch)
        if not self.config.normalize_reward:
            return reward
        done = spaces.done(following).reshape(shape)
        return self.reward_scale(reward, done, None if alive is None else alive.reshape(shape))

    @torch.no_grad()
    def estimate(self, batch: TensorDictBase) -> dict[Any, Tensor]:
        """Advantages and value targets of a batch; returns what the update reads, one row per step."""
        following, spaces = batch["next"], self.spaces
        shape = (spaces.count, self.config.steps_per_env, *spaces.team)

        def columns(rows: Tensor) -> Tensor:
            """Numbers of steps with time where :func:`gae` has it, ``[envs, *team, time, 1]``."""
            return rows.reshape(shape).movedim(1, -1).unsqueeze(-1)

        def rows(columns: Tensor) -> Tensor:
            return columns.squeeze(-1).movedim(-1, 1).flatten(0, 1)

        done = spaces.done(following)
        observations = [batch[key].flatten(0, batch.ndim - 1) for key in self.observation_keys]
        value = self.critic(*observations).view(shape)
        # What follows a step is the next step's observation, save at the ends: of the batch and of episodes.
        next_value = torch.empty_like(value)
        next_value[:, :-1] = value[:, 1:]
        ends = done.reshape(*shape[:2], -1).any(-1)
        ends[:, -1] = True
        ends = ends.flatten()
        last = [following[key].flatten(0, batch.ndim - 1)[ends] for key in self.observation_keys]
        next_value.view(-1, *spaces.team)[ends] = self.critic(*last).squeeze(-1)
        advantage, target = gae(
            columns(self.rewards(batch)),
            columns(value),
            columns(next_value),
            columns(done),
            columns(spaces.terminated(following)),
            gamma=self.config.gamma,
            lmbda=self.config.gae_lambda,
        )
        action, alive = batch[self.taken_key].flatten(0, batch.ndim - 1), spaces.alive(batch)
        masks = {} if spaces.mask_key is None else {"mask": batch[spaces.mask_key].flatten(0, batch.ndim - 1)}
        return {
            "action": action,
            "log_prob": self.behaviour(batch).log_prob(action),
            "advantage": rows(advantage),
            "target": rows(target),
            "value": value.flatten(0, 1),
            **({} if alive is None else {"alive": alive.flatten(0, batch.ndim - 1)}),
            **masks,
            **{("observation", key): column for key, column in zip(self.observation_keys, observations, strict=True)},
        }

    def _parts(self) -> dict[str, Any]:
        parts = {"actor": self.actor, "critic": self.critic, "optimizer": self.optimizer}
        return {**parts, "reward_scale": self.reward_scale} if self.config.normalize_reward else parts

    def _forget_episodes(self) -> None:
        super()._forget_episodes()
        self.reward_scale.restart()


def _allowed(logits: Tensor, mask: Tensor) -> Tensor:
    """Logits of minus infinity for actions that are not possible."""
    return logits.masked_fill(~mask, -torch.inf)


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
