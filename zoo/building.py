"""From a config to the objects it describes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tensordict import NestedKey

from agents import BaseAgent
from envkit import DoubleToFloat, EnvBase, SerialEnv, TransformedEnv, VecNorm
from envkit.core.plan import path_of
from envkit.errors import EnvkitError
from zoo.algorithms import ALGORITHMS
from zoo.config import RunConfig
from zoo.errors import ConfigError
from zoo.simulators import make_copies, make_one

__all__ = [
    "evaluation_env",
    "load_agent",
    "make_agent",
    "make_env",
    "make_training_env",
    "share_statistics",
    "torch_threads",
]


def make_env(config: RunConfig, **kwargs: Any) -> EnvBase:
    """Build a single copy of the environment, as evaluations use it; observations of 64 bits become 32.

    Observations that are normalised in training are so here, by statistics that stay as they are; a new env has none
    yet, see :func:`evaluation_env` and :func:`load_agent`.

    Args:
        config: The run.
        **kwargs: Arguments that the config does not set, such as a render mode.

    Raises:
        UnknownEnvError: No environment has this id.
        ConfigError: The environment does not take the arguments in the config.

    Example:
        >>> from zoo.registry import find_config
        >>> make_env(find_config("ppo/CartPole-v1")).action_spec.n
        2
    """
    return _prepared(config, _simulator(config, **config.eval.kwargs, **kwargs), learns=False)


def make_training_env(config: RunConfig) -> EnvBase:
    """Build all copies of the environment, side by side in this process.

    Example:
        >>> from zoo.registry import find_config
        >>> make_training_env(find_config("ppo/CartPole-v1")).batch_size
        torch.Size([8])
    """
    return _prepared(config, _made(config, partial(make_copies, count=config.env.num_envs)), learns=True)


def evaluation_env(config: RunConfig, agent: BaseAgent, copies: int | None = None, **kwargs: Any) -> EnvBase:
    """Build the environment, or a batch of some copies of it, such that it shows an agent what its own env does.

    Args:
        config: The run.
        agent: The agent.
        copies: How many; None for a single one, without a batch.
        **kwargs: Arguments that the config does not set, such as a render mode.

    Example:
        >>> from zoo.registry import find_config
        >>> config = find_config("ppo/CartPole-v1")
        >>> agent = make_agent(config, make_training_env(config))
        >>> evaluation_env(config, agent).batch_size, evaluation_env(config, agent, 20).batch_size
        (torch.Size([]), torch.Size([20]))
    """
    kwargs = {**config.eval.kwargs, **kwargs}
    base = _simulator(config, **kwargs) if copies is None else SerialEnv(copies, lambda: _simulator(config, **kwargs))
    env = _prepared(config, base, learns=False)
    share_statistics(config, agent, env)
    return env


def share_statistics(config: RunConfig, agent: BaseAgent, env: EnvBase) -> None:
    """Give an environment the statistics by which the agent's own one normalises observations now."""
    if config.env.normalize:
        assert isinstance(env, TransformedEnv)
        assert isinstance(agent.env, TransformedEnv)
        env.transform.load_state_dict(agent.env.transform.state_dict())


def _simulator(config: RunConfig, **kwargs: Any) -> EnvBase:
    return _made(config, make_one, **kwargs)


def _made(config: RunConfig, make: Callable[..., EnvBase], **kwargs: Any) -> EnvBase:
    given = {**config.env.kwargs, **kwargs}
    try:
        return make(config.env.id, **given)
    except (TypeError, ValueError) as error:
        if not given or isinstance(error, EnvkitError):
            raise
        raise ConfigError(f"env.kwargs: {config.env.id} refuses {given}: {error}") from error


def _prepared(config: RunConfig, env: EnvBase, *, learns: bool) -> EnvBase:
    """The env, as agents want it."""
    keys = _seen(env)
    if any(env.observation_spec[key].dtype is torch.float64 for key in keys):
        env = TransformedEnv(env, DoubleToFloat())
    if config.env.normalize:
        norm = VecNorm(in_keys=keys, decay=1.0)
        env = TransformedEnv(env, norm if learns else norm.freeze())
    return env


def _seen(env: EnvBase) -> list[NestedKey]:
    """What a policy sees: neither rendered frames, nor what a simulator tells beside its observation."""
    keys = [key for key in env.observation_keys if "info" not in path_of(key)]
    return [key for key in keys if env.observation_spec[key].dtype.is_floating_point]


def make_agent(config: RunConfig, env: EnvBase) -> BaseAgent:
    """Build an untrained agent for an environment."""
    kind = ALGORITHMS[config.algorithm]
    # A team knows what its members see, and what is the state that critics alone are told.
    keys = None if kind.team else _seen(env)
    return kind.from_config(config.agent, env, seed=config.seed, observation_keys=keys)


def load_agent(config: RunConfig, checkpoint: Path, env: EnvBase, *, resume: bool = False) -> BaseAgent:
    """Load a trained agent for an environment.

    Args:
        config: The run.
        checkpoint: Its checkpoint.
        env: From :func:`make_env`, to act in, or from :func:`make_training_env`, to resume.
        resume: Whether training goes on where it stopped.

    Raises:
        CheckpointError: The file is damaged or does not fit the environment.
    """
    return ALGORITHMS[config.algorithm].load(checkpoint, env, resume=resume)


@contextmanager
def torch_threads(count: int = 1) -> Iterator[None]:
    """Limit PyTorch to some threads for a while; small networks run fastest, and repeatably, on one.

    Example:
        >>> with torch_threads(1):
        ...     torch.get_num_threads()
        1
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
