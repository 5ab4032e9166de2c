"""Estimators by name."""

from __future__ import annotations

from enum import StrEnum

from agents.returns.estimator import ValueEstimator
from agents.returns.gae_module import GAE
from agents.returns.td0_module import TD0Estimator
from agents.returns.td1_module import TD1Estimator
from agents.returns.td_lambda_module import TDLambdaEstimator
from agents.returns.vtrace_module import VTrace

__all__ = ["ValueEstimators"]


class ValueEstimators(StrEnum):
    """The kinds of value estimators, as ``LossModule.make_value_estimator`` takes them.

    Example:
        >>> ValueEstimators("td_lambda").estimator_class.__name__
        'TDLambdaEstimator'
    """

    TD0 = "td0"
    TD1 = "td1"
    TDLambda = "td_lambda"
    GAE = "gae"
    VTrace = "vtrace"

    @property
    def estimator_class(self) -> type[ValueEstimator]:
        """The class of that kind."""
        return CLASSES[self]


CLASSES: dict[ValueEstimators, type[ValueEstimator]] = {
    ValueEstimators.TD0: TD0Estimator,
    ValueEstimators.TD1: TD1Estimator,
    ValueEstimators.TDLambda: TDLambdaEstimator,
    ValueEstimators.GAE: GAE,
    ValueEstimators.VTrace: VTrace,
}
