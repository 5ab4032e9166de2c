"""Simulators, one a file. Each is imported only when one of its envs is made."""

from envkit.libs.atari import atari
from envkit.libs.available import get_available_libraries
from envkit.libs.backend import gym_backend, set_gym_backend
from envkit.libs.envpool import MultiThreadedEnv, MultiThreadedEnvWrapper
from envkit.libs.gym import GymEnv, GymWrapper
from envkit.libs.gym_like import GymLikeEnv
from envkit.libs.gym_vector import GymVectorWrapper
from envkit.libs.info import default_info_dict_reader

__all__ = [
    "GymEnv",
    "GymLikeEnv",
    "GymVectorWrapper",
    "GymWrapper",
    "MultiThreadedEnv",
    "MultiThreadedEnvWrapper",
    "atari",
    "default_info_dict_reader",
    "get_available_libraries",
    "gym_backend",
    "set_gym_backend",
]
