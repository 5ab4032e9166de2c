"""Simulators, one a file. Each is imported only when one of its envs is made."""

from envkit.libs.atari import atari
from envkit.libs.available import get_available_libraries
from envkit.libs.backend import gym_backend, set_gym_backend
from envkit.libs.brax import BraxEnv, BraxWrapper
from envkit.libs.dm_control import DMControlEnv, DMControlWrapper
from envkit.libs.envpool import MultiThreadedEnv, MultiThreadedEnvWrapper
from envkit.libs.gym import GymEnv, GymWrapper
from envkit.libs.gym_like import GymLikeEnv
from envkit.libs.gym_vector import GymVectorWrapper
from envkit.libs.habitat import HabitatEnv
from envkit.libs.info import default_info_dict_reader
from envkit.libs.isaacgym import IsaacGymEnv, IsaacGymWrapper
from envkit.libs.jumanji import JumanjiEnv, JumanjiWrapper
from envkit.libs.meltingpot import MeltingpotEnv, MeltingpotWrapper
from envkit.libs.mo_gymnasium import MOGymEnv, MOGymWrapper
from envkit.libs.openml import OpenMLEnv
from envkit.libs.openspiel import OpenSpielEnv, OpenSpielWrapper
from envkit.libs.pettingzoo import PettingZooEnv, PettingZooWrapper
from envkit.libs.robohive import RoboHiveEnv
from envkit.libs.smacv2 import SMACv2Env, SMACv2Wrapper
from envkit.libs.unity_mlagents import UnityMLAgentsEnv, UnityMLAgentsWrapper
from envkit.libs.vmas import VmasEnv, VmasWrapper
from envkit.libs.wrap import wrap

__all__ = [
    "BraxEnv",
    "BraxWrapper",
    "DMControlEnv",
    "DMControlWrapper",
    "GymEnv",
    "GymLikeEnv",
    "GymVectorWrapper",
    "GymWrapper",
    "HabitatEnv",
    "IsaacGymEnv",
    "IsaacGymWrapper",
    "JumanjiEnv",
    "JumanjiWrapper",
    "MOGymEnv",
    "MOGymWrapper",
    "MeltingpotEnv",
    "MeltingpotWrapper",
    "MultiThreadedEnv",
    "MultiThreadedEnvWrapper",
    "OpenMLEnv",
    "OpenSpielEnv",
    "OpenSpielWrapper",
    "PettingZooEnv",
    "PettingZooWrapper",
    "RoboHiveEnv",
    "SMACv2Env",
    "SMACv2Wrapper",
    "UnityMLAgentsEnv",
    "UnityMLAgentsWrapper",
    "VmasEnv",
    "VmasWrapper",
    "atari",
    "default_info_dict_reader",
    "get_available_libraries",
    "gym_backend",
    "set_gym_backend",
    "wrap",
]
