"""Distributions with the vocabulary of :mod:`torch.distributions` that cost little to build and to call."""

from agents.nn.distributions.categorical import Categorical
from agents.nn.distributions.independent_normal import IndependentNormal
from agents.nn.distributions.lean import LeanDistribution
from agents.nn.distributions.tanh_normal import TanhNormal

__all__ = ["Categorical", "IndependentNormal", "LeanDistribution", "TanhNormal"]
