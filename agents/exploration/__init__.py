"""Modules that make a policy explore."""

from agents.exploration.annealing import LinearAnnealing
from agents.exploration.base import ExplorationModule, set_exploration_modules_spec_from_env
from agents.exploration.egreedy import EGreedyModule
from agents.exploration.gaussian import AdditiveGaussianModule
from agents.exploration.gsde import gSDEModule
from agents.exploration.ornstein_uhlenbeck import OrnsteinUhlenbeckProcessModule
from agents.exploration.wrappers import AdditiveGaussianWrapper, EGreedyWrapper, OrnsteinUhlenbeckProcessWrapper
from envkit import RandomPolicy

__all__ = [
    "AdditiveGaussianModule",
    "AdditiveGaussianWrapper",
    "EGreedyModule",
    "EGreedyWrapper",
    "ExplorationModule",
    "LinearAnnealing",
    "OrnsteinUhlenbeckProcessModule",
    "OrnsteinUhlenbeckProcessWrapper",
    "RandomPolicy",
    "gSDEModule",
    "set_exploration_modules_spec_from_env",
]
