"""Simulators, one a file. Each is imported only when one of its envs is made."""

from envkit.libs.gym import GymEnv, GymWrapper
from envkit.libs.gym_vector import GymVectorWrapper
from envkit.libs.info import default_info_dict_reader

__all__ = ["GymEnv", "GymVectorWrapper", "GymWrapper", "default_info_dict_reader"]
