"""Agents: each file reads from configuration to update."""

from agents.algorithms.base import BaseAgent
from agents.algorithms.ppo import PPO, PPOConfig

__all__ = ["PPO", "BaseAgent", "PPOConfig"]
