"""The algorithms that configs may name."""

from __future__ import annotations

from agents import A2C, DDPG, DQN, PPO, REDQ, REINFORCE, SAC, TD3, BaseAgent, CrossQ, DiscreteSAC

__all__ = ["ALGORITHMS"]

ALGORITHMS: dict[str, type[BaseAgent]] = {
    "a2c": A2C,
    "crossq": CrossQ,
    "ddpg": DDPG,
    "discrete-sac": DiscreteSAC,
    "dqn": DQN,
    "ppo": PPO,
    "redq": REDQ,
    "reinforce": REINFORCE,
    "sac": SAC,
    "td3": TD3,
}
"""Agents by the name of their algorithm; ``Config`` of each is the class of its settings."""
