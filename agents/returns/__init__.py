"""Advantages and value targets from recorded steps."""

from agents.returns.choice import ValueEstimators
from agents.returns.estimator import ValueEstimator
from agents.returns.explained_variance import explained_variance
from agents.returns.gae import gae
from agents.returns.gae_module import GAE
from agents.returns.reward_to_go import reward_to_go
from agents.returns.standardize import standardize
from agents.returns.td0 import td0, td0_target
from agents.returns.td0_module import TD0Estimator
from agents.returns.td1 import td1, td1_target
from agents.returns.td1_module import TD1Estimator
from agents.returns.td_lambda import td_lambda, td_lambda_target
from agents.returns.td_lambda_module import TDLambdaEstimator
from agents.returns.vtrace import vtrace
from agents.returns.vtrace_module import VTrace

__all__ = [
    "GAE",
    "TD0Estimator",
    "TD1Estimator",
    "TDLambdaEstimator",
    "VTrace",
    "ValueEstimator",
    "ValueEstimators",
    "explained_variance",
    "gae",
    "reward_to_go",
    "standardize",
    "td0",
    "td0_target",
    "td1",
    "td1_target",
    "td_lambda",
    "td_lambda_target",
    "vtrace",
]
