"""The algorithms that configs may name."""

from __future__ import annotations

from agents import (
    A2C,
    DDPG,
    DQN,
    IPPO,
    MADDPG,
    MAPPO,
    PPO,
    QMIX,
    REDQ,
    REINFORCE,
    SAC,
    TD3,
    VDN,
    BaseAgent,
    CrossQ,
    DiscreteSAC,
    IndependentDQN,
)

__all__ = ["ALGORITHMS"]

ALGORITHMS: dict[str, type[BaseAgent]] = {
    "a2c": A2C,
    "crossq": CrossQ,
    "ddpg": DDPG,
    "discrete-sac": DiscreteSAC,
    "dqn": DQN,
    "independent-dqn": IndependentDQN,
    "ippo": IPPO,
    "maddpg": MADDPG,
    "mappo": MAPPO,
    "ppo": PPO,
    "qmix": QMIX,
    "redq": REDQ,
    "reinforce": REINFORCE,
    "sac": SAC,
    "td3": TD3,
    "vdn": VDN,
}
"""Agents by the name of their algorithm; ``Config`` of each is the class of its settings."""
