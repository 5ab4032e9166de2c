"""Envs for users of other libraries: Gymnasium, its vector envs and its registry, and PettingZoo."""

from envkit.export import registration  # noqa: F401 - gives envs their register_gym
from envkit.export.gymnasium_env import as_gymnasium
from envkit.export.native_ids import register_native
from envkit.export.pettingzoo import as_pettingzoo
from envkit.export.vector_env import as_gymnasium_vector

__all__ = ["as_gymnasium", "as_gymnasium_vector", "as_pettingzoo"]

register_native()
