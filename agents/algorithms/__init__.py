"""Agents, one algorithm a file."""

from agents.algorithms.a2c import A2C, A2CConfig
from agents.algorithms.base import BaseAgent
from agents.algorithms.crossq import CrossQ, CrossQConfig
from agents.algorithms.ddpg import DDPG, DDPGConfig
from agents.algorithms.discrete_sac import DiscreteSAC, DiscreteSACConfig
from agents.algorithms.dqn import DQN, DQNConfig
from agents.algorithms.independent_dqn import IndependentDQN, IndependentDQNConfig
from agents.algorithms.ippo import IPPO, IPPOConfig
from agents.algorithms.maddpg import MADDPG, MADDPGConfig
from agents.algorithms.mappo import MAPPO, MAPPOConfig
from agents.algorithms.off_policy import OffPolicyAgent
from agents.algorithms.on_policy import OnPolicyAgent
from agents.algorithms.ppo import PPO, PPOConfig
from agents.algorithms.qmix import QMIX, QMIXConfig
from agents.algorithms.redq import REDQ, REDQConfig
from agents.algorithms.reinforce import REINFORCE, REINFORCEConfig
from agents.algorithms.sac import SAC, SACConfig
from agents.algorithms.td3 import TD3, TD3Config
from agents.algorithms.vdn import VDN, VDNConfig

__all__ = [
    "A2C",
    "DDPG",
    "DQN",
    "IPPO",
    "MADDPG",
    "MAPPO",
    "PPO",
    "QMIX",
    "REDQ",
    "REINFORCE",
    "SAC",
    "TD3",
    "VDN",
    "A2CConfig",
    "BaseAgent",
    "CrossQ",
    "CrossQConfig",
    "DDPGConfig",
    "DQNConfig",
    "DiscreteSAC",
    "DiscreteSACConfig",
    "IPPOConfig",
    "IndependentDQN",
    "IndependentDQNConfig",
    "MADDPGConfig",
    "MAPPOConfig",
    "OffPolicyAgent",
    "OnPolicyAgent",
    "PPOConfig",
    "QMIXConfig",
    "REDQConfig",
    "REINFORCEConfig",
    "SACConfig",
    "TD3Config",
    "VDNConfig",
]
