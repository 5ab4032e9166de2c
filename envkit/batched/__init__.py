"""Many envs at once."""

from envkit.batched.async_pool import AsyncEnvPool
from envkit.batched.creator import EnvCreator
from envkit.batched.parallel import ParallelEnv
from envkit.batched.serial import SerialEnv

__all__ = ["AsyncEnvPool", "EnvCreator", "ParallelEnv", "SerialEnv"]
