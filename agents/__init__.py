"""Agents that learn in envs, and the parts they are made of, usable alone.

Everything public is here: ``from agents import PPO, ClipPPOLoss, GAE, ReplayBuffer``.
"""

from agents.algorithms import *  # noqa: F403
from agents.checkpoint import load_checkpoint, save_checkpoint
from agents.evaluation import Evaluation, evaluate
from agents.nn import *  # noqa: F403
from agents.objectives import *  # noqa: F403
from agents.replay import *  # noqa: F403
from agents.returns import *  # noqa: F403
