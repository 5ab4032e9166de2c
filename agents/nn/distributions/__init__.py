"""Distributions with the vocabulary of :mod:`torch.distributions` that cost little to build and to call."""

from agents.nn.distributions.categorical import Categorical
from agents.nn.distributions.delta import Delta
from agents.nn.distributions.independent_normal import IndependentNormal
from agents.nn.distributions.lean import LeanDistribution
from agents.nn.distributions.masked_categorical import MaskedCategorical, MaskedOneHotCategorical
from agents.nn.distributions.one_hot_categorical import OneHotCategorical
from agents.nn.distributions.ordinal import OneHotOrdinal, Ordinal
from agents.nn.distributions.tanh_delta import TanhDelta
from agents.nn.distributions.tanh_normal import TanhNormal
from agents.nn.distributions.truncated_normal import TruncatedNormal

__all__ = [
    "Categorical",
    "Delta",
    "IndependentNormal",
    "LeanDistribution",
    "MaskedCategorical",
    "MaskedOneHotCategorical",
    "OneHotCategorical",
    "OneHotOrdinal",
    "Ordinal",
    "TanhDelta",
    "TanhNormal",
    "TruncatedNormal",
]
