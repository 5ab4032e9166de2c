"""Many envs at once."""

from envkit.batched.serial import SerialEnv

__all__ = ["SerialEnv"]
