"""Proximal policy optimisation (Schulman et al. 2017, https://arxiv.org/abs/1707.06347), clipped form.

Reads from top to bottom: configuration, networks, then one iteration: collect, estimate advantages, update.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase
from tensordict.nn import TensorDictModule, TensorDictModuleBase, TensorDictSequential
from torch import Tensor, nn

from agents.algorithms.base import BaseAgent, Metrics
from agents.algorithms.episodes import EpisodeStatistics
from agents.checkpoint import load_checkpoint, optimizer_tensors, restore_optimizer, save_checkpoint
from agents.nn import MLP, Categorical, IndependentNormal, ProbabilisticActor, flat_parameter
from agents.objectives import approximate_kl, clip_fraction, clipped_surrogate, value_loss
from agents.returns import gae
from envkit import Bounded, Collector, EnvBase, SpecError, TensorSpec, Unbounded
from envkit import Categorical as CategoricalSpec
from envkit.errors import CheckpointError

__all__ = ["PPO", "PPOConfig"]

ACTIVATIONS = {"elu": nn.ELU, "gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}
RANGES = {
    "steps_per_env": (1, math.inf),
    "num_minibatches": (1, math.inf),
    "epochs": (1, math.inf),
    "gamma": (0, 1),
    "gae_lambda": (0, 1),
    "lr": (0, math.inf),
    "clip_epsilon": (0, math.inf),
    "entropy_coef": (0, math.inf),
    "critic_coef": (0, math.inf),
    "max_grad_norm": (0, math.inf),
}
COUNTS = ("iterations", "steps", "episodes")
ADAM_STATE = {"step", "exp_avg", "exp_avg_sq"}


@dataclass
class PPOConfig:
    """Hyper-parameters of :class:`PPO`."""

    steps_per_env: int = 128
    """Steps of each env per iteration."""
    num_minibatches: int = 4
    """Minibatches per epoch."""
    epochs: int = 4
    """Passes over the data of an iteration."""
    gamma: float = 0.99
    """Discount factor."""
    gae_lambda: float = 0.95
    """Weight of longer returns in the advantage estimate."""
    lr: float = 2.5e-4
    """Learning rate of Adam."""
    anneal_lr: bool = True
    """Lower the learning rate linearly to zero over the training."""
    clip_epsilon: float = 0.2
    """How far the probability ratio may move from 1."""
    anneal_clip: bool = False
    """Lower the clipping range linearly to zero over the training."""
    entropy_coef: float = 0.01
    """Weight of the entropy bonus."""
    critic_coef: float = 0.5
    """Weight of the critic's loss."""
    max_grad_norm: float = 0.5
    """Largest norm of the gradient."""
    clip_value: bool = False
    """Clip the critic's change as the policy's."""
    normalize_advantage: bool = True
    """Bring the advantages of each minibatch to mean 0 and standard deviation 1."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers of both networks."""
    activation: str = "tanh"
    """Activation: elu, gelu, relu, silu or tanh."""
    initial_log_std: float = 0.0
    """Logarithm of the first standard deviation, for continuous actions."""

    def __post_init__(self) -> None:
        self.hidden_sizes = tuple(self.hidden_sizes)
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                expected = f"at least {low}" if high == math.inf else f"a number from {low} to {high}"
                raise ValueError(f"PPOConfig.{name}: expected {expected}, found {value}")
        if not all(isinstance(width, int) and width > 0 for width in self.hidden_sizes):
            raise ValueError(f"PPOConfig.hidden_sizes: expected positive integers, found {self.hidden_sizes}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"PPOConfig.activation: expected one of {sorted(ACTIVATIONS)}, found {self.activation!r}")


class PPO(BaseAgent):
    """An agent that learns by proximal policy optimisation, with discrete or continuous actions.

    Discrete actions come from a :class:`~agents.nn.Categorical`. Continuous ones come from a normal distribution
    whose standard deviation does not depend on the state; the sample (``"raw_action"``) is clipped to the action's
    bounds on its way to the env.

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

    Examples:
        >>> from envkit import GymEnv, SerialEnv
        >>> agent = PPO(SerialEnv(2, lambda: GymEnv("CartPole-v1")), PPOConfig(steps_per_env=32))
        >>> metrics = agent.train(max_steps=128)
        >>> agent.steps, agent.iterations
        (128, 2)
        >>> agent.evaluate(GymEnv("CartPole-v1"), seeds=[0]).lengths[0] > 0
        True
    """

    def __init__(
        self,
        env: EnvBase,
        config: PPOConfig | None = None,
        *,
        seed: int | None = 0,
        observation_keys: Sequence[NestedKey] | None = None,
        actor: nn.Module | None = None,
        critic: nn.Module | None = None,
    ) -> None:
        if seed is not None:
            torch.manual_seed(seed)
            env.set_seed(seed)
        self.env, self.config = env, config or PPOConfig()
        self._count = env.numel()
        self._action = _action_leaf(env)
        _check_reward_and_done(env)
        self.observation_keys = list(env.observation_keys if observation_keys is None else observation_keys)
        widths = _observation_widths(env, self.observation_keys) if actor is None or critic is None else []
        self.actor = actor if actor is not None else self._default_actor(sum(widths))
        self.critic = critic if critic is not None else self._mlp(sum(widths), 1, 1.0)
        self.parameters = flat_parameter([*self.actor.parameters(), *self.critic.parameters()])
        self.optimizer = torch.optim.Adam([self.parameters], lr=self.config.lr, eps=1e-5, fused=True)
        self.policy = self._policy()
        self.collector = Collector(env, self.policy, frames_per_batch=self.steps_per_iteration)
        self.statistics = EpisodeStatistics(self._count)

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
        if isinstance(self._action, CategoricalSpec):
            return self._mlp(width, self._action.n, 0.01)
        size = self._action.shape[self.env.batch_dims :].numel()
        return _Gaussian(self._mlp(width, size, 0.01), size, self.config.initial_log_std)

    @property
    def discrete(self) -> bool:
        """Whether actions are indices."""
        return isinstance(self._action, CategoricalSpec)

    def _policy(self) -> TensorDictModuleBase:
        """The actor as a module on TensorDicts: what collects, is evaluated and is handed to rollouts."""
        key = self.env.action_key
        if self.discrete:
            net = TensorDictModule(self.actor, in_keys=self.observation_keys, out_keys=["logits"])
            return ProbabilisticActor(net, ["logits"], [key], distribution_class=Categorical)
        net = TensorDictModule(self.actor, in_keys=self.observation_keys, out_keys=["loc", "scale"])
        gaussian = ProbabilisticActor(net, ["loc", "scale"], ["raw_action"], distribution_class=IndependentNormal)
        clip = TensorDictModule(_Clip(self._action, self.env.batch_dims), in_keys=["raw_action"], out_keys=[key])
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
        return self.config.steps_per_env * self._count

    def restart(self) -> None:
        """See :meth:`BaseAgent.restart`."""
        self.collector.restart()
        self.statistics.restart()

    def step(self) -> Metrics:
        """Collects a batch, estimates advantages, updates both networks.

        Raises:
            ValueError: the batch has too few steps for the minibatches. An agent that only acts may have such an env.
        """
        self._check_minibatches()
        remaining = 1.0 if self.horizon is None else max(0.0, 1.0 - self.steps / self.horizon)
        lr = self.config.lr * (remaining if self.config.anneal_lr else 1.0)
        clip_epsilon = self.config.clip_epsilon * (remaining if self.config.anneal_clip else 1.0)
        self.optimizer.param_groups[0]["lr"] = lr

        batch = self.collector.next()
        losses = self.update(self.estimate(batch), clip_epsilon)

        self.iterations += 1
        self.steps += self.steps_per_iteration
        shape = (self._count, self.config.steps_per_env)
        following = batch["next"]
        self.statistics.update(
            following[self.env.reward_key].reshape(shape), following[self.env.done_key].reshape(shape)
        )
        self.episodes = self.statistics.finished
        return {
            "iteration": float(self.iterations),
            "steps": float(self.steps),
            "episodes": float(self.episodes),
            "return_mean": self.statistics.return_mean,
            "episode_length_mean": self.statistics.length_mean,
            "learning_rate": lr,
            **losses,
        }

    @torch.no_grad()
    def estimate(self, batch: TensorDictBase) -> dict[Any, Tensor]:
        """Advantages and value targets of a batch; returns what the update reads, one row per step."""
        following, shape = batch["next"], (self._count, self.config.steps_per_env, 1)
        done, terminated = (following[key].reshape(shape) for key in (self.env.done_key, self._terminated_key))
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
        action = batch[self.env.action_key if self.discrete else "raw_action"].flatten(0, batch.ndim - 1)
        return {
            "action": action,
            "log_prob": self.behaviour(batch).log_prob(action),
            "advantage": advantage.flatten(),
            "target": target.flatten(),
            "value": value.flatten(),
            **{("observation", key): column for key, column in zip(self.observation_keys, observations, strict=True)},
        }

    def update(self, data: dict[Any, Tensor], clip_epsilon: float) -> Metrics:
        """Several epochs of minibatch steps on one batch."""
        config = self.config
        losses: list[Tensor] = []
        log_ratios: list[Tensor] = []
        for rows in self._minibatches(data):
            advantage = rows["advantage"]
            if config.normalize_advantage:
                std, mean = torch.std_mean(advantage)
                advantage = (advantage - mean) / (std + 1e-8)

            observations = [rows["observation", key] for key in self.observation_keys]
            distribution = self.distribution(*observations)
            log_prob = distribution.log_prob(rows["action"])
            entropy = distribution.entropy().mean()
            objective = clipped_surrogate(log_prob, rows["log_prob"], advantage, clip_epsilon).mean()
            clipping = (rows["value"], clip_epsilon) if config.clip_value else ()
            value = self.critic(*observations).flatten()
            critic = 0.5 * value_loss(value, rows["target"], "l2", *clipping).mean()
            loss = objective - config.entropy_coef * entropy + config.critic_coef * critic

            self.optimizer.zero_grad(set_to_none=False)
            loss.backward()
            nn.utils.clip_grad_norm_(self.parameters, config.max_grad_norm)
            self.optimizer.step()

            losses.append(torch.stack([objective, critic, entropy]).detach())
            log_ratios.append((log_prob - rows["log_prob"]).detach())
        names = ("loss_objective", "loss_critic", "entropy")
        drift = torch.cat(log_ratios)
        return {
            **dict(zip(names, torch.stack(losses).mean(0).tolist(), strict=True)),
            "kl_approx": approximate_kl(drift).item(),
            "clip_fraction": clip_fraction(drift, clip_epsilon).item(),
        }

    def _minibatches(self, data: dict[Any, Tensor]) -> Iterator[dict[Any, Tensor]]:
        """The rows of a batch, shuffled and split anew in each epoch."""
        read = [key for key in data if key != "value" or self.config.clip_value]
        for _ in range(self.config.epochs):
            order = torch.randperm(len(data["action"]))
            parts = [data[key][order].tensor_split(self.config.num_minibatches) for key in read]
            for columns in zip(*parts, strict=True):
                yield dict(zip(read, columns, strict=True))

    def _check_minibatches(self) -> None:
        """An empty minibatch has no mean, and one row no standard deviation: either would turn all weights to NaN."""
        least = 2 if self.config.normalize_advantage else 1
        most = self.steps_per_iteration // least
        if self.config.num_minibatches > most:
            raise ValueError(
                f"PPOConfig.num_minibatches: expected at most {most}, for {least} or more of the "
                f"{self.steps_per_iteration} steps in each, found {self.config.num_minibatches}"
            )

    @property
    def _terminated_key(self) -> Any:
        return next(group.terminated for group in self.env.plan.done_groups if group.done == self.env.done_key)

    # ------------------------------------------------------------ checkpoints

    def save(self, path: str | os.PathLike) -> None:
        """Writes networks, optimizer, counts and torch's random state to one safetensors file."""
        tensors = {f"actor.{name}": tensor for name, tensor in self.actor.state_dict().items()}
        tensors |= {f"critic.{name}": tensor for name, tensor in self.critic.state_dict().items()}
        tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizer_tensors(self.optimizer).items()}
        tensors["random_state"] = torch.get_rng_state()
        counts = {name: getattr(self, name) for name in COUNTS}
        save_checkpoint(
            path,
            "PPO",
            tensors,
            {
                "config": asdict(self.config),
                "counts": counts,
                "observation_keys": self.observation_keys,
                "spaces": self._spaces(),
            },
        )

    @classmethod
    def load(
        cls,
        path: str | os.PathLike,
        env: EnvBase,
        *,
        actor: nn.Module | None = None,
        critic: nn.Module | None = None,
    ) -> PPO:
        """An agent as :meth:`save` left it, in ``env``; networks that are not the default ones have to be passed.

        Raises:
            FileNotFoundError: there is no such file.
            CheckpointError: the file is damaged, or was saved for other observations, actions or networks.
        """
        tensors, data = load_checkpoint(path, "PPO")
        try:
            config, spaces, keys = PPOConfig(**data["config"]), data["spaces"], data["observation_keys"]
            counts = {name: int(data["counts"][name]) for name in COUNTS}
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: expected config, counts and spaces of a PPO agent: {error}") from error
        keys = _unlisted(keys)
        if absent := [key for key in keys if key not in env.observation_keys]:
            raise CheckpointError(f"{path}: saved for observations {absent}, found an env with {env.observation_keys}")
        agent = cls(env, config, seed=None, observation_keys=keys, actor=actor, critic=critic)
        if spaces != agent._spaces():
            raise CheckpointError(f"{path}: saved for {spaces}, found an env with {agent._spaces()}")
        parts: dict[str, dict[str, Tensor]] = {"actor": {}, "critic": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            if part in parts:
                parts[part][rest] = tensor
        try:
            agent.actor.load_state_dict(parts["actor"])
            agent.critic.load_state_dict(parts["critic"])
            lacking = ADAM_STATE - {name.partition(".")[2] for name in parts["optimizer"]}
            if counts["iterations"] and lacking:
                raise ValueError(f"optimizer: expected {sorted(ADAM_STATE)}, found no {sorted(lacking)}")
            restore_optimizer(agent.optimizer, parts["optimizer"])
            torch.set_rng_state(tensors["random_state"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError(f"{path}: does not fit the agent's networks: {error}") from error
        for name, count in counts.items():
            setattr(agent, name, count)
        agent.statistics.finished = agent.episodes
        return agent

    def _spaces(self) -> dict[str, str]:
        """What a checkpoint has to agree about with an env: one env's observations and action."""
        lead = self.env.batch_dims
        leaves = {str(key): self.env.observation_spec[key] for key in self.observation_keys}
        return {name: f"{list(leaf.shape[lead:])} {leaf.dtype}" for name, leaf in leaves.items()} | {
            "action": f"{getattr(self._action, 'n', '')} {list(self._action.shape[lead:])} {self._action.dtype}"
        }


def _unlisted(keys: Sequence[str | list[str]]) -> list[NestedKey]:
    """Nested keys as they were before JSON made lists of their tuples."""
    return [tuple(key) if isinstance(key, list) else key for key in keys]


class _Gaussian(nn.Module):
    """Mean from a network, standard deviation from a parameter."""

    def __init__(self, net: nn.Module, size: int, log_std: float) -> None:
        super().__init__()
        self.net = net
        self.log_std = nn.Parameter(torch.full((size,), log_std))

    def forward(self, *observation: Tensor) -> tuple[Tensor, Tensor]:
        loc = self.net(*observation)
        return loc, self.log_std.exp().expand_as(loc)


class _Clip(nn.Module):
    """Clips a raw action to the bounds of its spec."""

    low: Tensor
    high: Tensor

    def __init__(self, spec: TensorSpec, batch_dims: int) -> None:
        super().__init__()
        one = spec[(0,) * batch_dims] if batch_dims else spec
        bounded = isinstance(one, Bounded)
        self.register_buffer("low", one.space.low.clone() if bounded else torch.tensor(-torch.inf))
        self.register_buffer("high", one.space.high.clone() if bounded else torch.tensor(torch.inf))

    def forward(self, raw: Tensor) -> Tensor:
        return torch.clamp(raw, self.low, self.high)


def _action_leaf(env: EnvBase) -> TensorSpec:
    leaf = env.action_spec
    one = leaf.shape[env.batch_dims :]
    discrete = type(leaf) is CategoricalSpec and not one
    continuous = isinstance(leaf, (Bounded, Unbounded)) and leaf.dtype.is_floating_point and len(one) == 1
    if not (discrete or continuous):
        raise SpecError(f"PPO: expected one action, an index (Categorical) or a vector of floats, found {leaf}")
    return leaf


def _check_reward_and_done(env: EnvBase) -> None:
    rewards, dones = env.reward_keys, [group.done for group in env.plan.done_groups]
    if len(rewards) != 1 or len(dones) != 1:
        raise SpecError(f"PPO: expected one reward and one done flag, found {rewards} and {dones}")
    for key, leaf in ((rewards[0], env.full_reward_spec[rewards[0]]), (dones[0], env.done_spec[dones[0]])):
        one = leaf.shape[env.batch_dims :]
        if one.numel() != 1:
            raise SpecError(f"PPO: expected {key!r} of shape [1], found {list(one)}")


def _observation_widths(env: EnvBase, keys: Sequence[NestedKey]) -> list[int]:
    widths = []
    for key in keys:
        if key not in env.observation_keys:
            raise SpecError(f"PPO: unknown observation {key!r}; the env has {env.observation_keys}")
        leaf = env.observation_spec[key]
        one = leaf.shape[env.batch_dims :]
        if leaf.dtype != torch.float32 or len(one) != 1:
            raise SpecError(
                f"PPO: expected {key!r} to be a float32 vector, found {leaf.dtype} of shape {list(one)}; "
                f"transform it, leave it out of observation_keys, or pass actor and critic"
            )
        widths.append(one[0])
    return widths
