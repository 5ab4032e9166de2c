"""From a config to the objects it describes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from agents import PPO
from envkit import DoubleToFloat, EnvBase, GymEnv, SerialEnv, TransformedEnv
from zoo.config import RunConfig
from zoo.errors import ConfigError

__all__ = ["load_agent", "make_agent", "make_env", "make_training_env", "torch_threads"]

_AGENTS = {"ppo": PPO}


def make_env(config: RunConfig, **kwargs: Any) -> EnvBase:
    """Build a single copy of the environment, as evaluations use it; observations of 64 bits become 32.

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
    return _in_float32(_simulator(config, **kwargs))


def make_training_env(config: RunConfig) -> EnvBase:
    """Build all copies of the environment, side by side in this process.

    Example:
        >>> from zoo.registry import find_config
        >>> make_training_env(find_config("ppo/CartPole-v1")).batch_size
        torch.Size([8])
    """
    return _in_float32(SerialEnv(config.env.num_envs, lambda: _simulator(config)))


def _simulator(config: RunConfig, **kwargs: Any) -> EnvBase:
    try:
        return GymEnv(config.env.id, **{**config.env.kwargs, **kwargs})
    except TypeError as error:
        if not config.env.kwargs:
            raise
        raise ConfigError(f"env.kwargs: {config.env.id} refuses {config.env.kwargs}: {error}") from error


def _in_float32(env: EnvBase) -> EnvBase:
    leaves = env.observation_spec.values(True, True)
    if any(leaf.dtype is torch.float64 for leaf in leaves):
        return TransformedEnv(env, DoubleToFloat())
    return env


def make_agent(config: RunConfig, env: EnvBase) -> PPO:
    """Build an untrained agent for an environment."""
    return _AGENTS[config.algorithm](env, config.agent, seed=config.seed)


def load_agent(config: RunConfig, checkpoint: Path, env: EnvBase) -> PPO:
    """Load a trained agent for an environment.

    Raises:
        CheckpointError: The file is damaged or does not fit the environment.
    """
    return _AGENTS[config.algorithm].load(checkpoint, env)


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
